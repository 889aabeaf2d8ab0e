"""The actors of a device: how a message goes from one to the next, and what happens when one of them fails.

Every hop is CBOR: what an actor yields is encoded and decoded once, and its receivers share the frozen result. All
that one `receive` yields is collected before any of it is delivered, so a failing actor leaves nothing half done.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from broker.messages import Message, SnapshotRequested, SnapshotSaved

from ..errors import RestartBudgetSpentError, RestoreError, RunawayError
from .seat import Factory, Seat, hop
from .supervision import REPORTS, RestartBudget, attempt, reason_of, reports_of
from .wiring_check import check

log = logging.getLogger(__name__)

MAX_MESSAGES = 10_000  # that one admitted message may lead to

States = dict[str, dict[str, Any]]  # by actor


class Crew:
    """Raises WiringError when the actors do not fit the routes and doors.

    `now` is the message time at which failures happen; `save` is given the states that a SnapshotRequested asks for.
    """

    def __init__(
        self,
        actors: Mapping[str, Factory],
        routes: Mapping[type[Message], Sequence[str]],
        doors: Iterable[type[Message]],
        budget: RestartBudget,
        save: Callable[[SnapshotRequested, States], None],
    ) -> None:
        self.now = 0.0
        self.failures = 0
        self.budget = budget
        self.seats = {name: Seat(name, factory) for name, factory in actors.items()}
        check(doors, {name: type(seat.actor) for name, seat in self.seats.items()}, routes)
        self._receivers = {kind: tuple(self.seats[name] for name in names) for kind, names in routes.items()}
        self._save = save

    def deliver(self, *messages: Message) -> None:
        """Delivers messages and all they lead to, first in, first out.

        Raises RestartBudgetSpentError, RestoreError or RunawayError when the process had better start again.
        """
        waiting, delivered = deque(messages), 0
        while waiting:
            if (delivered := delivered + 1) > MAX_MESSAGES:
                raise RunawayError(type(messages[0]).__name__, MAX_MESSAGES)
            message = waiting.popleft()
            for seat in self._receivers[type(message)]:
                led_to = attempt(seat.receive, message)
                waiting.extend(self._failed(seat, message, led_to) if isinstance(led_to, Exception) else led_to)
            if type(message) is SnapshotRequested:
                waiting.extend(self.answer(message))

    def answer(self, request: SnapshotRequested) -> list[Message]:
        """Gives the states to `save`; what is to be delivered when an actor could not give its own."""
        states, reports = self.take_states(request)
        if states is None:
            error = "an actor cannot give its state"
            return [*reports, SnapshotSaved(at=self.now, snapshot=request.snapshot, error=error)]
        self._save(request, states)
        return []

    def take_states(self, request: Message) -> tuple[States | None, list[Message]]:
        """The states of all actors, their last good ones from now on; or None, and what is to be reported."""
        states: States = {}
        for seat in self.seats.values():
            state = attempt(seat.state)
            if isinstance(state, Exception):
                return None, self._failed(seat, request, state)
            states[seat.name] = state
        for seat in self.seats.values():
            seat.good = states[seat.name]
        return states, []

    def resume(self, states: Mapping[str, dict[str, Any]]) -> None:
        """Brings all actors to these states; one that has none stays fresh. Raises RestoreError."""
        for name, seat in self.seats.items():
            if name in states:
                self._must(seat, attempt(seat.resume, states[name]))

    def restarted(self) -> None:
        """Tells all actors that this is a new process. Raises RestoreError."""
        for seat in self.seats.values():
            self._must(seat, attempt(seat.restarted))

    def say_last(self, reports: Iterable[Message]) -> None:
        """Delivers the reports of what ends the process, to whoever can still hear them."""
        for report in reports:
            with suppress(RestartBudgetSpentError):  # the first is the one to leave with
                self.deliver(report)

    def _failed(self, seat: Seat, message: Message, error: Exception) -> list[Message]:
        """Rebuilds an actor; what is to be reported."""
        log.error("%s failed on %s", seat.name, type(message).__name__, exc_info=error)
        self.failures += 1
        # The actor that sends reports must not be sent a report of its failure to send one.
        told = type(message) not in REPORTS
        reports = [hop(report) for report in reports_of(seat.name, message, error, self.now)] if told else []
        if not self.budget.spend(self.now):
            raise RestartBudgetSpentError(
                seat.name, self.budget.restarts, self.budget.within_s, reason_of(error), reports
            )
        self._must(seat, attempt(seat.rebuild))
        return reports

    def _must(self, seat: Seat, outcome: object) -> None:
        if isinstance(outcome, Exception):
            raise RestoreError(seat.name, reason_of(outcome)) from outcome
