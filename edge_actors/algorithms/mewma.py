"""A moving average of where features lie within their class: sees changes that keep their distance to the memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from ..arrays import Floats, floats, packed
from .detector import Observation

SHRINKAGE = 10  # frames that the mean of a class in the memory weighs against its calibration frames
DIAGONAL = 0.2  # share of its diagonal in the covariance: a few hundred frames say little about all pairs
LIMIT = 3.0  # a whitened number beyond it counts as this
SETTLING = 20  # scenes that "as calibrated" weighs against what commissioning saw of a class
WEIGHT = 0.03  # of a scene in the average
COMMON = 1.5  # a class more frequent than this times its share in calibration counts for less
SHARE_WEIGHT = 0.01  # of a scene in the present share of its class
# The statistic has mean 1 and, for independent normal numbers, the spread sqrt(2 / D). Features are neither, so the
# threshold is generous: 3.3 for 64 dimensions. It is calm again well below.
SPREADS = 13.0
CALM = 0.75  # of the threshold
MOST = 2.0  # thresholds that the average is held to, or the end of a strong drift would show late


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


class SceneMewma:
    """Multivariate EWMA (Lowry et al. 1992) over scenes: each step the mean of a scene, centred on its predicted
    class and whitened. A class that merely becomes frequent is no drift, and one that calibration did not know is
    evidence of nothing.
    """

    name, watches = "scene-mewma", "feature"

    def __init__(self, places: Places) -> None:
        self.means, self.shares, self.whitening = places.means, places.shares, places.whitening
        self.dimension = len(self.whitening)
        self.threshold = 1 + SPREADS * sqrt(2 / self.dimension)
        self.present = dict(self.shares)  # share of each class now
        self.offsets: dict[str, Floats] = {}  # per class what commissioning found to be usual
        self._settling: dict[str, tuple[int, Floats]] = {}
        self._nothing = np.zeros(self.dimension, np.float32)
        self._average = self._before = self._sum = self._nothing  # _before: the average without the present scene
        self._frames, self._statistic = 0, 0.0

    def learn(self, seen: Observation) -> None:
        """Takes a scene of commissioning, by its first frame."""
        if seen.opened and seen.label in self.means:
            scenes, total = self._settling.get(seen.label, (0, self._nothing))
            self._settling[seen.label] = (scenes + 1, total + self._place(seen))

    def settle(self) -> None:
        """Commissioning is over: what it saw of each class is usual here."""
        self.offsets = {label: total * np.float32(1 / (n + SETTLING)) for label, (n, total) in self._settling.items()}
        self._settling = {}

    def update(self, seen: Observation) -> float:
        if seen.label not in self.means:
            return self._statistic
        if seen.opened:
            self._before, self._sum, self._frames = self._average, self._nothing, 0
            self._count(seen.label)
        self._sum = self._sum + (self._place(seen) - self.offsets.get(seen.label, self._nothing))
        self._frames += 1
        weight = WEIGHT * min(1.0, COMMON * self.shares[seen.label] / self.present[seen.label])
        self._average = self._before * (1 - weight) + self._sum * (weight / self._frames)
        self._statistic = float(self._average @ self._average) * (2 - WEIGHT) / (WEIGHT * self.dimension)
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
            "present": dict(self.present),
            "offsets": {label: packed(offset) for label, offset in self.offsets.items()},
            "settling": {label: [scenes, packed(total)] for label, (scenes, total) in self._settling.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._average, self._before, self._sum = (floats(state[key]) for key in ("average", "before", "sum"))
        self._frames, self._statistic = state["frames"], state["statistic"]
        self.present = dict(state["present"])
        self.offsets = {label: floats(offset) for label, offset in state["offsets"].items()}
        self._settling = {label: (scenes, floats(total)) for label, (scenes, total) in state["settling"].items()}

    def _place(self, seen: Observation) -> Floats:
        """Where a frame lies within its class, whitened and within +-3."""
        place: Floats = self.whitening @ (seen.values - self.means[seen.label])
        np.minimum(place, LIMIT, out=place)
        return np.maximum(place, -LIMIT, out=place)

    def _count(self, label: str) -> None:
        for one in self.present:
            self.present[one] *= 1 - SHARE_WEIGHT
        self.present[label] += SHARE_WEIGHT
