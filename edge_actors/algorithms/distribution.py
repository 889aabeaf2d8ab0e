"""How the predicted classes are mixed: sees that a stream shows other things than before, benign or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .detector import Detector, Observation
from .run_length import ewma_threshold

WEIGHT = 0.02  # of a scene in the present mix
PRIOR = 20.0  # scenes that the mix of the calibration frames weighs against that of commissioning
RARE = 0.02  # classes with a smaller share are counted in groups of as much: chi-squared wants a few scenes of each
CAUTION = 1.3  # counts have longer tails than the normal numbers for which the threshold is derived
CALM, MOST = 0.75, 2.0  # thresholds: below it is calm again; the mix is held to as many, or an end would show late


class Distribution(Detector):
    """Chi-squared of an exponentially weighted mix of predicted classes against the mix of commissioning.

    The uncertainty of that mix, known from so many scenes only, widens what is usual. It fires on a mere change of
    what is shown, which is why it is not on by default.
    """

    name, watches = "distribution", "class-mix"

    def __init__(self, shares: Mapping[str, float], scenes: float = 200_000) -> None:
        self.scenes = scenes
        self.counts = {label: PRIOR * share for label, share in shares.items()}
        self.settle()

    def learn(self, seen: Observation) -> None:
        """Takes a scene of commissioning, by its first frame."""
        if seen.opened:
            self.counts[seen.label] = self.counts.get(seen.label, 0.0) + 1

    def settle(self) -> None:
        total = max(sum(self.counts.values()), 1e-9)
        groups: list[float] = [0.0]
        self._place: dict[str, int] = {}
        for label, count in sorted(self.counts.items(), key=lambda item: (item[1] < RARE * total, item[0])):
            if groups[-1] >= RARE * total:
                groups.append(0.0)
            groups[-1] += count
            self._place[label] = len(groups) - 1
        # labels not met so far: one that did not come in n scenes may still come in the next
        self._usual = np.array([*groups, 1.0]) / (sum(groups) + 1)
        freedom = len(groups)
        spread = WEIGHT / (2 - WEIGHT) + 1 / total  # of a share p, in units of p (1 - p)
        self._scale = 1 / (spread * freedom)
        self.freedom = freedom
        self.expect(self.scenes)
        self._mix, self._statistic = self._usual.copy(), 0.0

    def expect(self, scenes: float) -> None:
        self.scenes = scenes
        self.threshold = CAUTION * ewma_threshold(self.freedom, WEIGHT, scenes) / self.freedom

    def update(self, seen: Observation) -> float:
        if seen.opened:
            self._mix *= 1 - WEIGHT
            self._mix[self._place.get(seen.label, -1)] += WEIGHT
            gaps = self._mix - self._usual
            self._statistic = self._scale * float((gaps * gaps / self._usual).sum())
            if (excess := self._statistic / (MOST * self.threshold)) > 1:
                self._mix = self._usual + gaps * excess**-0.5
        return self._statistic

    def onset(self) -> int:
        return round(1 / WEIGHT)

    def holds(self) -> bool:
        return self._statistic > CALM * self.threshold

    def reset(self) -> None:
        self._mix = self._usual.copy()
        self._statistic = 0.0

    def state(self) -> dict[str, Any]:
        return {"counts": dict(self.counts), "mix": self._mix.tolist(), "statistic": self._statistic}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.counts = dict(state["counts"])
        self.settle()
        self._mix, self._statistic = np.array(state["mix"]), state["statistic"]
