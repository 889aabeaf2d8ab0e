"""Killed at any step, or without power in the middle of a write: what was promised is there, and nothing twice.

Every step of spool, snapshots, rollback and journal, and many of a salvage, are walked in the slow run, and a part of
them always.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker import codec
from broker.messages import DriftDetected, Header, LogRecord
from broker.topics import Rank
from edge_actors.ports.record import Record
from edge_actors.ports.spool import Spool
from edge_actors.ports.spool_file import SpoolFile

PAGE, FRAME_HEAD, LOG_HEAD = 4096, 24, 32
ROOM = 16 << 20  # so much that the log is not taken over meanwhile


@pytest.fixture
def quick() -> Iterator[Path]:
    """A directory in memory where there is one: a process that is killed leaves the same files there."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def walked(scenario: str, directory: Path, way: str, first: int, stride: int) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.edge.crash_walk", scenario, str(directory), way, str(first), str(stride)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    points = [json.loads(line) for line in done.stdout.splitlines()]
    assert points[-1]["ended"], "the last one got through"
    assert not points[0]["ended"]
    return points


ALWAYS = [
    ("spool", "steps", 3, 7),
    ("spool", "bytes", 1_000, 40_000),
    ("snapshots", "steps", 1, 2),
    ("snapshots", "bytes", 1, 2_500),
    ("rollback", "steps", 1, 1),
    ("rollback", "bytes", 1, 3_000),
    ("journal", "steps", 1, 2),
    ("journal", "bytes", 1, 1_500),
    ("salvage", "steps", 5, 45),
]
ALL = [
    ("spool", "bytes", 1, 3_001),
    ("snapshots", "steps", 1, 1),
    ("snapshots", "bytes", 1, 61),
    ("journal", "steps", 1, 1),
    ("journal", "bytes", 1, 61),
    ("salvage", "steps", 1, 4),
    ("salvage", "bytes", 1, 9_001),
]


@pytest.mark.parametrize(
    ("scenario", "way", "first", "stride"),
    [*ALWAYS, *(pytest.param(*one, marks=pytest.mark.slow) for one in ALL)],
)
def test_killed_at_any_step_nothing_that_was_promised_is_lost(
    quick: Path, scenario: str, way: str, first: int, stride: int
) -> None:
    points = walked(scenario, quick, way, first, stride)
    assert [point for point in points if point["problem"]] == []
    assert len(points) > 3
    assert {0, max(point["said"] for point in points)} <= {point["said"] for point in points}


@pytest.mark.slow
def test_killed_at_every_step_of_the_spool_nothing_is_lost_and_no_kind_of_step_is_missed(quick: Path) -> None:
    points = walked("spool", quick, "steps", 1, 1)
    assert [point for point in points if point["problem"]] == []
    steps = {point["step"] for point in points}
    wanted = (
        "BEGIN IMMEDIATE",
        "INSERT OR",
        "UPDATE records",
        "UPDATE boots",
        "DELETE FROM",
        "COMMIT",
        "PRAGMA quick",
    )
    for statement in wanted:
        assert [step for step in steps if step.startswith(statement)], f"{statement} in {sorted(steps)}"


# ---- no power --------------------------------------------------------------------------------------------------


def state(directory: Path) -> set[tuple[str, int]]:
    """The records of a spool that has to open without a fault."""
    spool = Spool(directory, ROOM, group_s=0.001)
    try:
        assert spool.faults() == frozenset()
        return {(record.boot, record.seq) for record in spool.next(1000, 1 << 30)}
    finally:
        spool.close()


def write(file: SpoolFile, boot: str, first: int, count: int) -> None:
    batch = []
    for seq in range(first, first + count):
        message = DriftDetected(episode=str(seq)) if seq % 2 else LogRecord(text="x" * 1500)
        data = codec.encode(message, Header(device="dev1", boot=boot, seq=seq))
        batch.append(
            Record(boot, seq, Rank.VITAL if seq % 2 else Rank.TELEMETRY, "drift" if seq % 2 else "log", data)
        )
    assert file.write(batch) == 0


@pytest.fixture
def cut_off(quick: Path) -> tuple[Path, str, list[tuple[int, set[int]]]]:
    """A spool without its process: directory, boot, and after each commit the log's length and the records."""
    directory = quick / "spool"
    directory.mkdir()
    SpoolFile(directory / "spool.db", ROOM).close()
    file = SpoolFile(directory / "spool.db", ROOM)
    boot = file.begin_boot()
    log = directory / "spool.db-wal"
    commits: list[tuple[int, set[int]]] = [(0, set())]

    def committed(seqs: set[int]) -> None:
        commits.append((log.stat().st_size, seqs))

    committed(set())
    held: set[int] = set()
    for first in range(1, 16, 5):
        write(file, boot, first, 5)
        held |= set(range(first, first + 5))
        committed(set(held))
    for spans in ([(1, 4)], [(8, 8), (10, 11)]):
        file.confirm(boot, spans)
        held -= {seq for first, last in spans for seq in range(first, last + 1)}
        committed(set(held))
    copied = quick / "copied"
    shutil.copytree(directory, copied)
    file.close()
    shutil.copy(directory / "spool.db", quick / "checkpointed.db")
    return copied, boot, commits


def test_a_log_that_ends_anywhere_gives_what_was_committed_until_there(
    quick: Path, cut_off: tuple[Path, str, list[tuple[int, set[int]]]]
) -> None:
    copied, boot, commits = cut_off
    whole = (copied / "spool.db-wal").read_bytes()
    frame = FRAME_HEAD + PAGE
    cuts = [LOG_HEAD + number * frame + more for number in range(len(whole) // frame) for more in (0, frame // 3)]
    for cut in [0, 10, *cuts, len(whole)]:
        again = quick / "again"
        shutil.copytree(copied, again)
        (again / "spool.db-wal").write_bytes(whole[:cut])
        wanted = [seqs for length, seqs in commits if length <= cut][-1]
        assert state(again) == {(boot, seq) for seq in wanted}, f"after {cut} of {len(whole)} bytes"
        shutil.rmtree(again)


def test_a_checkpoint_cut_off_anywhere_is_made_good_by_the_log(
    quick: Path, cut_off: tuple[Path, str, list[tuple[int, set[int]]]]
) -> None:
    copied, boot, commits = cut_off
    before, after = (copied / "spool.db").read_bytes(), (quick / "checkpointed.db").read_bytes()
    pages = [at for at in range(0, len(after), PAGE) if before[at : at + PAGE] != after[at : at + PAGE]]
    assert len(pages) > 5
    for done in range(len(pages) + 1):
        for half in (0, PAGE // 2):
            torn = bytearray(before.ljust(len(after), b"\0")) if done or half else bytearray(before)
            for at in pages[:done]:
                torn[at : at + PAGE] = after[at : at + PAGE]
            for at in pages[done : done + 1]:
                torn[at : at + half] = after[at : at + half]
            again = quick / "again"
            shutil.copytree(copied, again)
            (again / "spool.db").write_bytes(torn)
            assert state(again) == {(boot, seq) for seq in commits[-1][1]}, f"{done} pages and {half} bytes"
            shutil.rmtree(again)
