"""Asks the memory what a frame resembles; lets it learn from people and, within bounds, from the device itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from broker.messages import (
    Features,
    Float32Array,
    LabelApplied,
    LabelResolved,
    MemoryChanged,
    Neighbours,
    PseudoLabelled,
)

from .algorithms.calibration import Calibration
from .algorithms.naming import PROVISIONAL, Naming, can_be_given
from .algorithms.roster import Roster
from .algorithms.votes import Origin
from .arrays import Floats, floats
from .errors import OtherBundleError
from .runtime.actor import Actor

VERDICTS = ("is", "is-not", "unknown", "retract")
MOST_ACCURACY_LOST = 0.02  # by one change, on the labelled calibration set
REMEMBERED_REVISIONS = 512  # twice what the server keeps outstanding for a device

Inbox = Features | PseudoLabelled | LabelResolved
Outbox = Neighbours | MemoryChanged | LabelApplied


class Knn(Actor[Inbox, Outbox]):
    """Each change of the memory is a transaction: taken back bit for bit where calibration speaks against it."""

    def __init__(self, memory: Roster[Any], calibration: Calibration, bundle: str = "") -> None:
        self.memory, self.calibration, self.bundle = memory, calibration, bundle
        self.naming = Naming()
        self._revisions: dict[str, int] = {}  # sample -> revision of the label that was handled last

    def receive(self, message: Inbox) -> Iterator[Outbox]:
        if isinstance(message, Features):
            yield self._neighbours(message)
        elif isinstance(message, PseudoLabelled):
            yield self._pseudo_labelled(message)
        else:
            yield self._label(message)

    def state(self) -> dict[str, Any]:
        return {
            "bundle": self.bundle,
            "memory": self.memory.state(),
            "naming": self.naming.state(),
            "revisions": dict(self._revisions),
        }

    def restore(self, state: dict[str, Any]) -> None:
        if state["bundle"] != self.bundle:
            raise OtherBundleError(state["bundle"], self.bundle)
        self.memory.restore(state["memory"])
        self.naming.restore(state["naming"])
        self._revisions = dict(state["revisions"])

    # ---- recognising -----------------------------------------------------------------------------------------

    def _neighbours(self, seen: Features) -> Neighbours:
        values = floats(seen.values)
        vote = self.memory.vote(values)
        return Neighbours(
            at=seen.at,
            frame=seen.frame,
            label=vote.label,
            confidence=vote.confidence,
            distances=Float32Array.of(vote.distances),
            labels=tuple(vote.labels),
            values=seen.values,
            residual=seen.residual,
            rival=vote.rival,
        )

    # ---- learning by itself ----------------------------------------------------------------------------------

    def _pseudo_labelled(self, proposed: PseudoLabelled) -> MemoryChanged:
        before = self.calibration.accuracy(self.memory)
        after, reason = self._try(lambda: self._take_in(proposed), before)
        return MemoryChanged(
            at=proposed.at,
            adaptation=proposed.adaptation,
            applied=not reason,
            reason=reason,
            accuracy_before=before,
            accuracy_after=after,
            memory=self.memory.size,
        )

    def _take_in(self, proposed: PseudoLabelled) -> str:
        if not proposed.label.startswith(PROVISIONAL) or proposed.label in self.memory.labels:
            return f"{proposed.label!r} is not the label of a new class"
        rows = floats(proposed.values, self.memory.dimension)
        for sample, row in zip(proposed.samples, rows, strict=True):
            if self.memory.find(sample) is not None:
                return f"{sample} already is in the memory"
            if not self.memory.add(row, proposed.label, Origin.PSEUDO, sample, proposed.at):
                return "the memory is full of samples that may not give way"
        return ""

    # ---- learning from people --------------------------------------------------------------------------------

    def _label(self, given: LabelResolved) -> LabelApplied:
        outcome, reason = "duplicate", ""
        if given.revision > self._revisions.get(given.sample, 0):
            before = self.calibration.accuracy(self.memory)
            _, reason = self._try(lambda: self._apply(given), before)
            outcome = "rejected" if reason else "applied"
            self._remember(given)
        return LabelApplied(at=given.at, sample=given.sample, revision=given.revision, outcome=outcome, reason=reason)

    def _apply(self, given: LabelResolved) -> str:
        """What a verdict does to the memory; the reason where it cannot be done."""
        if given.verdict not in VERDICTS:
            return f"{given.verdict!r} is not a verdict: {', '.join(VERDICTS)} are"
        if given.verdict == "is":
            return self._is(given)
        row = self.memory.find(given.sample)
        if given.verdict == "is-not" and (row is None or self._called(row) != given.label):
            return ""  # the memory does not say so either
        self.naming.unsay(given.sample)
        if row is not None:
            self.memory.remove(row)
        self.memory.rename(self.naming.names())
        return ""

    def _is(self, given: LabelResolved) -> str:
        if not can_be_given(given.label):
            return f"{given.label!r} cannot be the name of a class"
        row = self.memory.find(given.sample)
        if row is None and not given.values:
            return given.reason or "the features of the sample are gone, and the label brought none"
        values = self.memory.row(row) if row is not None else floats(given.values)
        provisional = self._provisional_class(given.sample, row, values)
        if row is not None:
            self.memory.remove(row)
        if not self.memory.add(values, given.label, Origin.PERSON, given.sample, given.at):
            return "the memory is full of samples that may not give way"
        self.naming.unsay(given.sample)
        if provisional is not None:
            self.naming.say(provisional, given.sample, given.label)
        self.memory.rename(self.naming.names())
        return ""

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

    def _remember(self, given: LabelResolved) -> None:
        self._revisions.pop(given.sample, None)
        self._revisions[given.sample] = given.revision
        if len(self._revisions) > REMEMBERED_REVISIONS:
            del self._revisions[next(iter(self._revisions))]

    # ---- transactions ----------------------------------------------------------------------------------------

    def _try(self, change: Callable[[], str], before: float) -> tuple[float, str]:
        """Accuracy after the change, and why it was taken back where it was."""
        memory, naming = self.memory.state(), self.naming.state()
        reason = change()
        after = before if reason else self.calibration.accuracy(self.memory)
        if after < before - MOST_ACCURACY_LOST:
            reason = f"accuracy on the calibration set would fall from {before:.3f} to {after:.3f}"
        if reason:
            self.memory.restore(memory)
            self.naming.restore(naming)
        return after, reason
