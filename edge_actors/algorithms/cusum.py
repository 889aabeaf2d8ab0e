"""Cumulative sums over scenes, with thresholds that follow from the wanted time between false alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp
from typing import Any

from .detector import Observation

ALLOWANCE = 0.08  # how much the mean of a stream may differ from that of a finite calibration set
REFERENCE_VALUES = (0.25, 0.75)  # half the shift each sum is quickest at: one for slight changes, one for large ones
OVERSHOOT = 1.166  # Siegmund's correction for discrete time
MOST = 10.0  # sums stop growing at as many thresholds


def run_length(h: float, k: float) -> float:
    """Mean number of standard normal increments until a CUSUM with reference value k exceeds h.

    Siegmund 1985, Sequential Analysis, section 2.6: (exp(a) - a - 1) / (2 k^2) with a = 2 k (h + 1.166).
    """
    a = 2 * k * (h + OVERSHOOT)
    return (exp(a) - a - 1) / (2 * k * k)


def threshold_for(k: float, scenes: float) -> float:
    """The h with which `scenes` scenes pass between false alarms, the calibration's error allowed for."""
    k -= ALLOWANCE
    low, high = 0.0, 1.0
    while run_length(high, k) < scenes:
        high *= 2
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if run_length(middle, k) < scenes else (low, middle)
    return high


class Cusum:
    """S <- max(0, S + x - k) (Page 1954), one step a scene: its running mean replaces what the scene gave before."""

    def __init__(self, k: float, threshold: float) -> None:
        self.k, self.threshold = k, threshold
        self.reset()

    def reset(self) -> None:
        self.value = self._before = 0.0  # _before: the value without the present scene
        self.scenes = 0  # since the value last was zero

    def update(self, scene_score: float, opened: bool) -> float:
        if opened:
            self._before = self.value
            self.scenes = self.scenes + 1 if self.value > 0 else 1
        self.value = min(max(0.0, self._before + scene_score - self.k), MOST * self.threshold)
        return self.value

    def state(self) -> list[float]:
        return [self.value, self._before, self.scenes]

    def restore(self, state: Sequence[float]) -> None:
        self.value, self._before, self.scenes = state[0], state[1], int(state[2])


class SceneCusum:
    """Two CUSUMs of the score, one for slight and one for large changes; the statistic is in thresholds."""

    name, watches, threshold = "scene-cusum", "residual", 1.0

    def __init__(self, scenes_between_false_alarms: float = 200_000) -> None:
        self._sums = [Cusum(k, threshold_for(k, scenes_between_false_alarms)) for k in REFERENCE_VALUES]

    def learn(self, seen: Observation) -> None:
        """Nothing: the scores themselves are settled in commissioning."""

    def settle(self) -> None:
        """Nothing to settle."""

    def update(self, seen: Observation) -> float:
        return max(one.update(seen.scene_score, seen.opened) / one.threshold for one in self._sums)

    def onset(self) -> int:
        return max(self._sums, key=lambda one: one.value / one.threshold).scenes

    def holds(self) -> bool:
        return False  # a sum takes as long to come down as it took to grow

    def reset(self) -> None:
        for one in self._sums:
            one.reset()

    def state(self) -> dict[str, Any]:
        return {"sums": [one.state() for one in self._sums]}

    def restore(self, state: Mapping[str, Any]) -> None:
        for one, held in zip(self._sums, state["sums"], strict=True):
            one.restore(held)
