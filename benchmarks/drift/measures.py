"""What is counted, and how. Every figure of the table is one function here, over the outcomes of many streams.

A detector is judged by what it says from the end of commissioning on (frame 500), whatever it said before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf, isinf
from typing import Any, NamedTuple

import numpy as np

from .streams import COMMISSIONING, LAST, Spec, Stream

HORIZON, GRADUAL_HORIZON = 1000, 1500  # frames within which a drift has to be seen


@dataclass(frozen=True)
class Outcome:
    """What one way of watching said of one stream. All frames count from 0."""

    way: str
    spec: Spec
    frames: int
    drifts: tuple[tuple[int, int], ...]
    begins: tuple[int, ...] = ()  # drift is said to begin
    ends: tuple[int, ...] = ()
    accuracy: dict[str, float] = field(default_factory=dict)  # last, known, unseen
    harm: tuple[int, int] = (0, 0)  # pseudo-labelled samples that are wrong, and all of them
    asked: int = 0  # labels
    adaptations: tuple[tuple[int, str, str], ...] = ()  # frame, kind, outcome
    seconds: float = 0.0

    @classmethod
    def of_tree(cls, tree: dict[str, Any]) -> Outcome:
        """As `asdict` and JSON left it."""
        pairs = {name: tuple(map(tuple, tree[name])) for name in ("drifts", "adaptations")}
        plain = {name: tuple(tree[name]) for name in ("begins", "ends", "harm")}
        return cls(**{**tree, **pairs, **plain, "spec": Spec(**tree["spec"])})

    def drifting_at(self, frame: int) -> bool:
        """Whether drift is said at this frame; the frame of an end is no longer in drift."""
        return sum(begin <= frame for begin in self.begins) > sum(end <= frame for end in self.ends)


def false_alarms(outcomes: Iterable[Outcome], per: int = 10_000) -> float:
    """Begins after commissioning, per so many frames; the streams are those in which nothing drifts."""
    alarms, frames = alarms_of(outcomes)
    return alarms / frames * per if frames else float("nan")


def alarms_of(outcomes: Iterable[Outcome]) -> tuple[int, int]:
    """Begins after commissioning, and the frames in which they could have been."""
    held = list(outcomes)
    alarms = sum(sum(begin >= COMMISSIONING for begin in one.begins) for one in held)
    return alarms, sum(one.frames - COMMISSIONING for one in held)


class Delays(NamedTuple):
    """Frames from the onset of a drift to its detection: inf where it was missed."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return quantile(self.values, 0.5)

    @property
    def p90(self) -> float:
        return quantile(self.values, 0.9)

    @property
    def missed(self) -> float:
        """Share, 0..1."""
        return sum(map(isinf, self.values)) / len(self.values) if self.values else float("nan")


def delays(outcomes: Iterable[Outcome]) -> Delays:
    """Of each stream's first drift, the frames from its onset to the first one at which drift is said.

    An episode that was open already (a false alarm just before) counts as seen at once. Missed is what was not seen
    within 1,000 frames, or 1,500 where it comes slowly, or while a recurring or ending drift lasts, if that is less.
    """
    return Delays(tuple(delay(one) for one in outcomes))


def delay(outcome: Outcome) -> float:
    onset, over = outcome.drifts[0]
    horizon = min(GRADUAL_HORIZON if outcome.spec.group.endswith("gradual") else HORIZON, over - onset)
    if outcome.drifting_at(onset):
        return 0.0
    seen = [begin - onset for begin in outcome.begins if begin >= onset]
    return float(seen[0]) if seen and seen[0] < horizon else inf


def wrong_exits(outcomes: Iterable[Outcome]) -> float:
    """Ends said while a drift that was seen goes on, per seen drift. The first drift of a stream counts.

    The outcomes should be those of a memory that does not adapt: after an adaptation an end may be right.
    """
    exits, seen = 0, 0
    for one in outcomes:
        onset, over = one.drifts[0]
        if not isinf(delay(one)):
            seen += 1
            exits += sum(onset < end < over for end in one.ends)
    return exits / seen if seen else float("nan")


def recoveries(outcomes: Iterable[Outcome]) -> Delays:
    """Frames from the end of a drift to the first one at which none is said, of streams that said it until then."""
    found = []
    for one in outcomes:
        over = one.drifts[0][1]
        if one.drifting_at(over - 1):
            after = [end - over for end in one.ends if end >= over]
            found.append(float(after[0]) if after else inf)
    return Delays(tuple(found))


def alarms_after(outcomes: Iterable[Outcome]) -> float:
    """Begins after the end of a drift, per stream: nothing drifts any more."""
    held = list(outcomes)
    return sum(sum(begin >= one.drifts[0][1] for begin in one.begins) for one in held) / max(len(held), 1)


def mean_accuracy(outcomes: Iterable[Outcome], over: str = "last") -> float:
    """Mean over streams of the share of right predictions in the last 500 frames: of all, known or unseen ones."""
    values = [one.accuracy[over] for one in outcomes if over in one.accuracy]
    return float(np.mean(values)) if values else float("nan")


def harm(outcomes: Iterable[Outcome]) -> float:
    """Share of the samples stored with a pseudo-label whose label is wrong, over all streams together."""
    wrong, stored = (sum(pair) for pair in zip(*(one.harm for one in outcomes), strict=True))
    return wrong / stored if stored else float("nan")


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share does not exceed; inf where that is a missed one."""
    if not values:
        return float("nan")
    return sorted(values)[max(0, int(np.ceil(share * len(values))) - 1)]


# ---- one stream ------------------------------------------------------------------------------------------------


def accuracies(predicted: Sequence[str], stream: Stream, means: dict[str, str]) -> dict[str, float]:
    """Shares of right predictions in the last 500 frames: `last` of all, `known` and `unseen` of frames with such."""
    truth = stream.labels[-LAST:]
    right = np.array([means.get(one, one) for one in predicted[-LAST:]]) == truth
    unseen = truth == stream.spec.task
    found = {"last": float(right.mean())}
    for name, rows in (("known", ~unseen), ("unseen", unseen)):
        if rows.any():
            found[name] = float(right[rows].mean())
    return found
