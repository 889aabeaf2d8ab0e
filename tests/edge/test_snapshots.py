"""Whatever moment the power goes and whatever the disk refuses, the last good snapshot is there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from broker import codec
from broker.messages import Float32Array, SnapshotSaved
from edge_actors.errors import SnapshotDamagedError, StateDirectoryError
from edge_actors.ports.snapshots import FORMAT, Snapshot, SnapshotStore, dump, load
from tests.support import wait_until


def snapshot(number: int) -> Snapshot:
    states = {"knn": {"memory": Float32Array.of([number, 0.5]), "labels": ["cat", "dog"]}, "saver": {"n": number}}
    return Snapshot(snapshot=f"s{number}", at=number / 4, boot="b-1", bundle="d" * 64, applied=number, states=states)


class Answers(list[SnapshotSaved]):
    """What the store answered, in its order."""

    def __call__(self, saved: SnapshotSaved) -> None:
        self.append(saved)


@contextmanager
def opened(directory: Path, keep: int = 5) -> Iterator[tuple[SnapshotStore, Answers]]:
    answers = Answers()
    store = SnapshotStore(directory, answers, keep)
    try:
        yield store, answers
    finally:
        assert store.close()


def write(directory: Path, *numbers: int, keep: int = 5) -> list[Path]:
    """Writes these snapshots one after the other; the files, oldest first."""
    with opened(directory, keep) as (store, answers):
        for count, number in enumerate(numbers, 1):
            store.save(snapshot(number))
            wait_until(lambda wanted=count: len(answers) == wanted)
        assert [answer.error for answer in answers] == [""] * len(numbers)
    return sorted(directory.glob("*.snapshot"))


def latest(directory: Path) -> tuple[Snapshot | None, frozenset[str]]:
    with opened(directory) as (store, _):
        return store.latest(), store.faults()


def test_a_fresh_directory_holds_none(tmp_path: Path) -> None:
    assert latest(tmp_path / "state" / "snapshots") == (None, frozenset())


def test_comes_back_as_it_was_and_is_answered_with_its_digest(tmp_path: Path) -> None:
    with opened(tmp_path) as (store, answers):
        store.save(snapshot(7))
        wait_until(lambda: answers)
        assert store.latest() == snapshot(7)
    (answer,) = answers
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    assert (answer.snapshot, answer.error, answer.size) == ("s7", "", len(data))
    assert answer.digest == hashlib.sha256(data[:-32]).hexdigest() == data[-32:].hex()


def test_the_newest_is_the_one_to_start_from_also_after_several_processes(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    write(tmp_path, 9)
    write(tmp_path, 3)
    assert latest(tmp_path) == (snapshot(3), frozenset())


def test_keeps_only_so_many(tmp_path: Path) -> None:
    files = write(tmp_path, *range(1, 10), keep=3)
    assert [load(path.read_bytes(), path) for path in files] == [snapshot(number) for number in (7, 8, 9)]


def test_a_snapshot_cut_at_any_byte_gives_way_to_the_one_before(tmp_path: Path) -> None:
    good, cut_short = write(tmp_path, 1, 2)
    whole = cut_short.read_bytes()
    aside = cut_short.with_suffix(".damaged")
    for cut in range(len(whole)):
        cut_short.write_bytes(whole[:cut])
        assert latest(tmp_path) == (snapshot(1), {"snapshot_damaged"})
        assert aside.read_bytes() == whole[:cut]
        assert not cut_short.exists()
        aside.unlink()
    assert good.exists()


def test_a_flipped_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    whole = dump(snapshot(1))
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(SnapshotDamagedError, match="its checksum is wrong"):
            load(bytes(damaged), tmp_path)


@pytest.mark.parametrize("body", [b"", b"\xff", codec.pack([FORMAT]), codec.pack(["x", {}]), codec.pack([1, 2])])
def test_what_is_no_snapshot_is_damaged_also_under_a_right_checksum(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(SnapshotDamagedError):
        load(body + hashlib.sha256(body).digest(), tmp_path)


def test_when_all_are_damaged_the_device_starts_from_its_bundle_and_keeps_them_to_look_at(tmp_path: Path) -> None:
    for path in write(tmp_path, 1, 2, 3):
        path.write_bytes(path.read_bytes()[:-1])
    assert latest(tmp_path) == (None, {"snapshot_damaged"})
    assert len(list(tmp_path.glob("*.damaged"))) == 3
    write(tmp_path, 4)
    assert latest(tmp_path) == (snapshot(4), frozenset())


def test_one_that_cannot_be_read_gives_way_to_the_one_before(tmp_path: Path) -> None:
    _, unreadable = write(tmp_path, 1, 2)
    unreadable.unlink()
    unreadable.mkdir()
    assert latest(tmp_path) == (snapshot(1), {"snapshot_damaged"})
    write(tmp_path, 3, 4, keep=1)
    assert latest(tmp_path) == (snapshot(4), frozenset())


def test_damaged_files_are_not_kept_for_ever(tmp_path: Path) -> None:
    for number in range(8):
        for path in write(tmp_path, number):
            path.write_bytes(b"")
        latest(tmp_path)
    write(tmp_path, 9, keep=3)
    assert len(list(tmp_path.glob("*.damaged"))) == 3


def test_what_a_power_cut_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    write(tmp_path, 1)
    (tmp_path / "00000002.part").write_bytes(b"half")
    assert latest(tmp_path) == (snapshot(1), frozenset())
    assert [path.name for path in tmp_path.iterdir()] == ["00000001.snapshot"]


def test_one_of_a_newer_version_is_left_for_that_version(tmp_path: Path) -> None:
    _, newer = write(tmp_path, 1, 2)
    body = codec.pack([FORMAT + 1, {"other": "things"}])
    newer.write_bytes(body + hashlib.sha256(body).digest())
    assert latest(tmp_path) == (snapshot(1), {"snapshot_too_new"})
    assert newer.exists()


def test_one_may_wait_and_a_newer_one_takes_its_place(tmp_path: Path) -> None:
    writing, go_on, answers = threading.Event(), threading.Event(), Answers()

    def saved(answer: SnapshotSaved) -> None:
        answers(answer)
        if answer.snapshot == "s1":
            writing.set()
            assert go_on.wait(10.0)

    store = SnapshotStore(tmp_path, saved)
    store.save(snapshot(1))
    assert writing.wait(10.0)
    store.save(snapshot(2))
    store.save(snapshot(3))
    go_on.set()
    assert store.close()
    assert [(answer.snapshot, answer.error) for answer in answers] == [
        ("s1", ""),
        ("s2", "a newer one took its place before the disk"),
        ("s3", ""),
    ]
    assert latest(tmp_path)[0] == snapshot(3)


def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, rename = os.fsync, Path.rename

    def synced(handle: int) -> None:
        done.append(f"sync {Path(os.readlink(f'/proc/self/fd/{handle}')).name}")
        sync(handle)

    def renamed(path: Path, target: Path) -> Path:
        done.append(f"rename {path.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    store = SnapshotStore(tmp_path, lambda answer: done.append(f"answer {answer.snapshot}"))
    store.save(snapshot(1))
    assert store.close()
    assert done == ["sync 00000001.part", "rename 00000001.part", f"sync {tmp_path.name}", "answer s1"]


def test_a_place_that_is_no_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateDirectoryError, match=r"file cannot be used: file exists"):
        SnapshotStore(tmp_path / "file", Answers())


def test_a_thousand_features_cost_their_own_bytes_and_little_else(tmp_path: Path) -> None:
    memory = Float32Array(np.random.default_rng(1).standard_normal((200, 256)).astype("<f4").tobytes())
    labels = [f"class-{number % 8}" for number in range(200)]
    assert len(dump(Snapshot(states={"knn": {"memory": memory, "labels": labels}}))) <= 215_000


FULL_DISK = """
import json, resource, sys
from pathlib import Path
from broker.messages import LogRecord, Predictions, Tick
from edge_actors.ports.snapshots import SnapshotStore
from edge_actors.runtime.device import Identity
from tests.edge.runtime.scripted import Sent, frame, scripted

