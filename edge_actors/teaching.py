"""What people's labels do to the memory, and what undoes them."""

from __future__ import annotations

from typing import Any, NamedTuple

from broker.messages import LabelResolved

from .algorithms.naming import PROVISIONAL, Naming, can_be_given
from .algorithms.roster import Roster
from .algorithms.votes import Origin
from .arrays import Floats

VERDICTS = ("is", "is-not", "unknown", "retract")
FULL = "the memory is full of samples that may not give way"


class Taught(NamedTuple):
    """What came of a change; a reason where it cannot be done, or where what it does is harmful."""

    reason: str = ""
    spread: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    harmful: bool = False


class Teaching:
    """Changes the memory at a person's word. Samples that got a label from a labelled one leave with it."""

    def __init__(self, memory: Roster[Any]) -> None:
        self.memory = memory
        self.naming = Naming()
        self._spread: dict[str, list[str]] = {}  # labelled sample -> samples that got its label

    def apply(self, given: LabelResolved, values: Floats | None, like: Floats) -> Taught:
        """What a verdict does; `values` (D,) are those of its sample, `like` (n, D) of those nearby."""
        if given.verdict not in VERDICTS:
            return Taught(f"{given.verdict!r} is not a verdict: {', '.join(VERDICTS)} are")
        if given.verdict == "is":
            return self._is(given, values, like)
        row = self.memory.find(given.sample)
        if given.verdict == "is-not" and (row is None or self._called(row) != given.label):
            return Taught()  # the memory does not say so either
        withdrawn = self._withdraw(given.sample)
        self._forget(given.sample)
        self.naming.unsay(given.sample)
        self.memory.rename(self.naming.names())
        return Taught(withdrawn=withdrawn)

    def state(self) -> dict[str, Any]:
        return {"naming": self.naming.state(), "spread": {name: list(held) for name, held in self._spread.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        self.naming.restore(state["naming"])
        self._spread = {name: list(held) for name, held in state["spread"].items()}

    def _is(self, given: LabelResolved, values: Floats | None, like: Floats) -> Taught:
        if not can_be_given(given.label):
            return Taught(f"{given.label!r} cannot be the name of a class")
        row = self.memory.find(given.sample)
        if row is not None:
            values = self.memory.row(row)
        if values is None:
            return Taught(given.reason or "the features of the sample are gone, and the label brought none")
        provisional = self._provisional_class(given.sample, row, values)
        withdrawn = self._withdraw(given.sample)
        self._forget(given.sample)
        if not self.memory.add(values, given.label, Origin.PERSON, given.sample, given.at):
            return Taught(FULL)
        self.naming.unsay(given.sample)
        if provisional is not None:
            self.naming.say(provisional, given.sample, given.label)
        spread = self._pass_on(given, like)
        self.memory.rename(self.naming.names())
        return Taught("", spread, withdrawn)

    def _pass_on(self, given: LabelResolved, like: Floats) -> tuple[str, ...]:
        """Gives the label to samples nearby that nobody has spoken of and that the memory does not hold."""
        got = []
        for sample, row in zip(given.like, like, strict=True):
            free = self.memory.find(sample) is None
            if free and self.memory.add(row, given.label, Origin.PSEUDO, sample, given.at):
                got.append(sample)
        if got:
            self._spread[given.sample] = got
        self._spread = {one: held for one, held in self._spread.items() if self.memory.find(one) is not None}
        return tuple(got)

    def _withdraw(self, sample: str) -> tuple[str, ...]:
        """Takes out what got its label from this sample."""
        held = tuple(one for one in self._spread.pop(sample, []) if self._is_guess(one))
        for one in held:
            self._forget(one)
        return held

    def _is_guess(self, sample: str) -> bool:
        row = self.memory.find(sample)
        return row is not None and self.memory.origins[row] == Origin.PSEUDO

    def _forget(self, sample: str) -> None:
        if (row := self.memory.find(sample)) is not None:
            self.memory.remove(row)

    def _provisional_class(self, sample: str, row: int | None, values: Floats) -> str | None:
        """The provisional class in which a sample sits: as one of its own, or because all its neighbours do."""
        if (spoken_of := self.naming.class_of(sample)) is not None:
            return spoken_of
        if row is not None:
            return self.memory.labels[row] if self.memory.labels[row].startswith(PROVISIONAL) else None
        around = self.memory.labels_around(values)
        return around[0] if len(set(around)) == 1 and around[0].startswith(PROVISIONAL) else None

    def _called(self, row: int) -> str:
        label = self.memory.labels[row]
        return self.memory.names.get(label, label)
