"""The loop: one admitted message is delivered with everything it leads to before the next is let in.

Every hop is CBOR: what an actor yields is encoded and decoded once, and its receivers share the frozen result. All
that one `receive` yields is collected before any of it is delivered, so a failing actor leaves nothing half done.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import perf_counter_ns
from typing import Any

from broker import codec
from broker.errors import DecodeError, EncodeError
from broker.journal import Opening
from broker.messages import DeadLetter, Frame, Message, SnapshotRequested, SnapshotSaved, Tick

from ..errors import RestartBudgetSpentError, RestoreError, RunawayError
from ..ports.snapshots import Snapshot, Snapshots
from .door import Doors
from .latency import Latency
from .recording import Recording
from .seat import MAX_HOP_BYTES, Factory, Seat, hop
from .supervision import REPORTS, RestartBudget, attempt, reason_of, reports_of
from .wiring_check import check

log = logging.getLogger(__name__)

MAX_MESSAGES = 10_000  # that one admitted message may lead to


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
        self.failures = 0  # of actors, in this process
        self._seats = {name: Seat(name, factory) for name, factory in actors.items()}
        check(doors.doors, {name: type(seat.actor) for name, seat in self._seats.items()}, routes)
        self._receivers = {kind: tuple(self._seats[name] for name in names) for kind, names in routes.items()}
        self._tells_time = {kind for kind, door in doors.doors.items() if door.tells_time}
        self._snapshots, self._recording = snapshots, recording
        self._budget = RestartBudget(restarts, within_s)
        self._frame_latency = Latency()

    def resume(
        self, *, at: float, applied: int, states: Mapping[str, dict[str, Any]], restarts: Iterable[float] = ()
    ) -> None:
        """Goes on exactly from there, as if nothing had happened: where a recording begins. Raises RestoreError."""
        self.now, self.applied = at, applied
        self._budget.resume(restarts)
        for name, seat in self._seats.items():
            if name in states and isinstance(error := attempt(seat.resume, states[name]), Exception):
                raise RestoreError(name, reason_of(error)) from error

    def start_from(self, snapshot: Snapshot) -> None:
        """Goes on from what an earlier process left on disk. Raises RestoreError."""
        self.resume(at=snapshot.at, applied=snapshot.applied, states=snapshot.states)
        for seat in self._seats.values():
            if isinstance(error := attempt(seat.restarted), Exception):
                raise RestoreError(seat.name, reason_of(error)) from error

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
        for answer in self._answer(last):
            self._deliver(answer)

    def stop(self) -> None:
        """Makes `run` end after what already waits; may be called from any thread and from a signal handler."""
        self.doors.close()

    def admit(self, message: Message) -> None:
        """Lets one message in and delivers it and all it leads to, first in, first out."""
        started = perf_counter_ns()
        data, admitted = self._let_in(message)
        try:
            if self._recording is not None:
                self._recording.let_in(data, self.now, self._opening)
            self.applied += 1
            self._deliver(admitted)
        except RestartBudgetSpentError as spent:
            self._say_last(spent.reports)
            raise
        finally:
            if self._recording is not None:
                self._recording.handled(self.now, flush=type(admitted) is Tick)
        if type(admitted) is Frame:
            self._frame_latency.add(perf_counter_ns() - started)

    def latencies(self) -> dict[str, float]:
        """Medians and 95th percentiles of late, in microseconds: `<actor>_p50_us`, and `frame_p50_us` for all of it.

        May be called from any thread. An actor's time includes the encoding of what it yields.
        """
        measured = {name: seat.latency for name, seat in self._seats.items()} | {"frame": self._frame_latency}
        return {
            f"{name}_{quantile}_us": value
            for name, latency in measured.items()
            for quantile, value in zip(("p50", "p95"), latency.quantiles_us(0.5, 0.95), strict=False)
        }

    # ---- letting in --------------------------------------------------------------------------------------------

    def _let_in(self, message: Message) -> tuple[bytes, Message]:
        """The message as bytes and as the actors see it; what the rim got wrong becomes a dead letter."""
        try:
            data = codec.encode(self._timed(message))
            return data, codec.decode(data, MAX_HOP_BYTES)
        except (EncodeError, DecodeError) as error:
            log.error("a %s was not let in: %s", type(message).__name__, error)
            letter = DeadLetter(at=self.now, where="door", kind=type(message).__name__, reason=reason_of(error))
            return codec.encode(letter), letter

    def _timed(self, message: Message) -> Message:
        at = getattr(message, "at", self.now)
        if type(message) in self._tells_time and at > self.now:
            self.now = at
        # A picture that waited while the clock ticked gets the present time: time never goes back.
        return message if at == self.now else replace(message, at=self.now)  # type: ignore[type-var]

    def _opening(self) -> Opening | None:
        failed: list[Message] = []
        states = self._take_states(SnapshotRequested(at=self.now, reason="journal"), failed)
        for report in failed:
            self._deliver(report)
        if states is None:
            return None
        who = self.identity
        return Opening(
            device=who.device,
            boot=who.boot,
            bundle=who.bundle,
            settings=who.settings,
            at=self.now,
            applied=self.applied,
            restarts=self._budget.spent,
            states=states,
        )

    # ---- delivering --------------------------------------------------------------------------------------------

    def _deliver(self, message: Message) -> None:
        waiting, delivered = deque((message,)), 0
        while waiting:
            if (delivered := delivered + 1) > MAX_MESSAGES:
                raise RunawayError(type(message).__name__, MAX_MESSAGES)
            current = waiting.popleft()
            for seat in self._receivers[type(current)]:
                led_to = attempt(seat.receive, current)
                waiting.extend(self._failed(seat, current, led_to) if isinstance(led_to, Exception) else led_to)
            if type(current) is SnapshotRequested:
                waiting.extend(self._answer(current))

    def _answer(self, request: SnapshotRequested) -> list[Message]:
        """Hands the states to the writer; what an actor that cannot give its state leads to."""
        failed: list[Message] = []
        states = self._take_states(request, failed)
        if states is None:
            error = "an actor cannot give its state"
            return [*failed, SnapshotSaved(at=self.now, snapshot=request.snapshot, error=error)]
        who = self.identity
        self._snapshots.save(
            Snapshot(
                snapshot=request.snapshot,
                at=self.now,
                boot=who.boot,
                bundle=who.bundle,
                applied=self.applied,
                states=states,
            )
        )
        return []

    def _take_states(self, request: Message, failed: list[Message]) -> dict[str, Any] | None:
        """The states of all actors, which are their last good ones from now on; None when one of them failed."""
        states: dict[str, dict[str, Any]] = {}
        for seat in self._seats.values():
            state = attempt(seat.state)
            if isinstance(state, Exception):
                failed += self._failed(seat, request, state)
                return None
            states[seat.name] = state
        for seat in self._seats.values():
            seat.good = states[seat.name]
        return states

    # ---- failing -----------------------------------------------------------------------------------------------

    def _failed(self, seat: Seat, message: Message, error: Exception) -> list[Message]:
        """Rebuilds an actor; what is to be reported. Raises RestartBudgetSpentError, RestoreError."""
        log.error("%s failed on %s", seat.name, type(message).__name__, exc_info=error)
        self.failures += 1
        # The actor that sends reports must not be sent a report of its failure to send one.
        told = type(message) not in REPORTS
        reports = [hop(report) for report in reports_of(seat.name, message, error, self.now)] if told else []
        if not self._budget.spend(self.now):
            budget = self._budget
            raise RestartBudgetSpentError(seat.name, budget.restarts, budget.within_s, reason_of(error), reports)
        if isinstance(broken := attempt(seat.rebuild), Exception):
            raise RestoreError(seat.name, reason_of(broken)) from broken
        return reports

    def _say_last(self, reports: Iterable[Message]) -> None:
        """Delivers the reports of what ends the process, to whoever can still hear them."""
        for report in reports:
            with suppress(RestartBudgetSpentError):  # the first is the one to leave with
                self._deliver(report)
