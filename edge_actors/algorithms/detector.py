"""What every drift detector offers, so that one can stand in another's place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..arrays import Floats


class Observation(NamedTuple):
    """One frame as detectors see it."""

    label: str
    confidence: float
    distances: Sequence[float]  # to the k nearest, nearest first; none while the memory is too small to vote
    values: Floats  # (D,)
    score: float  # 0 usual, above 1 strange
    scene_score: float  # mean score of the scene so far
    opened: bool  # whether the frame opened a scene
    place: Floats  # (D + 1,) where it lies within its class, in standard numbers, and last the score
    known: bool = True  # whether calibration knew its class; else the place says nothing but the score
    at: float = 0.0  # message time in seconds


class Detector(ABC):
    """Raises an alarm when `update` returns more than `threshold`.

    Thresholds follow from the wanted number of scenes between false alarms, unless the detector says otherwise.
    """

    name: str
    watches: str  # the kind of drift it sees: residual, feature, knn-distance, confidence ...
    threshold: float
    ends_itself = False  # whether `ended`, not the recovery rule, says that a drift it saw first is over

    def learn(self, seen: Observation) -> None:  # noqa: B027 (most have nothing to learn)
        """Takes a frame of commissioning in, in which nothing is judged."""

    def settle(self) -> None:  # noqa: B027
        """Commissioning is over."""

    def expect(self, scenes: float) -> None:  # noqa: B027
        """Sets the threshold for so many scenes between false alarms."""

    @abstractmethod
    def update(self, seen: Observation) -> float:
        """Takes one frame in and returns the statistic."""

    def told(self, right: bool) -> None:  # noqa: B027
        """A person's label said whether the device had recognised one of its frames."""

    def onset(self) -> int:
        """Of how many scenes the present evidence consists."""
        return 1

    def holds(self) -> bool:
        """Whether it still sees the drift; False where its evidence does not fade by itself."""
        return False

    def ended(self) -> bool:
        """Whether the drift it saw is over by its own rule; asked only where it `ends_itself`."""
        return False

    @abstractmethod
    def reset(self) -> None:
        """Forgets all evidence, not what it learned to be usual."""

    @abstractmethod
    def state(self) -> dict[str, Any]: ...

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None: ...
