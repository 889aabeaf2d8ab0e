"""What every drift detector offers, so that one can stand in another's place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ..arrays import Floats


class Observation(NamedTuple):
    """One frame as detectors see it."""

    label: str
    confidence: float
    distances: Sequence[float]  # to the k nearest, nearest first
    values: Floats  # (D,)
    score: float  # 0 usual, above 1 strange
    scene_score: float  # mean score of the scene so far
    opened: bool  # whether the frame opened a scene


class Detector(Protocol):
    """Raises an alarm when `update` returns more than `threshold`."""

    name: str
    watches: str  # the kind of drift it sees: residual, feature, knn-distance, confidence ...
    threshold: float

    def learn(self, seen: Observation) -> None:
        """Takes a frame of commissioning in, in which nothing is judged."""

    def settle(self) -> None:
        """Commissioning is over."""

    def update(self, seen: Observation) -> float:
        """Takes one frame in and returns the statistic."""

    def onset(self) -> int:
        """Of how many scenes the present evidence consists."""

    def holds(self) -> bool:
        """Whether it still sees the drift; False where its evidence does not fade by itself."""

    def reset(self) -> None:
        """Forgets all evidence, not what it learned to be usual."""

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...
