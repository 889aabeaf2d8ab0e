"""Tells when a stream that drifted is in distribution again.

A CUSUM of the log-likelihood ratio "as calibrated" against "as in this drift", over classes of scene scores (Page
1954; Lorden 1971: with threshold log(n) a wrong exit takes n scenes of drift on average). What this drift looks
like is learned from its own scenes, those since the alarm's evidence began; scenes of a stretch that looks like
recovery are held back until the stretch is over, or recovery would teach it that drift looks usual.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from math import log
from typing import Any

CLASSES = (0.5, 1.2, 1.9)  # scene scores up to the first, between them, above the last
PRIOR = 20.0  # scenes that the expected look of a drift weighs: a quarter of them strange
PRIOR_STRANGE = 0.25
REMEMBERED = 300  # scenes after which older ones begin to count less
MOST = 2.0  # the sum stops growing at as many thresholds
RECENT = 200  # scenes kept outside of drift, to begin with the right ones


def usual_shares(scores: Sequence[float]) -> list[float]:
    """The share of each class among calibration scores, none of them zero."""
    counts = [1.0] * (len(CLASSES) + 1)
    for score in scores:
        counts[bisect(CLASSES, score)] += 1
    return [count / sum(counts) for count in counts]


class Recovery:
    def __init__(self, usual: Sequence[float], scenes_between_wrong_exits: float = 200_000) -> None:
        self.usual = list(usual)
        self.threshold = log(scenes_between_wrong_exits)
        self._scene: int | None = None  # class of the present scene so far
        self._recent: list[int] = []
        self._counts: list[float] = []  # scenes of this drift per class
        self._held: list[float] = []  # those of the present stretch that looks like recovery
        self.value = self._before = 0.0  # _before: the value without the present scene
        self._begin([])

    def watch(self, scene_score: float, opened: bool) -> None:
        """Takes a frame outside of drift."""
        if opened and self._scene is not None:
            self._recent.append(self._scene)
            del self._recent[:-RECENT]
        self._scene = bisect(CLASSES, scene_score)

    def begin(self, scenes: int) -> None:
        """A drift began, and its evidence with the last `scenes` scenes, the present one included."""
        self._begin(self._recent[-(scenes - 1) :] if scenes > 1 else [])
        self._recent = []

    def update(self, scene_score: float, opened: bool) -> float:
        """Takes a frame in drift; more than `threshold` says that the drift is over."""
        if opened:
            self._close_scene()
        self._scene = bisect(CLASSES, scene_score)
        likelier = log(self.usual[self._scene] / self._drift_share(self._scene))
        self.value = min(max(0.0, self._before + likelier), MOST * self.threshold)
        return self.value

    def state(self) -> dict[str, Any]:
        return {
            "scene": self._scene,
            "recent": list(self._recent),
            "counts": list(self._counts),
            "held": list(self._held),
            "value": self.value,
            "before": self._before,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._scene, self._recent = state["scene"], list(state["recent"])
        self._counts, self._held = list(state["counts"]), list(state["held"])
        self.value, self._before = state["value"], state["before"]

    def _begin(self, scenes: Sequence[int]) -> None:
        self._counts = [float(scenes.count(c)) for c in range(len(self.usual))]
        self._held = [0.0] * len(self.usual)
        self.value = self._before = 0.0

    def _close_scene(self) -> None:
        self._before = self.value
        if self._scene is not None:
            self._held[self._scene] += 1
        if self.value == 0:
            self._counts = [a + b for a, b in zip(self._counts, self._held, strict=True)]
            fade = min(1.0, REMEMBERED / max(sum(self._counts), 1.0))
            self._counts = [count * fade for count in self._counts]
            self._held = [0.0] * len(self.usual)

    def _drift_share(self, scene: int) -> float:
        strange = PRIOR_STRANGE if scene == len(self.usual) - 1 else 0.0
        expected = (1 - PRIOR_STRANGE) * self.usual[scene] + strange
        return (self._counts[scene] + PRIOR * expected) / (sum(self._counts) + PRIOR)
