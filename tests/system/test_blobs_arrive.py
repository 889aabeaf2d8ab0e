"""A snapshot comes up in chunks while device, worker and broker are killed (-9) in the middle, and arrives whole."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from PIL import Image

from broker.embedded import find_mosquitto
from edge_actors.ports.snapshots import Snapshot, dump, load, place
from ingest.blobs import assembly
from ingest.blobs.rows import blob_key
from ingest.errors import IngestError
from ingest.jobs.job import Site
from ingest.settings import IngestSettings
from ingest.stores.objects import Folder
from platform_api.demo import album
from platform_api.demo.process import Process, tinyml
from platform_api.demo.stack import Stack
from tests.support import missing, wait_until

DEVICE, SIZE = "keeper", 40 << 20


class Keeper:
    """A managed device whose newest snapshot is large, on a whole stack; the server's job runs in this process."""

    def __init__(self, directory: Path, stack: Stack, ends: ExitStack) -> None:
        self.stack, self.state = stack, directory / "state"
        snapshots = self.state / "snapshots"
        snapshots.mkdir(parents=True)
        # Of another bundle, so that the device takes over nothing of it but the time.
        large = Snapshot(
            snapshot="large", bundle="other", states={"ballast": {"bytes": random.Random(1).randbytes(SIZE)}}
        )
        place(snapshots, 1).write_bytes(dump(large))
        self.whole = place(snapshots, 1).read_bytes()
        self.sha256 = hashlib.sha256(self.whole).hexdigest()
        digits = album.digits()
        digits.bundle(digits.classes, directory / "digits.bundle", seed=1)
        (directory / "pictures").mkdir()
        blank = Image.new("L", (8, 8))
        blank.save(directory / "pictures" / "one.png")
        self.device = Process(
            DEVICE,
            tinyml(
                *("edge", "run", "--bundle", str(directory / "digits.bundle"), "--device", DEVICE),
                *("--broker", stack.broker.url, "--state-dir", str(self.state), "--mode", "managed"),
                *("--camera", str(directory / "pictures"), "--fps", "5", "--reconnect-s", "1"),
                *("--confirm-timeout-s", "2", "--snapshot-interval-s", "3600"),
            ),
            stack.log(DEVICE),
        )
        ends.callback(self.device.stop)
        self.sender = Process("send", [], stack.log("send"))
        ends.callback(self.sender.stop)
        self.settings = IngestSettings(
            broker=stack.broker.url, database=stack.database.url, objects=str(stack.objects)
        )
        self._stopping = threading.Event()
        self._job = threading.Thread(target=self._work)
        ends.callback(self._job.join)
        ends.callback(self._stopping.set)
        self._job.start()

    def _work(self) -> None:
        site = Site(self.settings)
        while not self._stopping.wait(0.2):
            try:
                assembly.work(site)
            except (IngestError, psycopg.Error):  # as `tinyml ingest maintain`: the next run goes on
                continue
        site.close()

    def start_device(self) -> None:
        self.device.start()
        self.device.wait_for(" runs: ")

    def command(self, verb: str) -> str:
        """Has the device do it and returns what it answered."""
        self.sender.argv = tinyml("send", "--broker", self.stack.broker.url, DEVICE, "command", verb)
        self.sender.start()
        return self.sender.wait_for("sha256: (.*)")[1]

    def progress(self) -> tuple[str, int, int]:
        """State, chunks that are there, chunks in all."""
        with psycopg.connect(self.stack.database.url) as connection:
            row = connection.execute("SELECT state, got, chunks FROM v_blob").fetchone()
        return row or ("", 0, 1)


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    if find_mosquitto() is None:
        missing("mosquitto")
    monkeypatch.setattr(assembly, "FIRST_S", 0.5)  # of silence before it is asked again
    with ExitStack() as ends:
        stack = Stack(tmp_path / "stack", broker="mosquitto")
        ends.callback(stack.remove)
        stack.start()
        stack.upkeep.stop()  # its job runs here, with shorter pauses
        yield Keeper(tmp_path, stack, ends)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_snapshot_arrives_whole_whatever_is_killed_in_the_middle(keeper: Keeper) -> None:
    stack = keeper.stack
    keeper.start_device()
    assert keeper.command("upload-snapshot") == keeper.sha256
    kills = {
        "worker": (stack.worker.kill, stack.start_worker),
        "broker": (stack.broker.kill, stack.broker.start),
        "device": (keeper.device.kill, keeper.start_device),
    }
    before = 0
    for name, (kill, start) in kills.items():
        wait_until(lambda seen=before: keeper.progress()[1] > seen, 60)  # type: ignore[misc]
        kill()
        state, before, chunks = keeper.progress()
        assert (state, 0 < before < chunks) == ("wanted", True), f"{name} was not killed in the middle"
        start()
    wait_until(lambda: keeper.progress()[0] == "stored", 60)
    arrived = Folder(stack.objects).get(blob_key(keeper.sha256))
    assert arrived == keeper.whole
    assert load(arrived, Path("arrived")).snapshot == "large"
    kept = keeper.state / "blobs"
    wait_until(lambda: not list(kept.iterdir()), 30)
