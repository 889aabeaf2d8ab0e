"""How far a scene lies in the direction in which this drift left what is usual.

A drift that is slight in every single number is plain in its own direction, which the scenes since the alarm show.
Scenes at rest, of which some are kept, say how far usual ones lie that way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from broker.messages import Uint8Array

from ..arrays import Floats, floats, packed

DEPARTED = 1.9  # spreads beyond which a scene hardly is a usual one
USUAL = 200  # scenes at rest that are kept
EVERY = (
    10  # once there are as many, each tenth takes the place of the oldest: a drift that is not yet seen spoils few
)
RECENT = 100  # the last scenes, to begin a drift with
ENOUGH = 30  # of them, to know what is usual in some direction
STEPS = 40.0  # kept numbers are rounded to so many steps a unit: a byte each is enough
REMEMBERED = 300  # scenes of a drift after which older ones begin to count less
LEAST_SPREAD = 0.3  # of usual scenes in some direction, for numbers that are standard

Rounded = NDArray[np.int8]  # (D,) a scene


class Departure:
    """Scenes are vectors (D,) of standard numbers: where they lie within their class, and their score."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._usual: deque[Rounded] = deque(maxlen=USUAL)  # oldest first
        self._recent: deque[Rounded] = deque(maxlen=RECENT)
        self._watched = 0  # scenes
        self._nothing = np.zeros(dimension, np.float32)
        self._scene, self._frames = self._nothing, 0  # sum over the frames of the present scene
        self._drift, self._scenes = self._nothing, 0.0  # sum over scenes of this drift
        self._held, self._held_scenes = self._nothing, 0  # those of a stretch that looks like recovery
        self._rows = _stacked(self._usual, dimension)  # the usual scenes while a drift lasts
        self._aim()

    def watch(self, place: Floats, opened: bool) -> None:
        """Takes a frame outside of drift."""
        if opened and self._frames:
            scene = _rounded(self._mean())
            self._recent.append(scene)
            if len(self._usual) < USUAL or self._watched % EVERY == 0:
                self._usual.append(scene)
            self._watched += 1
        self._add(place, opened)

    def begin(self, scenes: int) -> None:
        """A drift began, and its evidence with the last `scenes` scenes, the present one included."""
        evidence = list(self._recent)[max(0, len(self._recent) - max(scenes - 1, 0)) :]
        self._recent.clear()
        self._drift = self._mean()
        for scene in evidence:
            self._drift = self._drift + scene * np.float32(1 / STEPS)
        self._scenes = len(evidence) + 1.0
        self._rows = _stacked(self._usual, self.dimension)
        self._held, self._held_scenes = self._nothing, 0
        self._aim()

    def update(self, place: Floats, opened: bool, returning: bool) -> float | None:
        """Takes a frame in drift; how far its scene lies in the direction of the drift, in spreads of usual scenes.

        `returning`: the stretch of scenes looks like recovery, so they are held back from what the drift is like.
        None while too few usual scenes are known.
        """
        if opened and self._frames:
            self._held, self._held_scenes = self._held + self._mean(), self._held_scenes + 1
            if not returning:
                fade = np.float32(min(1.0, REMEMBERED / (self._scenes + 1)))
                self._drift = (self._drift + self._held) * fade
                self._scenes = (self._scenes + self._held_scenes) * float(fade)
                self._held, self._held_scenes = self._nothing, 0
                self._aim()
        self._add(place, opened)
        if not self._known:
            return None
        return (float(self._mean() @ self._direction) - self._centre) / self._spread

    def state(self) -> dict[str, Any]:
        sums = {"scene": self._scene, "drift": self._drift, "held": self._held}
        return {
            "usual": Uint8Array(_stacked(self._usual, self.dimension).tobytes()),
            "recent": Uint8Array(_stacked(self._recent, self.dimension).tobytes()),
            "watched": self._watched,
            **{name: packed(held) for name, held in sums.items()},
            "counts": [self._frames, self._scenes, self._held_scenes],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        for held, name in ((self._usual, "usual"), (self._recent, "recent")):
            held.clear()
            held.extend(np.frombuffer(state[name], np.int8).reshape(-1, self.dimension))
        self._rows = _stacked(self._usual, self.dimension)
        self._watched = state["watched"]
        self._scene, self._drift, self._held = (floats(state[name]) for name in ("scene", "drift", "held"))
        self._frames, self._scenes, self._held_scenes = state["counts"]
        self._aim()

    def _add(self, place: Floats, opened: bool) -> None:
        self._scene, self._frames = (place, 1) if opened else (self._scene + place, self._frames + 1)

    def _mean(self) -> Floats:
        mean: Floats = self._scene * np.float32(1 / max(self._frames, 1))
        return mean

    def _aim(self) -> None:
        """Works out the direction anew, and where usual scenes lie in it."""
        length = sqrt(float(self._drift @ self._drift))
        self._known = len(self._rows) >= ENOUGH and length > 0
        if self._known:
            self._direction = self._drift * np.float32(1 / length)
            along = (self._rows @ self._direction) * np.float32(1 / STEPS)
            self._centre, self._spread = float(along.mean()), max(float(along.std()), LEAST_SPREAD)


def _rounded(scene: Floats) -> Rounded:
    steps = scene * np.float32(STEPS)
    np.rint(steps, out=steps)
    np.minimum(steps, 127, out=steps)
    np.maximum(steps, -127, out=steps)
    return steps.astype(np.int8)


def _stacked(scenes: Iterable[Rounded], dimension: int) -> Rounded:
    return np.array(list(scenes), np.int8).reshape(-1, dimension)
