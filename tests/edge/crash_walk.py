"""Plays a scenario again and again, each time in a child that is killed at its n-th step, and checks what is left.

    python -m tests.edge.crash_walk SCENARIO DIRECTORY steps|bytes

A step is an SQL statement, a file that is opened, renamed or removed, or a sync. With `bytes`, the child is killed by
the kernel at the write that makes a file longer than so many bytes. Prints a line of JSON for every point.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from broker import codec, topics
from broker.journal import Checkpoint, Journal, Opening, read
from broker.messages import DriftDetected, Header, LogRecord, Message, Predictions, SampleQuarantined, Tick
from edge_actors.ports.kept_snapshots import chosen, go_back, kept, newest
from edge_actors.ports.snapshots import Snapshot, SnapshotStore
from edge_actors.ports.spool import Spool

MOST_POINTS = 2_000
Say = Callable[..., None]
SMALL = 1 << 20


# ---- scenarios: what a child does, and says when it may be relied on -------------------------------------------


def put(spool: Spool, message: Message) -> None:
    header = Header(device="dev1", boot=spool.boot, seq=spool.next_seq)
    data = codec.encode(message, header)
    spool.append(header.seq, topics.rank_of(message), topics.path_of(message), data)


def spool(directory: Path, say: Say) -> None:
    """Begins a boot, appends, commits, sheds, takes pictures away, forgets, and closes."""
    held = Spool(directory, SMALL, group_s=0.0005)
    say("boot", held.boot)

    def flushed() -> None:
        if held.flush():
            say("flushed", held.next_seq - 1)

    for number in range(4):
        put(held, DriftDetected(episode=str(number)))
        put(held, LogRecord(text="x" * 300))
    flushed()
    for number in range(5):
        put(held, SampleQuarantined(sample=f"s-{number}", picture=b"p" * 90_000, picture_type="image/jpeg"))
        flushed()
    put(held, Predictions(each_frame=("f" * 90_000,)))
    flushed()
    held.confirm(held.boot, [(1, 2), (6, 6)])
    say("confirmed", 1, 2, 6)
    for _ in range(4):
        put(held, DriftDetected(episode="d" * 60_000))
        flushed()
    held.confirm(held.boot, [(7, 7), (9, 12)])
    say("confirmed", 7, 9, 10, 11, 12)
    held.close()
    say("closed")


def check_spool(directory: Path, said: list[list[Any]]) -> str:
    held = Spool(directory, SMALL, group_s=0.0005)
    try:
        boots = [one[1] for one in said if one[0] == "boot"]
        flushed = max((one[1] for one in said if one[0] == "flushed"), default=0)
        confirmed = {seq for one in said if one[0] == "confirmed" for seq in one[1:]}
        records = held.next(1000, 1 << 30)
        seqs = {record.seq for record in records}
        vital = {seq for seq in (1, 3, 5, 7, 15, 16, 17, 18) if seq <= flushed}
        for record in records:
            header, _ = codec.decode_record(record.data)
            if (header.boot, header.seq) != (record.boot, record.seq):
                return f"record {record.seq} is another"
        gone = set(range(1, flushed + 1)) - seqs - confirmed
        given_up = held.stats().given_up
        if held.faults():
            return f"faults: {sorted(held.faults())}"
        if held.boot in boots:
            return "a boot's number was used twice"
        if confirmed & seqs:
            return f"confirmed, and there again: {sorted(confirmed & seqs)}"
        if vital - confirmed - seqs:
            return f"lost: {sorted(vital - confirmed - seqs)}"
        # What was on its way to be forgotten when the child was killed had been confirmed by the server.
        lost = gone - {1, 2, 6, 7, 9, 10, 11, 12}
        if len(lost) > sum(count for name, count in given_up.items() if name != "PICTURE"):
            return f"neither there nor counted: {sorted(lost)}, {given_up}"
        put(held, DriftDetected())
        return "" if held.flush() else "it takes nothing any more"
    finally:
        held.close()


def snapshot(number: int) -> Snapshot:
    return Snapshot(snapshot=f"s{number}", bundle="b" * 64, states={"knn": {"bytes": bytes([number]) * 9_000}})


def snapshots(directory: Path, say: Say) -> None:
    """Writes five snapshots and keeps two."""
    answered = threading.Event()

    def answer(saved: Any) -> None:
        if not saved.error:
            say("saved", saved.snapshot)
        answered.set()

    store = SnapshotStore(directory / "snapshots", answer, keep=2)
    for number in range(1, 6):
        answered.clear()
        store.save(snapshot(number))
        answered.wait(10)
    store.close()


def check_snapshots(directory: Path, said: list[list[Any]]) -> str:
    store = SnapshotStore(directory / "snapshots", lambda saved: None, keep=2)
    try:
        latest, faults = store.latest(), store.faults()
    finally:
        store.close()
    last = int(said[-1][1][1:]) if said else 0
    allowed = [snapshot(number) if number else None for number in (last, last + 1)]
    if faults or latest not in allowed:
        return f"s{last} was safe, and there is {latest.snapshot if latest else 'none'}, faults {sorted(faults)}"
    left = [path.name for path in (directory / "snapshots").iterdir() if path.suffix != ".snapshot"]
    return f"left behind: {left}" if left else ""


def rollback(directory: Path, say: Say) -> None:
    """Goes back from the third snapshot to the first."""
    place = directory / "snapshots"
    held = kept(place)
    latest = newest(held)
    assert latest is not None
    go_back(place, chosen(held, "s1", "b" * 64), latest)
    say("back")


def prepare_rollback(directory: Path) -> None:
    answered = threading.Event()
    store = SnapshotStore(directory / "snapshots", lambda saved: answered.set())
    for number in (1, 2, 3):
        answered.clear()
        store.save(snapshot(number))
        answered.wait(10)
    store.close()


def check_rollback(directory: Path, said: list[list[Any]]) -> str:
    store = SnapshotStore(directory / "snapshots", lambda saved: None)
    latest, faults = store.latest(), store.faults()
    store.close()
    allowed = [1] if said else [1, 3]
    if faults or latest is None or latest.states not in [snapshot(number).states for number in allowed]:
        return f"there is {latest.snapshot if latest else 'none'}, faults {sorted(faults)}"
    others = [one.snapshot for one in kept(directory / "snapshots")][:3]
    return "" if others == [snapshot(number) for number in (1, 2, 3)] else "the others are not what they were"


def journal(directory: Path, say: Say) -> None:
    """Records through several segments, the oldest giving way."""
    held = Journal(directory / "journal", 24_000)
    opening = Opening(device="dev1", states={"knn": {"bytes": b"k" * 1_000}})
    for number in range(1, 61):
        data = codec.encode(Tick(at=float(number), wall_us=1 << 40))
        if not held.has_room(len(data) + 700):
            held.begin(replace(opening, at=float(number)))
        for part in range(10):
            held.append(codec.encode(Tick(at=number + part / 10)))
        held.checkpoint(Checkpoint(records=number, digest=hashlib.sha256(data).digest()))
        held.flush()
        say("flushed", number)
    held.close()


def check_journal(directory: Path, said: list[list[Any]]) -> str:
    place = directory / "journal"
    if not place.exists() or not list(place.iterdir()):
        return "" if not said else "there is no journal"
    last = said[-1][1] if said else 0
    segments = sorted(place.iterdir())
    found = [item.records for segment in segments if segment.stat().st_size for item in _items(segment)]
    if found != list(range(found[0], found[-1] + 1)) if found else last:
        return f"{last} were flushed, and there are {found}"
    return "" if not last or found[-1] in (last, last + 1) else f"{last} were flushed, the last is {found[-1]}"


def _items(segment: Path) -> Iterator[Checkpoint]:
    return (item for item in read(segment) if isinstance(item, Checkpoint))


def prepare_salvage(directory: Path) -> None:
    held = Spool(directory, 4 * SMALL, group_s=0.0005)
    for number in range(120):
        put(held, DriftDetected(episode=f"{number:0500d}"))
    held.flush()
    held.close()
    with (directory / "spool.db").open("r+b") as file:
        file.seek(6 * 4096)
        file.write(b"\xa5" * 4096)


def salvage(directory: Path, say: Say) -> None:
    """Opens a damaged spool, which saves what can be read of it."""
    held = Spool(directory, 4 * SMALL, group_s=0.0005)
    put(held, DriftDetected())
    if held.flush():
        say("salvaged", held.boot)
    held.close()


def check_salvage(directory: Path, said: list[list[Any]]) -> str:
    held = Spool(directory, 4 * SMALL, group_s=0.0005)
    try:
        records = held.next(1000, 1 << 30)
        boots = [one[1] for one in said]
        saved = [record for record in records if record.boot not in (*boots, held.boot)]
        if held.boot in boots:
            return "a boot's number was used twice"
        if held.faults() - {"spool_salvaged"}:
            return f"faults: {sorted(held.faults())}"
        if not 100 <= len({record.seq for record in saved}) <= 121:
            return f"only {len(saved)} records were saved"
        own = [record for record in records if record.boot in boots]
        return "" if len(own) == len(boots) else "what came after the salvage is lost"
    finally:
        held.close()


SCENARIOS: dict[str, tuple[Callable[[Path, Say], None], Callable[[Path, list[list[Any]]], str]]] = {
    "spool": (spool, check_spool),
    "snapshots": (snapshots, check_snapshots),
    "rollback": (rollback, check_rollback),
    "journal": (journal, check_journal),
    "salvage": (salvage, check_salvage),
}
PREPARE: dict[str, Callable[[Path], None]] = {"rollback": prepare_rollback, "salvage": prepare_salvage}


# ---- the walk --------------------------------------------------------------------------------------------------


class Steps:
    """Counts steps, and ends the process without any goodbye before the one it is told to."""

    def __init__(self, last: int, note: int) -> None:
        self.last, self.count, self.note = last, 0, note
        self.lock = threading.Lock()

    def __call__(self, name: str) -> None:
        with self.lock:
            self.count += 1
            if self.count == self.last:
                os.write(self.note, (json.dumps(["killed", name[:60]]) + "\n").encode())
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Makes everything a step that can leave something half done."""
        connect: Any = sqlite3.connect

        def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
            made: sqlite3.Connection = connect(*arguments, **options)
            made.set_trace_callback(lambda sql: self(" ".join(sql.split()[:2])))
            return made

        sqlite3.connect = traced  # type: ignore[assignment]
        for name in ("fsync", "posix_fallocate"):
            setattr(os, name, self._before(name, getattr(os, name)))
        sys.addaudithook(self._audit)

    def _before(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            self(name)
            return call(*arguments)

        return counted

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("os.rename", "os.remove", "os.mkdir"):
            self(event)
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            self("open")


def play(name: str, directory: Path, way: str, point: int) -> list[list[Any]]:
    """Forks a child that plays the scenario to that point; all that it said, at last "ended" where it got through."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)

        def say(*words: Any) -> None:
            os.write(writing, (json.dumps(words) + "\n").encode())

        if way == "steps":
            Steps(point, writing).watch()
        else:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (point, point))
        SCENARIOS[name][0](directory, say)
        say("ended")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = [json.loads(line) for line in pipe.read().splitlines()]
    os.waitpid(child, 0)
    return said


def walk(name: str, base: Path, way: str, points: Iterator[int]) -> None:
    prepared = base / "prepared"
    prepared.mkdir()
    if name in PREPARE:
        PREPARE[name](prepared)
    for point in points:
        directory = base / "one"
        shutil.copytree(prepared, directory)
        said = play(name, directory, way, point)
        ended = said[-1:] == [["ended"]]
        step = next((one[1] for one in said if one[0] == "killed"), "")
        promises = [one for one in said if one[0] not in ("killed", "ended", "closed")]
        problem = SCENARIOS[name][1](directory, promises)
        print(json.dumps({"point": point, "step": step, "said": len(promises), "ended": ended, "problem": problem}))
        shutil.rmtree(directory)
        if ended:
            return


def main(name: str, directory: str, way: str, first: str = "1", stride: str = "1") -> None:
    walk(name, Path(directory), way, iter(range(int(first), int(first) + MOST_POINTS * int(stride), int(stride))))


if __name__ == "__main__":
    main(*sys.argv[1:])
