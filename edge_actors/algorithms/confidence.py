"""A CUSUM of how little the votes agree: sees what lies between classes, not what lies beyond all of them."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

from .cusum import ALLOWANCE, REFERENCE_VALUES, Cusum, threshold_for
from .detector import Detector, Observation
from .run_length import exponent

PRIOR = 20  # scenes that the calibration frames weigh against those of commissioning
LEAST_SPREAD = 0.05  # of the doubt: votes that always agree would make the first that do not infinitely strange
LIMIT = 2.5  # a scene counts as so many spreads at most


class Confidence(Detector):
    """Two CUSUMs (Page 1954) of 1 - confidence, standardised as commissioning saw it; the statistic is in thresholds.

    Doubts are few values and skew, so the thresholds of normal increments are stretched by the ratio of the exponents
    with which such sums pass a level. `usual` are doubts of calibration frames, 1 - confidence -> how often.
    """

    name, watches, threshold = "confidence", "confidence", 1.0

    def __init__(self, usual: Mapping[float, float], scenes: float = 200_000) -> None:
        self.scenes = scenes
        weight = PRIOR / max(sum(usual.values()), 1e-9)
        self._doubts = {doubt: weight * count for doubt, count in usual.items()}  # how often each was seen
        self._sums = [Cusum(k, 1.0) for k in REFERENCE_VALUES]
        self._total, self._frames = 0.0, 0  # of the present scene
        self.settle()

    def learn(self, seen: Observation) -> None:
        """Takes a scene of commissioning, by its first frame."""
        if seen.opened and seen.distances:
            doubt = round(1 - seen.confidence, 3)
            self._doubts[doubt] = self._doubts.get(doubt, 0.0) + 1

    def settle(self) -> None:
        total = max(sum(self._doubts.values()), 1e-9)
        self._mean = sum(doubt * n for doubt, n in self._doubts.items()) / total
        square = sum((doubt - self._mean) ** 2 * n for doubt, n in self._doubts.items()) / total
        self._spread = max(sqrt(square), LEAST_SPREAD)
        usual = [(self._standard(doubt), n) for doubt, n in sorted(self._doubts.items())]
        for one in self._sums:
            k = one.k - ALLOWANCE
            one.threshold = threshold_for(one.k, self.scenes) * max(1.0, 2 * k / exponent(usual, k))

    def expect(self, scenes: float) -> None:
        self.scenes = scenes
        self.settle()

    def update(self, seen: Observation) -> float:
        if not seen.distances:  # nobody voted
            return max(one.value / one.threshold for one in self._sums)
        if seen.opened or not self._frames:
            self._total, self._frames = 0.0, 0
        self._total += 1 - seen.confidence
        self._frames += 1
        doubt = self._standard(self._total / self._frames)
        return max(one.update(doubt, seen.opened) / one.threshold for one in self._sums)

    def onset(self) -> int:
        return max(self._sums, key=lambda one: one.value / one.threshold).scenes

    def reset(self) -> None:
        for one in self._sums:
            one.reset()

    def state(self) -> dict[str, Any]:
        doubts = [[doubt, count] for doubt, count in sorted(self._doubts.items())]
        sums = [one.state() for one in self._sums]
        return {"doubts": doubts, "sums": sums, "total": self._total, "frames": self._frames}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._doubts = dict(state["doubts"])
        self.settle()
        for one, held in zip(self._sums, state["sums"], strict=True):
            one.restore(held)
        self._total, self._frames = state["total"], state["frames"]

    def _standard(self, doubt: float) -> float:
        return max(-LIMIT, min(LIMIT, (doubt - self._mean) / self._spread))
