"""Plays a journal again: the same messages into the same actors have to give the same records, byte for byte."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO

from broker import codec
from broker.journal import Checkpoint, Item, Opening
from broker.topics import Rank

from ..errors import ReplayError, RestartBudgetSpentError, RestoreError, RunawayError
from ..ports.snapshots import Snapshot
from .device import Device
from .recording import Outputs
from .seat import MAX_HOP_BYTES

ENDS = (RestartBudgetSpentError, RestoreError, RunawayError)  # what a recorded process may have left with

Make = Callable[[Opening, Outputs], Device]


class Tape:
    """The outbox of a replay: writes the records as a CBOR sequence."""

    def __init__(self, boot: str, next_seq: int, out: BinaryIO | None = None) -> None:
        self.boot, self.next_seq, self._out = boot, next_seq, out

    def append(self, seq: int, rank: Rank, path: str, record: bytes) -> None:
        self.next_seq = seq + 1
        if self._out is not None:
            self._out.write(record)


class NoDisk:
    """The snapshots of a replay: they lead nowhere, for what the disk answered is in the journal."""

    def save(self, snapshot: Snapshot) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Difference:
    """The first message after which the records were not the recorded ones."""

    message: int  # counted from 1 over all that was played
    kind: str
    at: float
    recorded: int | None  # records since the segment began; None when the message had led to none
    replayed: int

    def __str__(self) -> str:
        where = f"the records first differ at message {self.message:,} ({self.kind} at {self.at:.3f} s)"
        if self.recorded is None:
            return f"{where}: it led to none when it was recorded"
        if self.recorded != self.replayed:
            return f"{where}: {self.replayed:,} since the segment began, and {self.recorded:,} were recorded"
        return f"{where}: as many as were recorded, but other bytes"


@dataclass(slots=True)
class Report:
    """What a replay gave."""

    messages: int = 0
    records: int = 0
    seconds: float = 0.0
    difference: Difference | None = None

    def __str__(self) -> str:
        played = f"replayed {self.messages:,} messages in {self.seconds:.1f} s: {self.records:,} records"
        return f"{played}, the same bytes" if self.difference is None else f"{played}; {self.difference}"


def replay(items: Iterable[Item], make: Make, out: BinaryIO | None = None) -> Report:
    """Plays all items, or up to the first difference; `make` gives the device of an opening, with NoDisk.

    Raises ReplayError, JournalError, DecodeError, RestoreError.
    """
    report, segment, started = Report(), None, time.perf_counter()
    for item in items:
        if isinstance(item, Opening):
            segment = _Segment(item, make, out, report)
        elif segment is None:
            raise ReplayError("the journal does not begin with an opening")
        elif isinstance(item, Checkpoint):
            segment.compare(item)
        else:
            segment.admit(item)
        if report.difference is not None:
            break
    report.seconds = time.perf_counter() - started
    if not report.messages:
        raise ReplayError("the journal holds no message to play")
    return report


class _Segment:
    """One segment being played, from its own opening."""

    def __init__(self, opening: Opening, make: Make, out: BinaryIO | None, report: Report) -> None:
        self.outputs = Outputs(Tape(opening.boot, opening.next_seq, out))
        self.device = make(opening, self.outputs)
        self.device.resume(at=opening.at, applied=opening.applied, states=opening.states, restarts=opening.restarts)
        self.report = report
        self.kind, self.at = "", opening.at  # of the latest message
        self.confirmed = 0  # records that a checkpoint has confirmed
        self.ended = False  # the process left with the latest message

    def admit(self, data: bytes) -> None:
        if self.ended or self.outputs.records != self.confirmed:
            self.differs(None)  # a checkpoint follows what led to records, not the next message
            return
        message = codec.decode(data, MAX_HOP_BYTES)
        self.kind, self.at = type(message).__name__, getattr(message, "at", self.at)
        self.report.messages += 1
        before = self.outputs.records
        try:
            self.device.admit(message)
        except ENDS:
            self.ended = True
        self.report.records += self.outputs.records - before

    def compare(self, recorded: Checkpoint) -> None:
        if recorded != self.outputs.checkpoint():
            self.differs(recorded.records)
        self.confirmed = recorded.records

    def differs(self, recorded: int | None) -> None:
        self.report.difference = Difference(self.report.messages, self.kind, self.at, recorded, self.outputs.records)
