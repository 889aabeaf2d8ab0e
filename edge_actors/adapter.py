"""Hears that strange samples wait; tries what its policy thinks of, and records what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from broker.messages import (
    AdaptationDecided,
    LabelApplied,
    MemoryChanged,
    PseudoLabelled,
    PseudoWithdrawn,
    QuarantineFilled,
    Recentring,
)

from .algorithms.naming import PROVISIONAL
from .arrays import floats, packed
from .policies import Idea, Policy
from .runtime.actor import Actor

RECENTRING = "recentring"
MOST_STANDING = 64  # adaptations that can still be taken back; older ones stay
MOVED = "the whole stream moved, so what was taken for something new is not"

Inbox = QuarantineFilled | MemoryChanged | LabelApplied
Outbox = PseudoLabelled | PseudoWithdrawn | Recentring | AdaptationDecided


class Adapter(Actor[Inbox, Outbox]):
    """One decision record for every attempt. Without a policy it changes nothing by itself."""

    def __init__(self, policy: Policy | None, dimension: int) -> None:
        self.policy, self.dimension = policy, dimension
        self.decisions = 0
        self.classes = 0
        self._open: dict[str, AdaptationDecided] = {}  # proposals, until the memory has answered
        self._standing: dict[str, AdaptationDecided] = {}  # applied, and may be taken back

    def receive(self, message: Inbox) -> Iterator[Outbox]:
        if isinstance(message, MemoryChanged):
            yield from self._answered(message)
        elif isinstance(message, LabelApplied):
            yield from self._spread(message)
        elif self.policy is not None:
            for idea in self.policy.ideas(message):
                yield from self._try(idea, message)

    def state(self) -> dict[str, Any]:
        # No proposal is open between two admitted messages: the memory answers within the same one.
        standing = [_to_remember(one) for one in self._standing.values()]
        return {"decisions": self.decisions, "classes": self.classes, "standing": standing}

    def restore(self, state: dict[str, Any]) -> None:
        self.decisions, self.classes = state["decisions"], state["classes"]
        self._open = {}
        self._standing = {one[0]: _remembered(one) for one in state.get("standing", ())}

    # ---- trying ----------------------------------------------------------------------------------------------

    def _try(self, idea: Idea, filled: QuarantineFilled) -> Iterator[Outbox]:
        if idea.kind == RECENTRING:
            yield from self._withdraw(filled)
        label = idea.label
        if not label and idea.rows:
            self.classes += 1
            label = f"{PROVISIONAL}{self.classes}"
        record = AdaptationDecided(
            at=filled.at,
            adaptation=self._next(filled.episode),
            episode=filled.episode,
            kind=idea.kind,
            label=label,
            samples=tuple(filled.samples[row] for row in idea.rows),
            statistic=idea.statistic,
            threshold=idea.threshold,
            reason=idea.reason or (f"confidence {idea.confidence:.3f}" if idea.confidence else ""),
            outcome="rejected",
        )
        if idea.reason:
            yield record
            return
        self._open[record.adaptation] = record
        yield self._proposal(record, idea, filled)

    def _proposal(self, record: AdaptationDecided, idea: Idea, filled: QuarantineFilled) -> Outbox:
        if idea.kind == RECENTRING:
            return Recentring(
                at=filled.at, adaptation=record.adaptation, episode=filled.episode, window=filled.window
            )
        return PseudoLabelled(
            at=filled.at,
            adaptation=record.adaptation,
            episode=filled.episode,
            label=record.label,
            samples=record.samples,
            values=packed(floats(filled.values, self.dimension)[list(idea.rows)]),
            statistic=idea.statistic,
            threshold=idea.threshold,
            kind=idea.kind,
            accepted=filled.accepted,
            accepted_labels=filled.accepted_labels,
        )

    def _withdraw(self, filled: QuarantineFilled) -> Iterator[PseudoWithdrawn]:
        """What was made of this episode's samples before it was known that everything moved."""
        for one in list(self._standing.values()):
            if one.episode == filled.episode and one.kind != RECENTRING:
                yield PseudoWithdrawn(at=filled.at, adaptation=one.adaptation, samples=one.samples, reason=MOVED)

    def _next(self, episode: str) -> str:
        self.decisions += 1
        return f"{episode}-{self.decisions}"

    # ---- recording -------------------------------------------------------------------------------------------

    def _answered(self, answer: MemoryChanged) -> Iterator[AdaptationDecided]:
        if answer.undone:
            record = self._standing.pop(answer.adaptation, None)
        else:
            record = self._open.pop(answer.adaptation, None)
        if record is None:
            return  # of a proposal before a restart, or too old; its record went with the state
        outcome = "rolled-back" if answer.undone else "applied" if answer.applied else "rejected"
        decided = AdaptationDecided(
            at=answer.at,
            adaptation=answer.adaptation,
            episode=record.episode,
            kind=record.kind,
            outcome=outcome,
            reason=answer.reason or record.reason,
            label=record.label,
            samples=tuple(sample for sample in record.samples if sample not in answer.left_out),
            statistic=answer.statistic or record.statistic,
            threshold=answer.threshold or record.threshold,
            accuracy_before=answer.accuracy_before,
            accuracy_after=answer.accuracy_after,
            memory=answer.memory,
        )
        if outcome == "applied":
            self._stand(decided)
        yield decided

    def _stand(self, decided: AdaptationDecided) -> None:
        if decided.kind == RECENTRING:  # a better map takes the place of the one before
            self._standing = {name: one for name, one in self._standing.items() if one.kind != RECENTRING}
        self._standing[decided.adaptation] = decided
        if len(self._standing) > MOST_STANDING:
            del self._standing[next(iter(self._standing))]

    def _spread(self, label: LabelApplied) -> Iterator[AdaptationDecided]:
        """A person's label that also reached samples nearby, or left them again."""
        for samples, outcome in ((label.withdrawn, "rolled-back"), (label.spread, "applied")):
            if samples:
                yield AdaptationDecided(
                    at=label.at,
                    adaptation=self._next(label.sample),
                    kind="label-spread",
                    outcome=outcome,
                    reason=f"they lie next to {label.sample}, which a person spoke of",
                    label=label.label,
                    samples=samples,
                )


REMEMBERED = ("adaptation", "episode", "kind", "label", "statistic", "threshold")


def _to_remember(decided: AdaptationDecided) -> list[Any]:
    return [*(getattr(decided, name) for name in REMEMBERED), list(decided.samples)]


def _remembered(fields: list[Any]) -> AdaptationDecided:
    *told, samples = fields
    return AdaptationDecided(**dict(zip(REMEMBERED, told, strict=True)), samples=tuple(samples))
