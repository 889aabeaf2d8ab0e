"""How strange a frame is for what it is taken for: 0 usual, 1 one standard deviation beyond.

Two signals, each standardised per predicted class and added: the log residual that the projection leaves (Wang et
al. 2022) and the margin, the log of how much nearer the own class is than its nearest rival. An unseen class shows
in both, a change of class mix in neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log, sqrt
from typing import Any, NamedTuple

import numpy as np

from .neighbours import UNKNOWN, Vote

SHRINKAGE = 10  # frames that the statistics over all classes weigh in those of one class
SETTLING = 20  # scenes that "as calibrated" weighs against what commissioning saw of a class
# A class that calibration did not know is learned from its first scenes, then left alone. Until something is known
# of it, its frames are evidence of nothing.
NEWCOMER_KNOWN, NEWCOMER_SCENES = 10, 60
MOST_NEWCOMERS = 64  # in months a device makes more classes than it holds; the one not seen for longest is forgotten
SIGNAL_LIMIT, SCORE_LIMIT = 6.0, 2.5
NEAREST = 1e-6  # distances below count as this: a margin has to be finite


class Signals(NamedTuple):
    residual: float
    margin: float | None  # None where the memory knows a single label


class Usual(NamedTuple):
    """Mean and spread of one signal."""

    mean: float
    spread: float

    def standardised(self, value: float) -> float:
        return max(-SIGNAL_LIMIT, min(SIGNAL_LIMIT, (value - self.mean) / self.spread))


Pair = tuple[Usual, Usual]  # of the residual, of the margin


def signals(
    residual: float, vote_label: str, labels: Sequence[str], distances: Sequence[float], rival: float
) -> Signals:
    """The two signals of a frame with its vote."""
    if vote_label == UNKNOWN or not rival:
        return Signals(residual, None)
    own = distances[labels.index(vote_label)]
    return Signals(residual, log(max(own, NEAREST) / max(rival, NEAREST)))


def signals_of(residual: float, vote: Vote) -> Signals:
    return signals(residual, vote.label, vote.labels, vote.distances, vote.rival)


class ClassScores:
    """Scores by the statistics of calibration frames; classes that these did not know are learned on the way."""

    def __init__(self, everywhere: Pair, classes: Mapping[str, Pair], overall: Usual) -> None:
        self.everywhere, self.classes, self.overall = everywhere, dict(classes), overall
        self.offsets: dict[str, float] = {}  # per label, what commissioning found to be usual
        self._newcomers: dict[str, list[list[float]]] = {}  # label -> per signal: count, sum, sum of squares

    @classmethod
    def fit(cls, seen: Sequence[Signals], labels: Sequence[str]) -> ClassScores:
        """Statistics of calibration frames and their predicted labels, none of them in memory or projection."""
        columns = [[frame.residual for frame in seen], [frame.margin or 0.0 for frame in seen]]
        everywhere = _pair(_usual(column) for column in columns)
        frames_of: dict[str, list[int]] = {label: [] for label in sorted(set(labels))}
        for frame, label in enumerate(labels):
            frames_of[label].append(frame)
        classes = {
            label: _pair(
                _shrunk([column[frame] for frame in frames], usual)
                for column, usual in zip(columns, everywhere, strict=True)
            )
            for label, frames in frames_of.items()
        }
        made = cls(everywhere, classes, Usual(0.0, 1.0))
        made.overall = _usual([_sum(classes[label], frame) for label, frame in zip(labels, seen, strict=True)])
        return made

    def score(self, label: str, seen: Signals) -> float:
        """The score of a frame that is taken for `label`, within +-2.5; 0 while nothing is known of the label."""
        usual = self.classes.get(label) or self._newcomer(label)
        if usual is None:
            return 0.0
        score = (_sum(usual, seen) - self.overall.mean) / self.overall.spread - self.offsets.get(label, 0.0)
        return max(-SCORE_LIMIT, min(SCORE_LIMIT, score))

    def learn(self, label: str, seen: Signals) -> None:
        """Notes one scene of a class that calibration did not know; of others nothing."""
        if label in self.classes or label == UNKNOWN:
            return
        moments = self._newcomers.pop(label, None) or [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
        if len(self._newcomers) >= MOST_NEWCOMERS:
            del self._newcomers[next(iter(self._newcomers))]
        self._newcomers[label] = moments
        for moment, value in zip(moments, seen, strict=True):
            if value is not None and moment[0] < NEWCOMER_SCENES:
                moment[0] += 1
                moment[1] += value
                moment[2] += value * value

    def state(self) -> dict[str, Any]:
        newcomers = {label: [list(moment) for moment in moments] for label, moments in self._newcomers.items()}
        return {"offsets": dict(self.offsets), "newcomers": newcomers}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.offsets = dict(state["offsets"])
        self._newcomers = {label: [list(m) for m in moments] for label, moments in state["newcomers"].items()}

    def _newcomer(self, label: str) -> Pair | None:
        """Own mean, for a new class need not be like the others; the spread shrunk towards theirs."""
        moments = self._newcomers.get(label)
        if moments is None or moments[0][0] < NEWCOMER_KNOWN:
            return None
        return _pair(
            _of_moments(n, s, q, Usual(s / n, usual.spread)) if n else usual
            for (n, s, q), usual in zip(moments, self.everywhere, strict=True)
        )


class Commissioning:
    """What the first scenes of a device score, per class: the part of it that is usual here."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}  # label -> scenes, sum of their scores

    def add(self, label: str, score: float) -> None:
        """Notes the mean score of a scene."""
        held = self._sums.setdefault(label, [0.0, 0.0])
        held[0] += 1
        held[1] += score

    @property
    def scenes(self) -> int:
        return int(sum(scenes for scenes, _ in self._sums.values()))

    def offsets(self) -> dict[str, float]:
        """Per label what to subtract from its scores: what all have in common, shrunk towards nothing, and the own
        deviation from that, shrunk as well."""
        scenes, total = (sum(column) for column in zip((0.0, 0.0), *self._sums.values(), strict=True))
        common = total / (scenes + SETTLING)
        return {label: common + (own - n * common) / (n + SETTLING) for label, (n, own) in self._sums.items()}

    def state(self) -> dict[str, Any]:
        return {label: list(held) for label, held in self._sums.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._sums = {label: list(held) for label, held in state.items()}


def _sum(usual: Pair, seen: Signals) -> float:
    residual, margin = usual
    return residual.standardised(seen.residual) + (0.0 if seen.margin is None else margin.standardised(seen.margin))


def _pair(two: Iterator[Usual]) -> Pair:
    residual, margin = two
    return residual, margin


def _usual(values: Sequence[float]) -> Usual:
    return Usual(float(np.mean(values)), max(float(np.std(values)), NEAREST))


def _shrunk(values: Sequence[float], usual: Usual) -> Usual:
    """Mean and spread of one class, shrunk towards those of all by a prior of SHRINKAGE frames."""
    return _of_moments(len(values), sum(values), sum(value * value for value in values), usual)


def _of_moments(count: float, total: float, squares: float, usual: Usual) -> Usual:
    mean = (total + SHRINKAGE * usual.mean) / (count + SHRINKAGE)
    scatter = squares - 2 * mean * total + count * mean * mean
    return Usual(mean, sqrt(max(scatter + SHRINKAGE * usual.spread**2, 0.0) / (count + SHRINKAGE)) or NEAREST)
