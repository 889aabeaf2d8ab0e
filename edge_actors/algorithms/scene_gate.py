"""Tells scenes apart: a camera dwells, and the frames of one scene are one piece of evidence, not many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.messages import Float32Array

from ..arrays import Floats, floats, packed

VIEWS = 2  # openings remembered: a scene may have two looks, such as a turning sign or a picture shown mirrored


class SceneGate:
    """A frame opens a new scene when it lies farther than `limit` from the frame before it and from those that opened
    the last two scenes: one that goes back and forth between two looks is one scene.
    """

    def __init__(self, limit: float) -> None:
        self._limit_squared = limit * limit
        self._previous: Floats | None = None
        self._openings: list[Floats] = []  # newest last
        self._sum = 0.0
        self._frames = 0

    def opens(self, z: Floats) -> bool:
        """Whether this frame (D,) opens a scene."""
        previous, self._previous = self._previous, z
        if previous is not None and (self._near(z, previous) or any(self._near(z, one) for one in self._openings)):
            return False
        self._openings = [*self._openings[1 - VIEWS :], z]
        return True

    def mean(self, value: float, opened: bool) -> float:
        """The running mean of a value over the frames of the scene."""
        if opened:
            self._sum, self._frames = 0.0, 0
        self._sum += value
        self._frames += 1
        return self._sum / self._frames

    def state(self) -> dict[str, Any]:
        previous = Float32Array() if self._previous is None else packed(self._previous)
        openings = [packed(one) for one in self._openings]
        return {"previous": previous, "openings": openings, "sum": self._sum, "frames": self._frames}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._previous = floats(state["previous"]) if state["previous"] else None
        self._openings = [floats(one) for one in state["openings"]]
        self._sum, self._frames = state["sum"], state["frames"]

    def _near(self, z: Floats, other: Floats) -> bool:
        gap = z - other
        return float(gap @ gap) <= self._limit_squared
