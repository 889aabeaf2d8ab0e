"""Hears that strange samples wait; proposes a new class where they are alike, and records what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from broker.messages import AdaptationDecided, MemoryChanged, PseudoLabelled, QuarantineFilled

from .algorithms.clusters import clusters, representatives
from .algorithms.naming import PROVISIONAL
from .arrays import floats, packed
from .runtime.actor import Actor

SMALLEST_CLASS = 10  # samples of a component
MOST_REPRESENTATIVES = 25

Inbox = QuarantineFilled | MemoryChanged
Outbox = PseudoLabelled | AdaptationDecided


class Adapter(Actor[Inbox, Outbox]):
    """Only ever makes new, provisional classes: a strange sample never gets a label that exists.

    Where the whole stream moved, even that would teach the memory a degraded sensor; it refuses.
    """

    def __init__(self, dimension: int, k: int = 5, distance: str = "euclidean") -> None:
        self.dimension, self.k, self.distance = dimension, k, distance
        self.decisions = 0
        self.classes = 0
        self._proposed: dict[str, PseudoLabelled] = {}  # by adaptation, until the memory has answered

    def receive(self, message: Inbox) -> Iterator[Outbox]:
        if isinstance(message, MemoryChanged):
            yield from self._answered(message)
        elif message.scope == "global":
            reason = "the whole stream moved, so its frames are not a new class"
            yield self._rejected(message, "global", reason, message.statistic, 0.0)
        else:
            yield from self._propose(message)

    def state(self) -> dict[str, Any]:
        # No proposal is open between two admitted messages: the memory answers within the same one.
        return {"decisions": self.decisions, "classes": self.classes}

    def restore(self, state: dict[str, Any]) -> None:
        self.decisions, self.classes = state["decisions"], state["classes"]
        self._proposed = {}

    def _propose(self, filled: QuarantineFilled) -> Iterator[Outbox]:
        values = floats(filled.values, self.dimension)
        found = clusters(values, floats(filled.memory_distances), self.k, self.distance)
        large = [part for part in found if len(part) >= SMALLEST_CLASS]
        if not large:
            most = float(len(found[0]) if found else 0)
            reason = "no group of the samples is large enough and nearer to itself than to the memory"
            yield self._rejected(filled, "novel-class", reason, most, SMALLEST_CLASS)
        for part in large:
            chosen = [part[i] for i in representatives(values[part], MOST_REPRESENTATIVES, self.distance)]
            self.classes += 1
            proposal = PseudoLabelled(
                at=filled.at,
                adaptation=self._next(filled.episode),
                episode=filled.episode,
                label=f"{PROVISIONAL}{self.classes}",
                samples=tuple(filled.samples[row] for row in chosen),
                values=packed(values[chosen]),
                statistic=float(len(part)),
                threshold=float(SMALLEST_CLASS),
            )
            self._proposed[proposal.adaptation] = proposal
            yield proposal

    def _answered(self, answer: MemoryChanged) -> Iterator[AdaptationDecided]:
        proposal = self._proposed.pop(answer.adaptation, None)
        if proposal is None:
            return  # of a proposal before a restart; its decision went with the state
        yield AdaptationDecided(
            at=answer.at,
            adaptation=answer.adaptation,
            episode=proposal.episode,
            kind="novel-class",
            outcome="applied" if answer.applied else "rolled-back",
            reason=answer.reason,
            label=proposal.label,
            samples=proposal.samples,
            statistic=proposal.statistic,
            threshold=proposal.threshold,
            accuracy_before=answer.accuracy_before,
            accuracy_after=answer.accuracy_after,
            memory=answer.memory,
        )

    def _rejected(
        self, filled: QuarantineFilled, kind: str, reason: str, statistic: float, threshold: float
    ) -> AdaptationDecided:
        return AdaptationDecided(
            at=filled.at,
            adaptation=self._next(filled.episode),
            episode=filled.episode,
            kind=kind,
            outcome="rejected",
            reason=reason,
            samples=filled.samples,
            statistic=statistic,
            threshold=threshold,
        )

    def _next(self, episode: str) -> str:
        self.decisions += 1
        return f"{episode}-{self.decisions}"