sent, doors = Sent(), []
store = SnapshotStore(Path(sys.argv[1]), lambda saved: device.doors.post(saved))
device = scripted(sent, Identity(boot=sent.boot), snapshots=store)

def snapshot_and_go_on(at):
    for number in range(3):
        device.admit(Tick(at=at + number))
    device.admit(device.doors.take(10.0))
    device.admit(frame(at=at + 4))
    return sorted(store.faults())

hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
good = snapshot_and_go_on(0.0)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
full = snapshot_and_go_on(10.0)
still_there = store.latest().at
left_behind = sorted(path.suffix for path in Path(sys.argv[1]).iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
later = snapshot_and_go_on(20.0)
store.close()
told = [said.text for said in sent.of(LogRecord)]
print(json.dumps([good, full, still_there, left_behind, later, told, len(sent.of(Predictions)), store.latest().at]))
"""


def test_a_full_disk_is_told_and_the_device_goes_on_with_its_last_good_snapshot(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    good, full, still_there, left_behind, later, told, predictions, newest = json.loads(done.stdout)
    assert (good, full, later) == ([], ["disk_full", "snapshot_failing"], [])
    assert told == ["s3 is safe", "the disk does not take it: file too large", "s9 is safe"]
    assert (still_there, left_behind, newest) == (2.0, [".snapshot"], 22.0)
    assert predictions == 3
