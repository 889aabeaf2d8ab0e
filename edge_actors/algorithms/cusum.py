"""Cumulative sums over scenes, with thresholds that follow from the wanted time between false alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .detector import Detector, Observation
from .run_length import cusum_threshold

ALLOWANCE = 0.08  # how much the mean of a stream may differ from that of a finite calibration set
REFERENCE_VALUES = (0.25, 0.75)  # half the shift each sum is quickest at: one for slight changes, one for large ones
MOST = 10.0  # sums stop growing at as many thresholds


def threshold_for(k: float, scenes: float) -> float:
    """The h with which `scenes` scenes pass between false alarms, the calibration's error allowed for."""
    return cusum_threshold(k - ALLOWANCE, scenes)


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


class SceneCusum(Detector):
    """Two CUSUMs of the score, one for slight and one for large changes; the statistic is in thresholds.

    A sum takes as long to come down as it took to grow: it says nothing about whether the drift goes on.
    """

    name, watches, threshold = "scene-cusum", "residual", 1.0

    def __init__(self, scenes: float = 200_000) -> None:
        """`scenes` wanted between false alarms."""
        self.sums = [Cusum(k, threshold_for(k, scenes)) for k in REFERENCE_VALUES]

    def expect(self, scenes: float) -> None:
        for one in self.sums:
            one.threshold = threshold_for(one.k, scenes)

    def update(self, seen: Observation) -> float:
        return max(one.update(seen.scene_score, seen.opened) / one.threshold for one in self.sums)

    def onset(self) -> int:
        return max(self.sums, key=lambda one: one.value / one.threshold).scenes

    def reset(self) -> None:
        for one in self.sums:
            one.reset()

    def state(self) -> dict[str, Any]:
        return {"sums": [one.state() for one in self.sums]}

    def restore(self, state: Mapping[str, Any]) -> None:
        for one, held in zip(self.sums, state["sums"], strict=True):
            one.restore(held)
