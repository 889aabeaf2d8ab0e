"""Frames that are in neither memory nor projection, and what they say is usual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats
from .metrics import between
from .mewma import Places
from .neighbours import Memory
from .recovery import usual_shares
from .roster import Roster
from .scores import ClassScores, Pair, Usual, signals_of

UNLIKE = 0.9  # of the usual distance to the nearest sample: nearer than that two frames show the same


@dataclass(frozen=True, slots=True)
class Calibration:
    """Row i of each: one frame, its residual, and what it really shows."""

    values: Floats  # (n, D)
    residuals: Floats  # (n,)
    labels: tuple[str, ...]

    def accuracy(self, memory: Roster[Any]) -> float:
        """The share of frames that the memory takes for what they are."""
        return _share_equal(memory.votes(self.values), self.labels)

    def intrusions(self, memory: Roster[Any], samples: Floats) -> NDArray[np.int64]:
        """For each sample (n, D): how many frames that the memory takes for what they are it would come between and
        their k neighbours, (n,)."""
        votes = [memory.vote(row) for row in self.values]
        right = [vote.label == label for vote, label in zip(votes, self.labels, strict=True)]
        reach = [vote.distances[-1] if known else -1.0 for vote, known in zip(votes, right, strict=True)]
        found: NDArray[np.int64] = (between(memory.distance, samples, self.values) < np.array(reach)).sum(axis=1)
        return found


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is usual, as measured once on the calibration frames with the bundle's own memory."""

    everywhere: Pair
    classes: dict[str, Pair]  # per predicted class
    overall: Usual
    usual: tuple[float, ...]  # shares of the classes of scores that `recovery` knows
    nearest: float  # median distance of a frame to its nearest sample of the memory
    scene: float  # two frames that lie farther apart show different scenes
    accuracy: float
    places: Places

    def scores(self) -> ClassScores:
        """A scorer that has learned nothing yet beside this."""
        return ClassScores(self.everywhere, self.classes, self.overall)


def measure(memory: Memory, calibration: Calibration, same_scene: float = 0.0) -> Statistics:
    """The statistics of calibration frames against a memory of at least k samples.

    `same_scene` is how far apart two views of one picture usually lie at most; 0 where that is not known.
    """
    votes = [memory.vote(row) for row in calibration.values]
    seen = [signals_of(residual, vote) for residual, vote in zip(calibration.residuals.tolist(), votes, strict=True)]
    labels = [vote.label for vote in votes]
    scores = ClassScores.fit(seen, labels)
    nearest = float(np.median([vote.distances[0] for vote in votes]))
    return Statistics(
        scores.everywhere,
        scores.classes,
        scores.overall,
        tuple(usual_shares([scores.score(label, one) for label, one in zip(labels, seen, strict=True)])),
        nearest,
        max(UNLIKE * _euclidean(memory, calibration, nearest), same_scene),
        _share_equal(labels, calibration.labels),
        Places.fit(calibration.values, labels, memory.means()),
    )


def _euclidean(memory: Memory, calibration: Calibration, nearest: float) -> float:
    """The usual distance to the nearest sample as scenes are told apart, whatever distance the votes go by."""
    if memory.distance == "euclidean":
        return nearest
    samples = np.array([memory.row(row) for row in range(memory.size)])
    return float(np.median([between("euclidean", row[None], samples).min() for row in calibration.values]))


def _share_equal(votes: Sequence[str], labels: Sequence[str]) -> float:
    return sum(vote == label for vote, label in zip(votes, labels, strict=True)) / len(labels)
