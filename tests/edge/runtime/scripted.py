"""A small device whose actors do, and fail, as the frames tell them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Never

from broker import codec
from broker.journal import Journal, Opening
from broker.messages import (
    DeadLetter,
    Features,
    Float32Array,
    Frame,
    Header,
    LabelAssigned,
    LogRecord,
    Message,
    Predictions,
    SnapshotRequested,
    SnapshotSaved,
    Tick,
    Vitals,
)
from broker.topics import Rank
from edge_actors.ports.outbox import Outbox
from edge_actors.ports.snapshots import Snapshot
from edge_actors.runtime.actor import Actor
from edge_actors.runtime.device import Device, Identity
from edge_actors.runtime.door import Door, Doors
from edge_actors.runtime.recording import Outputs, Recording
from edge_actors.runtime.replay import NoDisk
from edge_actors.runtime.seat import Factory

BOOT = "0badcafe-000003"


class Counter(Actor[Frame, Features | LogRecord]):
    """Counts frames. What is wrong with a frame stands in its id."""

    def __init__(self) -> None:
        self.seen = 0
        self.spoiled: Any = None

    def receive(self, message: Frame) -> Iterator[Any]:
        self.seen += 1
        match message.frame:
            case "half":
                yield LogRecord(at=message.at, text="said before it failed")
                raise ValueError(f"half of frame {self.seen} is missing in {object()!r}")
            case "nan":
                yield Features(at=message.at, residual=math.nan)
            case "undeclared":
                yield SnapshotRequested(at=message.at)
            case "spoil":
                self.spoiled = {1, 2, 3}  # no snapshot can carry a set
            case "chatter":
                yield LogRecord(at=message.at, text="unsayable")
        numbers = Float32Array.of([self.seen / 3])
        yield Features(at=message.at, frame=message.frame, values=numbers, residual=self.seen / 7)

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen, "spoiled": self.spoiled}

    def restore(self, state: dict[str, Any]) -> None:
        self.seen, self.spoiled = state["seen"], state["spoiled"]


class Teller(Actor[Features | LabelAssigned | Vitals | Tick, Predictions | LogRecord]):
    """Tells of every frame, with a running number that only its state knows."""

    def __init__(self) -> None:
        self.total = 0.0
        self.labels: list[str] = []

    def receive(self, message: Features | LabelAssigned | Vitals | Tick) -> Iterator[Predictions | LogRecord]:
        if isinstance(message, LabelAssigned):
            self.labels.append(message.label)
            yield LogRecord(at=message.at, text=f"{message.sample} is {message.label}")
        elif isinstance(message, Features):
            self.total += message.residual
            if message.frame == "deep":
                raise KeyError(message.frame)
            labels = (*self.labels, message.frame)
            yield Predictions(at=message.at, seconds=self.total, frames=len(labels), labels=labels)

    def state(self) -> dict[str, Any]:
        return {"total": self.total, "labels": self.labels}

    def restore(self, state: dict[str, Any]) -> None:
        self.total, self.labels = state["total"], state["labels"]


class Saver(Actor[Tick | SnapshotSaved, SnapshotRequested | LogRecord]):
    """Asks for a snapshot every third tick."""

    def __init__(self) -> None:
        self.ticks = 0

    def receive(self, message: Tick | SnapshotSaved) -> Iterator[SnapshotRequested | LogRecord]:
        if isinstance(message, SnapshotSaved):
            yield LogRecord(at=message.at, text=message.error or f"{message.snapshot} is safe")
            return
        self.ticks += 1
        if self.ticks % 3 == 0:
            yield SnapshotRequested(at=message.at, snapshot=f"s{self.ticks}")

    def state(self) -> dict[str, Any]:
        return {"ticks": self.ticks}

    def restore(self, state: dict[str, Any]) -> None:
        self.ticks = state["ticks"]


class Sender(Actor[Predictions | LogRecord | DeadLetter, Never]):
    """Puts what it hears into the outbox; fails on what is called unsendable or unsayable."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox

    def receive(self, message: Predictions | LogRecord | DeadLetter) -> tuple[()]:
        if isinstance(message, Predictions) and "unsendable" in message.labels:
            raise OSError("no way out")
        if isinstance(message, LogRecord) and "unsayable" in message.text:
            raise OSError("no way out for words")
        seq = self.outbox.next_seq
        header = Header(device="dev1", boot=self.outbox.boot, seq=seq)
        self.outbox.append(seq, Rank.VITAL, "log", codec.encode(message, header))
        return ()


DOORS = {
    Tick: Door(room=4, drop_oldest=True, tells_time=True),
    SnapshotSaved: Door(room=4),
    LabelAssigned: Door(room=2),
    Vitals: Door(room=2, drop_oldest=True, tells_time=True),
    Frame: Door(room=1, drop_oldest=True, tells_time=True),
}
ROUTES: dict[type[Message], tuple[str, ...]] = {
    Tick: ("saver", "teller"),
    SnapshotSaved: ("saver",),
    LabelAssigned: ("teller",),
    Vitals: ("teller",),
    Frame: ("counter",),
    Features: ("teller",),
    Predictions: ("sender",),
    SnapshotRequested: (),
    LogRecord: ("sender",),
    DeadLetter: ("sender",),
}


class Sent:
    """An outbox that remembers."""

    def __init__(self, boot: str = BOOT) -> None:
        self.boot = boot
        self.next_seq = 1
        self.records: list[bytes] = []

    def append(self, seq: int, rank: Rank, path: str, record: bytes) -> None:
        assert seq == self.next_seq
        self.next_seq += 1
        self.records.append(record)

    def messages(self) -> list[Message]:
        return [codec.decode(record) for record in self.records]

    def of(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.messages() if isinstance(message, kind)]


class Saved:
    """A disk that remembers snapshots and answers nothing."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []

    def save(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)


class Rig:
    """The scripted device with an outbox, a disk and, where a directory is given, a journal."""

    def __init__(self, journal: Path | None = None, max_bytes: int = 1 << 20, **options: Any) -> None:
        self.sent, self.saved = Sent(), Saved()
        outputs = Outputs(self.sent)
        self.recording = Recording(Journal(journal, max_bytes), outputs) if journal else None
        identity = Identity(device="dev1", boot=BOOT, bundle="b" * 64, settings="{}")
        self.device = scripted(outputs, identity, snapshots=self.saved, recording=self.recording, **options)

    def admit(self, *messages: Message) -> None:
        for message in messages:
            self.device.admit(message)


def actors(outbox: Outbox) -> dict[str, Factory]:
    return {"counter": Counter, "teller": Teller, "saver": Saver, "sender": lambda: Sender(outbox)}


def scripted(outbox: Outbox, identity: Identity, **options: Any) -> Device:
    return Device(actors(outbox), Doors(DOORS), ROUTES, identity=identity, **options)


def again(opening: Opening, outputs: Outputs) -> Device:
    """The device of an opening, for a replay."""
    identity = Identity(device=opening.device, boot=opening.boot, bundle=opening.bundle)
    return scripted(outputs, identity, snapshots=NoDisk())


def device_of(
    actors: Mapping[str, Factory], routes: Mapping[type[Message], Sequence[str]], doors: Mapping[type[Message], Door]
) -> Device:
    """A device of other actors, without a disk."""
    return Device(actors, Doors(doors), routes, snapshots=Saved(), identity=Identity(boot=BOOT))


def frame(name: str = "fine", at: float = 1.0, size: int = 3) -> Frame:
    return Frame(at=at, frame=name, pixels=bytes(size), height=1, width=size // 3)
