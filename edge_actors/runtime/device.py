"""The loop: one message is let in and delivered with everything it leads to before the next."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter_ns
from typing import Any

from broker import codec
from broker.errors import DecodeError, EncodeError
from broker.journal import Opening
from broker.messages import DeadLetter, Frame, Message, SnapshotRequested, Tick

from ..errors import RestartBudgetSpentError
from ..ports.snapshots import Snapshot, Snapshots
from .actor import Actor
from .crew import Crew, States
from .door import Doors
from .latency import Latency
from .recording import Recording
from .seat import MAX_HOP_BYTES, Factory
from .supervision import RestartBudget, reason_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this device is, for its snapshots and recordings."""

    device: str = ""
    boot: str = ""
    bundle: str = ""  # digest
    settings: str = ""  # as text, so that a replay can read them again


class Device:
    """All actors of a device and the loop that calls them. Raises WiringError.

    `now` is message time: seconds of operation, which only what comes through a door that tells the time moves on.
    """

    def __init__(
        self,
        actors: Mapping[str, Factory],
        doors: Doors,
        routes: Mapping[type[Message], Sequence[str]],
        *,
        snapshots: Snapshots,
        identity: Identity,
        recording: Recording | None = None,
        restarts: int = 5,
        within_s: float = 60.0,
    ) -> None:
        self.doors, self.identity = doors, identity
        self.now = 0.0
        self.applied = 0  # messages let in, over all boots
        self._crew = Crew(actors, routes, doors.doors, RestartBudget(restarts, within_s), self._save)
        self._tells_time = {kind for kind, door in doors.doors.items() if door.tells_time}
        self._snapshots, self._recording = snapshots, recording
        self._frame_latency = Latency()

    def resume(
        self, *, at: float, applied: int, states: Mapping[str, dict[str, Any]], restarts: Iterable[float] = ()
    ) -> None:
        """Goes on exactly from there, as if nothing had happened: where a recording begins. Raises RestoreError."""
        self.now = self._crew.now = at
        self.applied = applied
        self._crew.budget.resume(restarts)
        self._crew.resume(states)

    def start_from(self, snapshot: Snapshot) -> None:
        """Goes on from what an earlier process left on disk. Raises RestoreError.

        What another bundle learned means nothing to this one: of that only the message time is taken over.
        """
        fits = snapshot.bundle == self.identity.bundle
        if not fits:
            log.warning("the last snapshot belongs to the bundle %.12s: starting as delivered", snapshot.bundle)
        self.resume(at=snapshot.at, applied=snapshot.applied, states=snapshot.states if fits else {})
        self._crew.restarted()

    def run(self) -> None:
        """Takes from the doors until they are closed and empty, then leaves a last snapshot.

        Raises RestartBudgetSpentError, RestoreError or RunawayError when the process had better start again.
        """
        try:
            while (message := self.doors.take()) is not None:
                self.admit(message)
        finally:
            if self._recording is not None:
                self._recording.close()
        last = SnapshotRequested(at=self.now, snapshot=f"{self.identity.boot}-stop", reason="stop")
        self._crew.deliver(*self._crew.answer(last))

    def stop(self) -> None:
        """Makes `run` end after what already waits; may be called from any thread and from a signal handler."""
        self.doors.close()

    def admit(self, message: Message) -> None:
        """Lets one message in and delivers it and all it leads to, first in, first out. Raises like `run`."""
        started = perf_counter_ns()
        data, admitted = self._let_in(message)
        self._crew.now = self.now
        try:
            if self._recording is not None:
                self._recording.let_in(data, self.now, self._opening)
            self.applied += 1
            self._crew.deliver(admitted)
        except RestartBudgetSpentError as spent:
            self._crew.say_last(spent.reports)
            raise
        finally:
            if self._recording is not None:
                self._recording.handled(self.now, flush=type(admitted) is Tick)
        if type(admitted) is Frame:
            self._frame_latency.add(perf_counter_ns() - started)

    @property
    def failures(self) -> int:
        """How often an actor failed and was rebuilt in this process."""
        return self._crew.failures

    def actor(self, name: str) -> Actor[Any, Any]:
        """The living actor of a name, to read from; only the loop may call it."""
        return self._crew.seats[name].actor

    def latencies(self) -> dict[str, float]:
        """Medians, 95th and 99th percentiles of late, in microseconds: `<actor>_p50_us`; `frame_p50_us` for all.

        May be called from any thread. An actor's time includes the encoding of what it yields.
        """
        measured = {name: seat.latency for name, seat in self._crew.seats.items()} | {"frame": self._frame_latency}
        return {
            f"{name}_{quantile}_us": value
            for name, latency in measured.items()
            for quantile, value in zip(("p50", "p95", "p99"), latency.quantiles_us(0.5, 0.95, 0.99), strict=False)
        }

    # ---- letting in --------------------------------------------------------------------------------------------

    def _let_in(self, message: Message) -> tuple[bytes, Message]:
        """The message as bytes and as the actors see it; what the rim got wrong becomes a dead letter."""
        at = getattr(message, "at", self.now)
        # A picture that waited while the clock ticked gets the present time: time never goes back.
        now = at if type(message) in self._tells_time and at > self.now else self.now
        try:
            data = codec.encode(message if at == now else replace(message, at=now))  # type: ignore[type-var]
            admitted = codec.decode(data, MAX_HOP_BYTES)
        except (EncodeError, DecodeError) as error:
            log.error("a %s was not let in: %s", type(message).__name__, error)
            letter = DeadLetter(at=self.now, where="door", kind=type(message).__name__, reason=reason_of(error))
            return codec.encode(letter), letter
        self.now = now
        return data, admitted

    # ---- the state of all --------------------------------------------------------------------------------------

    def _save(self, request: SnapshotRequested, states: States) -> None:
        snapshot = Snapshot(
            snapshot=request.snapshot,
            at=self.now,
            boot=self.identity.boot,
            bundle=self.identity.bundle,
            applied=self.applied,
            reason=request.reason,
            states=states,
        )
        self._snapshots.save(snapshot)

    def _opening(self) -> Opening | None:
        """Where a segment of the journal begins; None when an actor cannot give its state."""
        states, reports = self._crew.take_states(SnapshotRequested(at=self.now, reason="journal"))
        self._crew.deliver(*reports)
        if states is None:
            return None
        return Opening(
            device=self.identity.device,
            boot=self.identity.boot,
            bundle=self.identity.bundle,
            settings=self.identity.settings,
            at=self.now,
            applied=self.applied,
            restarts=list(self._crew.budget.spent),
            states=states,
        )
