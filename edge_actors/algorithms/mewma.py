"""A moving average of where features lie within their class: sees changes that keep their distance to the memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Floats, floats, packed
from .detector import Detector, Observation
from .run_length import ewma_threshold

SHRINKAGE = 10  # frames that the mean of a class in the memory weighs against its calibration frames
DIAGONAL = 0.2  # share of its diagonal in the covariance: a few hundred frames say little about all pairs
WEIGHT = 0.03  # of a scene in the average
COMMON = 1.5  # a class more frequent than this times its share in calibration counts for less
SHARE_WEIGHT = 0.01  # of a scene in the present share of its class
# Features and scores are neither normal nor independent, and their means are estimates: the thresholds of normal
# numbers are raised, for all features together and for the score, had it to speak alone. It is calm again well below.
CAUTION, SCORE_CAUTION = 1.7, 2.3
CALM = 0.75  # of the threshold
MOST = 1.3  # thresholds that the average is held to, or the end of a strong drift would show late


@dataclass(frozen=True, slots=True)
class Places:
    """Where frames lie that are taken for a class, as calibration saw it."""

    means: dict[str, Floats]  # per class, (D,)
    shares: dict[str, float]  # of the frames, per class
    whitening: Floats  # (D, D): makes the deviation from the mean of the class standard

    @classmethod
    def fit(cls, values: Floats, predicted: Sequence[str], held: Mapping[str, Floats]) -> Places:
        """Of calibration frames (n, D) by the class they are taken for; `held` are the means in the memory."""
        numbers, taken_for = values.astype(np.float64), np.array(predicted)
        means, shares, deviations = {}, {}, np.empty_like(numbers)
        for label, mean in sorted(held.items()):
            own = taken_for == label
            means[label] = (numbers[own].sum(axis=0) + SHRINKAGE * mean) / (int(own.sum()) + SHRINKAGE)
            shares[label] = max(int(own.sum()), 1) / len(numbers)
            deviations[own] = numbers[own] - means[label]
        covariance = deviations.T @ deviations / len(numbers)
        covariance = (1 - DIAGONAL) * covariance + DIAGONAL * np.diag(np.diag(covariance))
        spreads, directions = np.linalg.eigh(covariance)
        whitening = (directions / np.sqrt(np.maximum(spreads, 1e-6 * spreads[-1]))) @ directions.T
        return cls(
            {label: mean.astype(np.float32) for label, mean in means.items()}, shares, whitening.astype(np.float32)
        )


class SceneMewma(Detector):
    """Multivariate EWMA (Lowry et al. 1992) over scenes: each step the mean of a scene, placed within its predicted
    class, with its score as one more number. A class that merely becomes frequent is no drift, and one that
    calibration did not know is evidence of nothing.
    """

    name, watches = "scene-mewma", "feature"

    def __init__(self, shares: Mapping[str, float], dimension: int, scenes: float = 200_000) -> None:
        """`shares` of the classes among calibration frames; `scenes` wanted between false alarms."""
        self.dimension = dimension
        self.expect(scenes)
        self._class = {label: at for at, label in enumerate(sorted(shares))}
        self._shares = np.array([shares[label] for label in self._class])
        self._present = self._shares.copy()  # share of each class now
        self._nothing = np.zeros(dimension + 1, np.float32)
        self._average = self._before = self._sum = self._nothing  # _before: the average without the present scene
        self._frames, self._statistic = 0, 0.0

    def expect(self, scenes: float) -> None:
        self.threshold = CAUTION * ewma_threshold(self.dimension, WEIGHT, scenes) / self.dimension
        self.score_weight = self.threshold * self.dimension / (SCORE_CAUTION * ewma_threshold(1, WEIGHT, scenes))

    def update(self, seen: Observation) -> float:
        if not seen.known:
            return self._statistic
        known = self._class[seen.label]
        if seen.opened:
            self._before, self._sum, self._frames = self._average, self._nothing, 0
            self._present *= 1 - SHARE_WEIGHT
            self._present[known] += SHARE_WEIGHT
        self._sum = self._sum + seen.place
        self._frames += 1
        weight = WEIGHT * min(1.0, COMMON * float(self._shares[known] / self._present[known]))
        self._average = self._before * np.float32(1 - weight) + self._sum * np.float32(weight / self._frames)
        self._statistic = self._measure(self._average)
        if (excess := self._statistic / (MOST * self.threshold)) > 1:
            self._average = self._average * np.float32(excess**-0.5)
        return self._statistic

    def holds(self) -> bool:
        return self._statistic > CALM * self.threshold

    def onset(self) -> int:
        return round(1 / WEIGHT)

    def reset(self) -> None:
        self._average = self._before = self._sum = self._nothing
        self._frames, self._statistic = 0, 0.0

    def state(self) -> dict[str, Any]:
        return {
            "average": packed(self._average),
            "before": packed(self._before),
            "sum": packed(self._sum),
            "frames": self._frames,
            "statistic": self._statistic,
            "present": self._present.tolist(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._average, self._before, self._sum = (floats(state[key]) for key in ("average", "before", "sum"))
        self._frames, self._statistic = state["frames"], state["statistic"]
        self._present = np.array(state["present"])

    def _measure(self, average: Floats) -> float:
        """Mean square of the averages in units of their variance; of the score's only where it is above usual."""
        features, score = average[:-1], max(float(average[-1]), 0.0)
        squares = float(features @ features) + self.score_weight * score * score
        return squares * (2 - WEIGHT) / (WEIGHT * self.dimension)
