"""One device on a whole stack, everything its own process, so that any part can be killed and started again."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from PIL import Image

from edge_actors.algorithms.neighbours import Origin
from edge_actors.ports.snapshots import SnapshotStore
from platform_api.demo import album
from platform_api.demo.process import Process, tinyml
from platform_api.demo.stack import Stack
from platform_api.demo.validator import Answer, Validator

DEVICE = "survivor"
TABLES = ("telemetry", "prediction", "drift_event", "sample", "adaptation", "snapshot", "log", "label_ack")
STALL_S = 0.8  # without a stall before a kill, every design passes


class Fleet:
    """A device that sees known digits and then an unseen one again and again, and a validator that labels."""

    def __init__(self, stack: Stack, directory: Path) -> None:
        self.stack, self.directory = stack, directory
        self.state = directory / "state"
        self.truth: dict[str, str] = {}  # the label a sample was given
        bundle = directory / "digits.bundle"
        if not bundle.exists():
            kit(directory, bundle)
        self.device = Process(
            DEVICE,
            tinyml(
                *("edge", "run", "--bundle", str(bundle), "--device", DEVICE, "--broker", stack.broker.url),
                *("--state-dir", str(self.state), "--camera", str(directory / "pictures"), "--fps", "40"),
                *("--commissioning-frames", "200", "--report-s", "0.5", "--reading-s", "0.2"),
                *("--confirm-timeout-s", "2", "--snapshot-interval-s", "2", "--snapshot-quiet-s", "5"),
                *("--drain-s", "30"),
            ),
            stack.log(DEVICE),
        )
        self.validator = Validator(stack.api_url, self._look, {DEVICE: 60})
        self._busy = threading.Event()

    def start_device(self) -> None:
        self.device.start()
        self.device.wait_for(" runs: ")

    def _look(self, _device: str, sample: str) -> Answer:
        self.truth[sample] = "nine"
        return Answer("is", "nine")

    def label_some(self) -> int:
        """Answers what waits; how many were answered."""
        return self.validator.work()

    @contextmanager
    def stalled(self, *, lost: bool = False) -> Iterator[None]:
        """Nothing can be committed inside, as on a disk that does not answer; `lost`: the server goes with it."""
        away = suppress(psycopg.OperationalError) if lost else nullcontext()
        with away, psycopg.connect(self.stack.database.url) as connection:
            _lock(connection)
            time.sleep(STALL_S)  # the length of the stall is the point of it
            yield

    def produced(self) -> dict[str, int]:
        """Highest sequence number that was spooled, of each boot; the device has to be stopped."""
        with closing(sqlite3.connect(self.state / "spool.db")) as spool:
            return dict(spool.execute("SELECT boot, produced FROM boots WHERE produced > 0"))

    def waiting(self) -> int:
        """Records that the stopped device still keeps."""
        with closing(sqlite3.connect(self.state / "spool.db")) as spool:
            return int(spool.execute("SELECT count(*) FROM records").fetchone()[0])

    def stored(self) -> dict[str, tuple[int, int, int]]:
        """Rows, different sequence numbers, and the highest one, of each boot."""
        with psycopg.connect(self.stack.database.url) as connection:
            query = b"SELECT boot, records, numbers, last_seq FROM v_record_count WHERE device = %s"
            return {boot: (rows, numbers, last) for boot, rows, numbers, last in connection.execute(query, (DEVICE,))}

    def rows(self) -> int:
        """Rows of all boots."""
        return sum(rows for rows, _, _ in self.stored().values())

    def grows_beyond(self, rows: int, timeout_s: float = 60.0) -> bool:
        """Waits until there are more rows than that."""
        return eventually(lambda: self.rows() > rows, timeout_s)

    def labels(self) -> list[tuple[str, str, bool]]:
        """Sample, state and whether its topic was cleared, of every label."""
        with psycopg.connect(self.stack.database.url) as connection:
            return connection.execute(b"SELECT sample, state, cleared_at IS NOT NULL FROM label").fetchall()

    def memory(self) -> list[tuple[str, str]]:
        """Sample and label of everything a person taught the device, as its last snapshot holds it."""
        store = SnapshotStore(self.state / "snapshots", lambda _saved: True)
        try:
            snapshot = store.latest()
        finally:
            store.close()
        assert snapshot is not None
        return people_taught(snapshot.states["knn"]["memory"])

    def come_to_rest(self) -> int:
        """Stops the device; where its link was not up again yet, starts it until nothing waits. How often it did."""
        for starts in range(5):
            assert self.device.stop(60) == 0
            if not self.waiting():
                return starts
            rows = self.rows()
            self.start_device()
            assert self.grows_beyond(rows), "nothing arrives from a device that was started again"
        return starts

    def close(self) -> None:
        self.validator.close()
        self.device.stop()


def _lock(connection: psycopg.Connection[Any]) -> None:
    while True:
        try:
            connection.execute(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE".encode())
        except psycopg.errors.DeadlockDetected:  # a batch holds some of them and wants the others
            connection.rollback()
        else:
            return


def people_taught(memory: dict[str, Any]) -> list[tuple[str, str]]:
    """(sample, label) of the memory's samples that came from a person."""
    rows = zip(memory["samples"], memory["labels"], memory["origins"], strict=True)
    return [(sample, label) for sample, label, origin in rows if origin == Origin.PERSON]


def kit(directory: Path, bundle: Path) -> None:
    """A bundle that knows 0 to 8, and a folder of pictures whose second half shows 9s among them."""
    digits = album.digits()
    known = digits.classes[:-1]
    digits.bundle(known, bundle, seed=1)
    rng = np.random.default_rng(7)
    pictures = directory / "pictures"
    pictures.mkdir()
    for number in range(1200):
        label = "9" if number >= 400 and rng.random() < 0.4 else known[int(rng.integers(len(known)))]
        Image.fromarray(digits.glance(label, rng)[:, :, 0]).save(pictures / f"{number:04}.png")


def eventually(condition: Callable[[], bool], timeout_s: float, every_s: float = 0.2) -> bool:
    """Whether the condition became true within the time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(every_s)
    return True
