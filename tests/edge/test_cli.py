"""A device as a person starts and stops it: what it says, what it leaves behind, what it makes of bad input."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cbor2
import numpy as np
import pytest
from PIL import Image

import edge_actors
from broker import cli, codec
from broker.embedded import BrokerProcess
from broker.errors import SettingsError
from broker.messages import (
    Birth,
    Float32Array,
    Frame,
    LabelAcknowledged,
    LabelAssigned,
    Message,
    Predictions,
    Telemetry,
)
from edge_actors import cli as edge_cli
from edge_actors import systemd
from edge_actors.bundle.build import BuildOptions, build_bundle
from edge_actors.errors import RestartBudgetSpentError, StateDirectoryBusyError
from edge_actors.ports.snapshots import Snapshot, SnapshotStore
from edge_actors.ports.spool import Spool
from edge_actors.ports.state_directory import StateDirectory
from edge_actors.process import EdgeProcess, Watchdog
from edge_actors.runtime.device import Device
from edge_actors.settings import EdgeSettings
from edge_actors.training.digit_pictures import digit_pictures
from tests.edge.server import Server, store_never
from tests.support import wait_until

MODEL = Path(edge_actors.__file__).parent / "training" / "artifacts" / "digits_extractor.tflite"
SHOWN = 30  # pictures in the folder


@dataclass
class Kit:
    """What a device is started with."""

    bundle: Path
    digest: str
    dimension: int
    pictures: Path


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    directory = tmp_path_factory.mktemp("kit")
    digits = digit_pictures()
    labelled = [(p, label, "") for p, label, part in zip(*digits, strict=True) if part == "ref"]
    made = build_bundle(labelled[::3], MODEL.read_bytes(), BuildOptions())
    made.write(directory / "digits.bundle")
    pictures = directory / "pictures"
    pictures.mkdir()
    for number, pixels in enumerate(digits.pixels[1 : SHOWN * 2 : 2]):
        Image.fromarray(pixels[:, :, 0]).save(pictures / f"{number:03d}.png")
    return Kit(directory / "digits.bundle", made.digest, made.contents.projection.dimension, pictures)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with BrokerProcess(tmp_path_factory.mktemp("broker")) as process:
        yield process


def settings(kit: Kit, state: Path, **changes: Any) -> EdgeSettings:
    usual: dict[str, Any] = {
        "bundle": kit.bundle,
        "device": "dev1",
        "camera": str(kit.pictures),
        "state_dir": state,
        "mode": "autonomous",
        "once": True,
        "fps": 0.0,
        "predictions": "each",
        "drain_s": 0.0,
    }
    return EdgeSettings(**(usual | changes))


def run(made: EdgeSettings) -> EdgeProcess:
    process = EdgeProcess(made)
    process.run()
    return process


def flags(kit: Kit, state: Path, *more: str) -> list[str]:
    needed = [
        "--bundle",
        str(kit.bundle),
        "--device",
        "dev1",
        "--camera",
        str(kit.pictures),
        "--state-dir",
        str(state),
    ]
    return ["edge", "run", *needed, *more]


def spooled(state: Path) -> list[Message]:
    spool = Spool(state)
    records = sorted(spool.next(100_000, 1 << 30), key=lambda record: (record.boot, record.seq))
    spool.close()
    return [codec.decode_record(record.data)[1] for record in records]


# ---- a run ------------------------------------------------------------------------------------------------------


def test_a_folder_is_played_once_every_frame_is_recognised_and_everything_is_kept(kit: Kit, tmp_path: Path) -> None:
    process = run(settings(kit, tmp_path, mode="validated", broker="mqtt://127.0.0.1:1"))
    assert (process.reason, process.camera.frames) == ("the source is at its end", SHOWN)
    said = spooled(tmp_path)
    (predictions,) = [message for message in said if isinstance(message, Predictions)]
    boot = process.spool.boot
    assert predictions.each_frame == tuple(f"{boot}-{number}" for number in range(1, SHOWN + 1))
    (telemetry,) = [message for message in said if isinstance(message, Telemetry)]
    assert {"rss_mb", "fps", "knn_p95_us", "spool_mb", "camera_frames", "link_up_s"} <= set(telemetry.names)
    assert process.left == len(said)


def test_the_next_start_goes_on_where_the_last_one_stopped(kit: Kit, tmp_path: Path) -> None:
    first = run(settings(kit, tmp_path))
    stopped_at, applied = first.device.now, first.device.applied
    second = EdgeProcess(settings(kit, tmp_path))
    assert second.device.now == stopped_at
    assert second.device.applied == applied
    assert second.clock.now() >= stopped_at
    second.run()
    assert [int(process.spool.boot.split("-")[1]) for process in (first, second)] == [1, 2]
    assert second.device.now >= stopped_at


def test_an_autonomous_device_speaks_to_nobody_and_keeps_nothing_to_say(
    kit: Kit, tmp_path: Path, broker: BrokerProcess
) -> None:
    server = Server(broker, "quiet")
    process = run(settings(kit, tmp_path, broker=broker.url, root="quiet"))
    assert process.outputs.records > 0
    assert spooled(tmp_path) == []
    assert server.heard == []
    server.connection.stop()


def test_what_the_server_stored_leaves_the_device_before_it_stops(
    kit: Kit, tmp_path: Path, broker: BrokerProcess
) -> None:
    server = Server(broker, "drained")
    server.listen()
    changes: dict[str, Any] = {"mode": "monitor", "broker": broker.url, "root": "drained", "privacy": "features"}
    process = run(settings(kit, tmp_path, drain_s=20.0, fps=40.0, **changes))  # so slow that the link is up before
    assert (process.left, spooled(tmp_path)) == (0, [])
    assert sorted(set(server.seqs())) == list(range(1, process.spool.next_seq))
    wait_until(lambda: server.statuses()[-1].state == "stopped")
    births = [message for _, _, message in server.heard if isinstance(message, Birth)]
    assert (births[0].bundle, births[0].mode, births[0].privacy) == (kit.digest, "monitor", "features")
    assert births[0].detectors
    server.connection.stop()


def test_a_label_comes_down_is_applied_saved_and_acknowledged(
    kit: Kit, tmp_path: Path, broker: BrokerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(broker, "labelled")
    server.listen()
    values = np.full(kit.dimension, 0.5, "<f4").tobytes()
    label = LabelAssigned(
        sample="s-1", revision=3, verdict="is", label="new", by="ann", bundle=kit.digest, values=Float32Array(values)
    )
    server.label(label)
    process = EdgeProcess(settings(kit, tmp_path, mode="validated", broker=broker.url, root="labelled", once=False))
    runner = threading.Thread(target=process.run)
    runner.start()
    wait_until(lambda: [m for _, _, m in list(server.heard) if isinstance(m, LabelAcknowledged)], timeout=20)
    process.stop("the test has seen enough")
    runner.join(30)
    (answer,) = {m for _, _, m in server.heard if isinstance(m, LabelAcknowledged)}
    assert (answer.sample, answer.revision, answer.outcome, answer.reason) == ("s-1", 3, "applied", "")
    assert answer.snapshot
    server.connection.stop()
    assert cli.main(["edge", "snapshots", "--state-dir", str(tmp_path), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    newest = listed[-1]
    assert (newest["labels"], newest["from_people"], newest["reason"]) == (1, 1, "stop")
    assert newest["frames"] > 0
    assert newest["wall_us"] > 0
    assert "label" in {one["reason"] for one in listed}


def test_a_device_goes_on_from_the_snapshot_that_a_person_went_back_to_and_says_so(
    kit: Kit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (run(settings(kit, tmp_path)) for _ in range(2))
    assert second.device.applied > first.device.applied
    assert cli.main(["edge", "rollback", "--state-dir", str(tmp_path), "1", "--yes"]) == 0
    assert "seconds of operation" in capsys.readouterr().out
    back = EdgeProcess(settings(kit, tmp_path))
    monitor: Any = back.device.actor("drift_monitor")
    assert monitor.frames == SHOWN
    assert back.clock.now() >= second.device.now
    assert "rolled_back" in back.faults()
    back.run()
    assert "rolled_back" not in run(settings(kit, tmp_path)).faults()


def test_pictures_come_through_standard_input_and_none_is_dropped(kit: Kit, tmp_path: Path) -> None:
    encoded = [cbor2.dumps(path.read_bytes()) for path in sorted(kit.pictures.iterdir())]
    height, width, channels = 32, 32, 1
    frame = Frame(pixels=bytes(height * width * channels), height=height, width=width, channels=channels)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "broker.cli",
            *flags(kit, tmp_path),
            "--camera",
            "-",
            "--once",
            "--mode",
            "autonomous",
        ],
        input=b"".join([*encoded, codec.encode(frame)]),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.decode().splitlines()
    assert re.fullmatch(r"dev1 runs: boot \w{8}-000001, bundle \w{12}, camera -, no link, state in .*", first)
    assert last == f"dev1 stopped (the source is at its end): {SHOWN + 1} frames, 0 records wait for the server"


def test_a_recorded_run_plays_again_to_the_same_bytes(
    kit: Kit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = run(settings(kit, tmp_path, mode="monitor", broker="mqtt://127.0.0.1:1", journal="auto"))
    assert cli.main(["replay", str(tmp_path / "journal"), "--bundle", str(kit.bundle)]) == 0
    assert f"{process.outputs.records} records, the same bytes" in capsys.readouterr().out


# ---- stopped and killed ----------------------------------------------------------------------------------------


@contextmanager
def child(arguments: list[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "broker.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly_with_everything_spooled_and_a_last_snapshot(
    kit: Kit, tmp_path: Path, number: signal.Signals
) -> None:
    more = [
        "--broker",
        "mqtt://127.0.0.1:1",
        "--fps",
        "100",
        "--report-s",
        "0.2",
        "--predictions",
        "each",
        "--pace",
        "source",
    ]
    with child(flags(kit, tmp_path, *more)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        wait_until(
            lambda: (tmp_path / "spool.db-wal").exists() and (tmp_path / "spool.db-wal").stat().st_size > 20_000
        )
        process.send_signal(number)
        said, _ = process.communicate(timeout=30)
        assert process.returncode == 0
    frames = int(re.search(rf"stopped \({number.name}\): (\d+) frames", said)[1])  # type: ignore[index]
    windows = [message for message in spooled(tmp_path) if isinstance(message, Predictions)]
    recognised = [frame for window in windows for frame in window.each_frame]
    assert [int(frame.rpartition("-")[2]) for frame in recognised] == list(range(1, frames + 1))
    snapshot = SnapshotStore(tmp_path / "snapshots", lambda saved: None).latest()
    assert snapshot is not None
    assert snapshot.snapshot.endswith("-stop")


def test_a_killed_device_is_offline_by_its_will_and_sends_what_it_had_spooled(
    kit: Kit, tmp_path: Path, broker: BrokerProcess
) -> None:
    server = Server(broker, "killed", store_never)
    server.listen()
    more = ["--broker", broker.url, "--root", "killed", "--fps", "50", "--report-s", "0.1"]
    with child(flags(kit, tmp_path, *more)) as process:
        wait_until(lambda: len(server.seqs()) > 1, timeout=20)
        process.kill()
        wait_until(lambda: server.statuses()[-1].state == "offline", timeout=20)
    online, offline = server.statuses()[0], server.statuses()[-1]
    assert (online.state, online.session) == ("online", offline.session)
    boots = {header.boot for _, header, _ in server.heard}
    assert len(boots) == 1, "the will is of the same boot"
    heard = set(server.seqs())
    server.connection.stop()
    again = Server(broker, "killed")
    again.listen("w2")
    run(settings(kit, tmp_path, mode="monitor", broker=broker.url, root="killed", drain_s=20.0))
    assert heard <= {header.seq for _, header, _ in again.heard if header.boot in boots}
    assert spooled(tmp_path) == []
    again.connection.stop()


def test_a_loop_that_cannot_go_on_ends_the_process_with_its_reason(
    kit: Kit, tmp_path: Path, broker: BrokerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spent(self: Device) -> None:
        raise RestartBudgetSpentError("knn", 5, 60.0, "it is broken", [])

    server = Server(broker, "broken")
    monkeypatch.setattr(Device, "run", spent)
    process = EdgeProcess(settings(kit, tmp_path, mode="monitor", broker=broker.url, root="broken", once=False))
    with pytest.raises(RestartBudgetSpentError):
        process.run()
    assert "it is broken" in process.reason
    StateDirectory(tmp_path).release()
    for status in server.statuses():
        assert status.state == "online" or "it is broken" in status.reason
    server.connection.stop()


# ---- bad input -------------------------------------------------------------------------------------------------


def refused(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """The one sentence with which the command refuses."""
    assert cli.main(arguments) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("INFO: Created TensorFlow")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("tinyml edge: ")
    return lines[0]


def test_bad_input_is_refused_in_one_sentence(
    kit: Kit, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    (tmp_path / "no.bundle").write_bytes(b"no bundle at all")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.toml").write_text('broker = "mqtt://127.0.0.1"\nbundel = "x"\n')
    expected = {
        ("--bundle", str(tmp_path / "none.bundle")): "none.bundle",
        ("--bundle", str(tmp_path / "no.bundle")): "no bundle at all",
        ("--device", "My Device"): "is not a device id",
        ("--camera", str(tmp_path / "nowhere")): "there is no such folder or file",
        ("--camera", str(tmp_path / "empty")): "there is no picture in it",
        ("--broker", "ftp://somewhere"): "mqtt://host:port",
        ("--broker", "mqtts://127.0.0.1", "--ca-file", str(tmp_path / "none.pem")): "none.pem",
        ("--fps", "many"): "--fps cannot be 'many'",
        ("--report-s", "0"): "report_s is 0.0",
        ("--config", str(tmp_path / "a.toml")): "did you mean 'bundle'?",
        ("--state-dir", str(tmp_path / "a.toml")): "cannot be used: file exists",
    }
    for more, sentence in expected.items():
        assert sentence in refused(flags(kit, state, *more), capfd)
    monkeypatch.setenv("TINYML_EDGE_SPOOL", "7")
    assert "did you mean 'spool_mb'?" in refused(flags(kit, state), capfd)


def test_a_second_device_on_the_same_state_is_refused(
    kit: Kit, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    held = StateDirectory(tmp_path)
    assert "another device process is running on it" in refused(flags(kit, tmp_path), capfd)
    with pytest.raises(StateDirectoryBusyError):
        EdgeProcess(settings(kit, tmp_path))
    held.release()
    run(settings(kit, tmp_path))


def test_a_device_that_could_not_be_put_together_leaves_nothing_locked(kit: Kit, tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        EdgeProcess(settings(kit, tmp_path, mode="monitor", broker="nonsense"))
    run(settings(kit, tmp_path))


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["edge", "--help"]) == 0
    listed = capsys.readouterr().out
    for name in edge_cli.COMMANDS:
        assert name in listed
    assert cli.main(["edge"]) == cli.main(["edge", "fly"]) == 2
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        cli.main(["edge", "run", "--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    for item in fields(EdgeSettings):
        assert "--" + item.name.replace("_", "-") in said


# ---- named states ----------------------------------------------------------------------------------------------


def test_a_snapshot_that_does_not_fit_is_a_named_state_and_the_device_starts_as_delivered(
    kit: Kit, tmp_path: Path
) -> None:
    store = SnapshotStore(tmp_path / "snapshots", lambda saved: None)
    store.save(Snapshot(snapshot="x", at=1000.0, bundle=kit.digest, applied=7, states={"knn": {"nonsense": 1}}))
    assert store.close()
    process = EdgeProcess(settings(kit, tmp_path))
    assert "snapshot_refused" in process.faults()
    assert process.clock.now() >= 1000.0
    process.run()
    assert process.camera.frames == SHOWN


def test_a_device_that_writes_more_than_it_may_says_so_and_writes_less(
    kit: Kit, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lavish = EdgeProcess(settings(kit, tmp_path, journal="auto", write_mb_per_day=0.01, fps=100.0, reading_s=0.05))
    runner = threading.Thread(target=lavish.run)
    runner.start()
    wait_until(lambda: "write_budget" in lavish.faults(), timeout=30)
    wait_until(lambda: lavish.recording is not None and lavish.recording.sparing)
    written = lavish.recording.written_bytes if lavish.recording else 0
    frames = lavish.camera.frames
    wait_until(lambda: lavish.camera.frames > frames + 5 or not runner.is_alive())
    assert lavish.recording is not None
    assert lavish.recording.written_bytes - written <= 200_000, "what was under way, and no more"
    runner.join(60)
    assert lavish.camera.frames == SHOWN
    metrics = lavish.probe.latest.metrics
    assert metrics["disk_written_day_mb"] > 0.01
    assert metrics["written_journal_mb"] > 0.01
    assert metrics["bundle_mb"] > metrics["model_mb"] > 0
    assert metrics["process_starts"] == 1
    assert metrics["frame_p99_us"] >= metrics["frame_p50_us"] > 0


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Path]:
    """A file system of so many megabytes, mounted while it is used."""
    disk = directory / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(disk)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """A file of somebody else's that takes what is left."""
    with (disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while ballast.write(b"b" * 4096):
            pass
    return disk / "ballast"


def test_a_full_disk_does_not_stop_a_device(kit: Kit, tmp_path: Path) -> None:
    with small_disk(tmp_path, 1) as disk:
        run(settings(kit, disk / "state"))
        fill(disk)
        process = EdgeProcess(
            settings(kit, disk / "state", mode="monitor", broker="mqtt://127.0.0.1:1", journal="auto")
        )
        assert "disk_full" in process.faults()
        process.run()
        assert process.camera.frames == SHOWN


def test_a_disk_that_fills_up_while_a_device_runs_is_named_costs_no_frame_and_no_record(
    kit: Kit, tmp_path: Path, broker: BrokerProcess
) -> None:
    server = Server(broker, "filling")  # hears the status; nobody stores, so that all records wait on the device
    with small_disk(tmp_path, 4) as disk:
        changes: dict[str, Any] = {"mode": "monitor", "broker": broker.url, "root": "filling", "report_s": 0.1}
        changes |= {"once": False, "fps": 50.0, "reading_s": 0.05, "spool_mb": 2, "snapshot_quiet_s": 0.2}
        process = EdgeProcess(settings(kit, disk / "state", **changes))
        runner = threading.Thread(target=process.run)
        runner.start()
        try:
            wait_until(lambda: process.spool.stats().records > 3 and process.snapshots.written_bytes)
            ballast = fill(disk)
            wait_until(lambda: {"disk_full", "snapshot_failing"} <= process.faults(), timeout=30)
            wait_until(lambda: "disk_full" in server.statuses()[-1].faults)
            frames = process.camera.frames
            wait_until(lambda: process.camera.frames > frames + 20)
            ballast.unlink()
            wait_until(lambda: not {"disk_full", "snapshot_failing"} & process.faults(), timeout=30)
            wait_until(lambda: "disk_full" not in server.statuses()[-1].faults)
            assert process.device.failures == 0
        finally:
            process.stop("enough")
            runner.join(30)
        spool = Spool(disk / "state")
        seqs = sorted(record.seq for record in spool.next(10_000, 1 << 30) if record.boot == process.spool.boot)
        assert seqs == list(range(1, process.spool.next_seq))
        spool.close()
    server.connection.stop()


# ---- systemd ---------------------------------------------------------------------------------------------------


@pytest.fixture
def ear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Where systemd would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10.0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


def test_tells_systemd_when_it_is_ready_that_it_lives_and_when_it_stops(
    kit: Kit, tmp_path: Path, ear: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    process = EdgeProcess(settings(kit, tmp_path / "state", once=False, fps=50.0))
    runner = threading.Thread(target=process.run)
    runner.start()
    assert ear.recv(99) == b"READY=1"
    assert [ear.recv(99) for _ in range(2)] == [b"WATCHDOG=1"] * 2
    process.stop("enough")
    runner.join(30)
    said = b""
    while said != b"STOPPING=1":
        said = ear.recv(99)


def test_a_loop_that_takes_nothing_does_not_feed_the_watchdog(
    ear: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "2")
    loop = SimpleNamespace(applied=1)
    watchdog = Watchdog(cast(Device, loop))
    watchdog.feed()
    watchdog.feed()
    loop.applied = 2
    watchdog.feed()
    ear.setblocking(False)
    assert [ear.recv(99) for _ in range(2)] == [b"WATCHDOG=1"] * 2
    with pytest.raises(BlockingIOError):
        ear.recv(99)


def test_nobody_is_told_where_systemd_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not systemd.notify("READY=1")
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert systemd.watchdog_s() is None
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert systemd.watchdog_s() == 15.0
