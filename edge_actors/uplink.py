"""Gives whatever leaves the device its number and its time, and puts it into the outbox."""

from __future__ import annotations

from typing import Any, Never

from broker import codec, topics
from broker.messages import (
    AdaptationDecided,
    BlobOffered,
    CameraFaulted,
    CameraRecovered,
    CommandReported,
    DeadLetter,
    DriftCleared,
    DriftContinued,
    DriftDetected,
    Header,
    LabelAcknowledged,
    LabelRequested,
    LogRecord,
    Predictions,
    SampleQuarantined,
    SnapshotTaken,
    Telemetry,
    Tick,
)

from .errors import RecordTooLargeError
from .ports.outbox import Outbox
from .runtime.actor import Actor

Leaving = (
    DriftDetected
    | DriftContinued
    | DriftCleared
    | CameraFaulted
    | CameraRecovered
    | SampleQuarantined
    | AdaptationDecided
    | SnapshotTaken
    | LabelAcknowledged
    | LabelRequested
    | CommandReported
    | BlobOffered
    | Predictions
    | Telemetry
    | LogRecord
    | DeadLetter
)
Inbox = Tick | Leaving


class Uplink(Actor[Inbox, Never]):
    """The outbox knows the next number, so a rebuilt uplink leaves no gap."""

    def __init__(self, device: str, outbox: Outbox) -> None:
        self.device = topics.check_device(device)
        self.outbox = outbox
        self.tick = Tick()  # until the first one, wall time is 1970 and says that it is not synced

    def receive(self, message: Inbox) -> tuple[()]:
        if isinstance(message, Tick):
            self.tick = message
        else:
            self._send(message)
        return ()

    def state(self) -> dict[str, Any]:
        return {"at": self.tick.at, "wall_us": self.tick.wall_us, "clock": self.tick.clock}

    def restore(self, state: dict[str, Any]) -> None:
        self.tick = Tick(**state)

    def restarted(self) -> None:
        self.tick = Tick()  # nobody knows how long the device was off

    def _send(self, message: Leaving) -> None:
        header = Header(
            device=self.device,
            boot=self.outbox.boot,
            seq=self.outbox.next_seq,
            wall_us=self.tick.wall_us + round((message.at - self.tick.at) * 1e6),
            mono_us=round(message.at * 1e6),
            clock=self.tick.clock,
        )
        record = codec.encode(message, header)  # a message that cannot leave uses up no number
        if len(record) > codec.MAX_BYTES:
            raise RecordTooLargeError(type(message).__name__, len(record), codec.MAX_BYTES)
        self.outbox.append(header.seq, topics.rank_of(message), topics.path_of(message), record)
