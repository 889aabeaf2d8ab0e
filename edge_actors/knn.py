"""Asks the memory what a frame resembles; lets it learn from people and, within bounds, from the device itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from broker.messages import (
    DriftCleared,
    Features,
    Float32Array,
    LabelApplied,
    LabelResolved,
    MemoryChanged,
    Neighbours,
    PseudoLabelled,
    PseudoWithdrawn,
    Recentring,
)

from .algorithms import recentring
from .algorithms.calibration import Calibration
from .algorithms.naming import PROVISIONAL
from .algorithms.returned import Returned
from .algorithms.roster import Roster
from .algorithms.votes import Origin
from .arrays import floats, packed
from .errors import OtherBundleError
from .recentred import Recentred
from .runtime.actor import Actor
from .teaching import FULL, Taught, Teaching

MOST_ACCURACY_LOST = 0.02  # by one change, on the labelled calibration set
MOST_LABELS_CHANGED = 0.05  # by one change, of usual frames from before the drift
LARGEST_CLASS = 60  # samples of a class that the device made by itself
# A proposal that does harm is tried with ever fewer samples, this share of those before, and not with fewer than:
KEPT, LEAST_KEPT = 0.8, {"novel-class": 10, "grow-class": 1}
REMEMBERED_REVISIONS = 512  # twice what the server keeps outstanding for a device

Inbox = Features | PseudoLabelled | PseudoWithdrawn | Recentring | LabelResolved | DriftCleared
Outbox = Neighbours | MemoryChanged | LabelApplied


class Knn(Actor[Inbox, Outbox]):
    """Each change of the memory is a transaction: taken back bit for bit where calibration speaks against it."""

    def __init__(self, memory: Roster[Any], calibration: Calibration, bundle: str = "", scene: float = 1.0) -> None:
        self.memory, self.calibration, self.bundle = memory, calibration, bundle
        self.teaching = Teaching(memory)
        self.recentred = Recentred(scene)
        self._revisions: dict[str, int] = {}  # sample -> revision of the label that was handled last

    def receive(self, message: Inbox) -> Iterator[Outbox]:
        if isinstance(message, Features):
            yield from self._seen(message)
        elif isinstance(message, PseudoLabelled):
            yield self._pseudo_labelled(message)
        elif isinstance(message, LabelResolved):
            yield self._label(message)
        elif isinstance(message, Recentring):
            yield self._recentre(message)
        elif isinstance(message, PseudoWithdrawn):
            yield self._withdrawn(message)
        elif self.recentred.adaptation:
            yield self._back(message.at, "the drift is over")

    def state(self) -> dict[str, Any]:
        return {
            "bundle": self.bundle,
            "memory": self.memory.state(),
            "teaching": self.teaching.state(),
            "recentred": self.recentred.state(),
            "revisions": dict(self._revisions),
        }

    def restore(self, state: dict[str, Any]) -> None:
        if state["bundle"] != self.bundle:
            raise OtherBundleError(state["bundle"], self.bundle)
        self.memory.restore(state["memory"])
        self.teaching.restore(state.get("teaching") or {"naming": state["naming"], "spread": {}})
        if "recentred" in state:  # not in a state of the first version
            self.recentred.restore(state["recentred"])
        self._revisions = dict(state["revisions"])

    # ---- recognising -----------------------------------------------------------------------------------------

    def _seen(self, seen: Features) -> Iterator[Outbox]:
        values = floats(seen.values)
        if self.recentred.is_over(values):
            yield self._back(seen.at, "the stream lies where it lay before the drift")
        correction = self.recentred.correction
        vote = self.memory.vote(values if correction is None else correction(values))
        yield Neighbours(
            at=seen.at,
            frame=seen.frame,
            label=vote.label,
            confidence=vote.confidence,
            distances=Float32Array.of(vote.distances),
            labels=tuple(vote.labels),
            values=seen.values,  # as they came: a drift has to be seen though its frames are recognised
            residual=seen.residual,
            rival=vote.rival,
        )

    # ---- re-centring -----------------------------------------------------------------------------------------

    def _recentre(self, asked: Recentring) -> MemoryChanged:
        window = floats(asked.window, self.memory.dimension)
        found = recentring.fit(window, self.memory, self.calibration, self.recentred.correction)
        if not found.reason:
            returned = Returned.between(self.calibration.values, window)
            self.recentred.begin(asked.adaptation, asked.episode, found.correction, returned)
        accuracy = self.calibration.accuracy(self.memory)
        return MemoryChanged(
            at=asked.at,
            adaptation=asked.adaptation,
            applied=not found.reason,
            reason=found.reason or found.name,
            accuracy_before=accuracy,
            accuracy_after=accuracy,
            memory=self.memory.size,
            statistic=found.statistic,
            threshold=found.threshold,
        )

    def _back(self, at: float, reason: str) -> MemoryChanged:
        adaptation = self.recentred.adaptation
        self.recentred.end()
        accuracy = self.calibration.accuracy(self.memory)
        return MemoryChanged(
            at=at,
            adaptation=adaptation,
            undone=True,
            reason=reason,
            accuracy_before=accuracy,
            accuracy_after=accuracy,
            memory=self.memory.size,
        )

    # ---- learning by itself ----------------------------------------------------------------------------------

    def _pseudo_labelled(self, proposed: PseudoLabelled) -> MemoryChanged:
        """Where all samples together do harm, it is tried without those that come between calibration frames and
        their neighbours most often; what is left has to be worth it."""
        before = self.calibration.accuracy(self.memory)
        after, taught = self._try(partial(self._taken_in, proposed), before, proposed)
        kept = proposed
        if taught.harmful and proposed.kind in LEAST_KEPT:
            for smaller in self._smaller(proposed):
                less, tried = self._try(partial(self._taken_in, smaller), before, smaller)
                if not tried.reason:
                    after, taught, kept = less, tried, smaller
                    break
        return MemoryChanged(
            at=proposed.at,
            adaptation=proposed.adaptation,
            applied=not taught.reason,
            reason=taught.reason,
            left_out=tuple(sample for sample in proposed.samples if sample not in kept.samples),
            accuracy_before=before,
            accuracy_after=after,
            memory=self.memory.size,
        )

    def _smaller(self, proposed: PseudoLabelled) -> Iterator[PseudoLabelled]:
        """The same with ever fewer samples, those that are in the way of most calibration frames left out first."""
        rows = floats(proposed.values, self.memory.dimension)
        order = self.calibration.intrusions(self.memory, rows).argsort(kind="stable")
        count = len(rows)
        while (count := int(count * KEPT)) >= LEAST_KEPT[proposed.kind]:
            kept = sorted(order[:count].tolist())
            yield replace(proposed, samples=tuple(proposed.samples[row] for row in kept), values=packed(rows[kept]))

    def _taken_in(self, proposed: PseudoLabelled) -> Taught:
        return Taught(self._take_in(proposed))

    def _take_in(self, proposed: PseudoLabelled) -> str:
        if reason := self._misnamed(proposed):
            return reason
        rows = floats(proposed.values, self.memory.dimension)
        if self.memory.labels.count(proposed.label) + len(rows) > LARGEST_CLASS and proposed.kind == "grow-class":
            return f"the class would have more than {LARGEST_CLASS} samples"
        naming = self.teaching.naming
        for sample, row in zip(proposed.samples, rows, strict=True):
            if (held := self.memory.find(sample)) is not None:
                if self.memory.origins[held] == Origin.PERSON:  # a person has said what this one is
                    naming.say(proposed.label, sample, self.memory.labels[held])
            elif not self.memory.add(row, proposed.label, Origin.PSEUDO, sample, proposed.at):
                return FULL
        self.memory.rename(naming.names())
        return ""

    def _misnamed(self, proposed: PseudoLabelled) -> str:
        label, known = proposed.label, proposed.label in self.memory.labels
        if proposed.kind == "pseudo-label":
            return "" if known else f"{label!r} is no label of the memory"
        if not label.startswith(PROVISIONAL) or known != (proposed.kind == "grow-class"):
            return f"{label!r} is not the label of a {'' if proposed.kind == 'grow-class' else 'new '}class"
        return ""

    def _withdrawn(self, asked: PseudoWithdrawn) -> MemoryChanged:
        """Takes out what the device had put in and nobody has spoken of."""
        before = self.calibration.accuracy(self.memory)
        for sample in asked.samples:
            row = self.memory.find(sample)
            if row is not None and self.memory.origins[row] == Origin.PSEUDO:
                self.memory.remove(row)
        return MemoryChanged(
            at=asked.at,
            adaptation=asked.adaptation,
            undone=True,
            reason=asked.reason,
            accuracy_before=before,
            accuracy_after=self.calibration.accuracy(self.memory),
            memory=self.memory.size,
        )

    # ---- learning from people --------------------------------------------------------------------------------

    def _label(self, given: LabelResolved) -> LabelApplied:
        outcome, taught = "duplicate", Taught()
        if given.revision > self._revisions.get(given.sample, 0):
            before = self.calibration.accuracy(self.memory)
            _, taught = self._try(partial(self._teach, given), before)
            if taught.harmful and given.like:  # the word of a person counts for its sample, if not for those nearby
                _, taught = self._try(
                    partial(self._teach, replace(given, like=(), like_values=Float32Array())), before
                )
            outcome = "rejected" if taught.reason else "applied"
            self._remember(given)
        return LabelApplied(
            at=given.at,
            sample=given.sample,
            revision=given.revision,
            outcome=outcome,
            reason=taught.reason,
            label=given.label,
            spread=taught.spread,
            withdrawn=taught.withdrawn,
        )

    def _teach(self, given: LabelResolved) -> Taught:
        values = self.recentred.of(given.episode, floats(given.values)) if given.values else None
        like = self.recentred.of(given.episode, floats(given.like_values, self.memory.dimension))
        return self.teaching.apply(given, values, like)

    def _remember(self, given: LabelResolved) -> None:
        self._revisions.pop(given.sample, None)
        self._revisions[given.sample] = given.revision
        if len(self._revisions) > REMEMBERED_REVISIONS:
            del self._revisions[next(iter(self._revisions))]

    # ---- transactions ----------------------------------------------------------------------------------------

    def _try(
        self, change: Callable[[], Taught], before: float, proposed: PseudoLabelled | None = None
    ) -> tuple[float, Taught]:
        """Accuracy after the change, and what came of it; taken back bit for bit where there is a reason."""
        memory, teaching = self.memory.state(), self.teaching.state()
        taught = change()
        after = before if taught.reason else self.calibration.accuracy(self.memory)
        if after < before - MOST_ACCURACY_LOST:
            reason = f"accuracy on the calibration set would fall from {before:.3f} to {after:.3f}"
            taught = Taught(reason, harmful=True)
        if proposed is not None and not taught.reason and (reason := self._disturbs(proposed)):
            taught = Taught(reason, harmful=True)
        if taught.reason:
            self.memory.restore(memory)
            self.teaching.restore(teaching)
        return after, taught

    def _disturbs(self, proposed: PseudoLabelled) -> str:
        """Why usual frames of the time before speak against a change: too many would be taken for something else."""
        accepted = floats(proposed.accepted, self.memory.dimension)
        votes = self.memory.votes(accepted)
        changed = sum(vote != label for vote, label in zip(votes, proposed.accepted_labels, strict=True))
        if changed > MOST_LABELS_CHANGED * len(votes):
            return f"{changed} of {len(votes)} usual frames would be taken for something else"
        return ""
