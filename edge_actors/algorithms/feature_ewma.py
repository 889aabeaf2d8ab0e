"""A moving average of each feature for itself: the plain monitor of a sensor, whatever is shown."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np

from ..arrays import Floats, floats, packed
from .detector import Detector, Observation
from .run_length import ewma_threshold

WEIGHT = 0.03  # of a scene in the average
PRIOR = 20.0  # scenes that the calibration frames weigh against those of commissioning
LIMIT = 3.0  # a standardised feature beyond it counts as this
CAUTION = 1.15  # features have longer tails than the normal numbers for which the threshold is derived
CALM, MOST = 0.75, 2.0  # thresholds: below it is calm again; averages are held to as many, or an end would show late


class FeatureEwma(Detector):
    """The largest of D exponentially weighted averages (Roberts 1959), each in units of its own spread.

    Features are standardised by calibration (`mean`, `spread`, each (D,)) and by commissioning; that both are
    estimates widens what is usual. A change of what is shown moves features as well, and is then reported.
    """

    name, watches = "feature-ewma", "feature"

    def __init__(self, mean: Floats, spread: Floats, scenes: float = 200_000) -> None:
        dimension = len(mean)
        self.dimension = dimension
        self.expect(scenes)
        self._count = PRIOR
        self._sum = PRIOR * mean.astype(np.float64)
        self._squares = PRIOR * (spread.astype(np.float64) ** 2 + mean.astype(np.float64) ** 2)
        self._nothing = np.zeros(dimension, np.float32)
        self._average = self._before = self._total = self._nothing  # _before: without the present scene
        self._frames, self._statistic = 0, 0.0
        self.settle()

    def learn(self, seen: Observation) -> None:
        """Takes a scene of commissioning, by its first frame."""
        if seen.opened:
            values = seen.values.astype(np.float64)
            self._count += 1
            self._sum += values
            self._squares += values * values

    def settle(self) -> None:
        mean = self._sum / self._count
        variance = np.maximum(self._squares / self._count - mean * mean, 0)
        least = max(float(np.median(variance)) * 1e-4, 1e-12)
        self._mean = mean.astype(np.float32)
        self._inverse_spread = (1 / np.sqrt(np.maximum(variance, least))).astype(np.float32)
        self._scale = 1 / sqrt(WEIGHT / (2 - WEIGHT) + 1 / self._count)

    def expect(self, scenes: float) -> None:
        self.threshold = CAUTION * sqrt(ewma_threshold(1, WEIGHT, scenes * self.dimension))

    def update(self, seen: Observation) -> float:
        if seen.opened:
            self._before, self._total, self._frames = self._average, self._nothing, 0
        standard = (seen.values - self._mean) * self._inverse_spread
        self._total = self._total + np.clip(standard, -LIMIT, LIMIT)
        self._frames += 1
        self._average = self._before * np.float32(1 - WEIGHT) + self._total * np.float32(WEIGHT / self._frames)
        self._statistic = self._scale * float(np.abs(self._average).max())
        most = np.float32(MOST * self.threshold / self._scale)
        if self._statistic > MOST * self.threshold:
            self._average = np.clip(self._average, -most, most)
        return self._statistic

    def onset(self) -> int:
        return round(1 / WEIGHT)

    def holds(self) -> bool:
        return self._statistic > CALM * self.threshold

    def reset(self) -> None:
        self._average = self._before = self._total = self._nothing
        self._frames, self._statistic = 0, 0.0

    def state(self) -> dict[str, Any]:
        return {
            "count": self._count,
            "sum": self._sum.tolist(),
            "squares": self._squares.tolist(),
            "average": packed(self._average),
            "before": packed(self._before),
            "total": packed(self._total),
            "frames": self._frames,
            "statistic": self._statistic,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._count = state["count"]
        self._sum, self._squares = np.array(state["sum"]), np.array(state["squares"])
        self.settle()
        self._average, self._before, self._total = (floats(state[key]) for key in ("average", "before", "total"))
        self._frames, self._statistic = state["frames"], state["statistic"]
