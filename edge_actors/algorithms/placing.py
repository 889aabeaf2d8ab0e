"""Where a frame lies within the class it is taken for, in numbers that are standard on this stream."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np

from ..arrays import Floats, floats, packed
from .mewma import Places

LIMIT = 3.0  # a whitened number beyond it counts as this
SETTLING = 20  # scenes that "as calibrated" weighs against what commissioning saw


class Placing:
    """Centres on the class and whitens as calibration saw it; then corrects by what commissioning finds usual here:
    the mean of each class, and one spread for all, which is more than 1 where calibration was small.
    """

    def __init__(self, places: Places) -> None:
        self.means, self.whitening = places.means, places.whitening
        self.dimension = len(places.whitening)
        self.offsets: dict[str, Floats] = {}
        self.spread = 1.0
        self._settling: dict[str, tuple[int, Floats]] = {}  # label -> scenes and their sum
        self._squares = 0.0  # of all numbers that settling saw

    def place(self, label: str, values: Floats, score: float) -> Floats:
        """(D + 1,) numbers, independent and of spread 1 while nothing changes, the last of them the score; the others
        are 0 for a class without calibration.
        """
        place = np.zeros(self.dimension + 1, np.float32)
        raw = self._raw(label, values)
        if raw is not None:
            offset = self.offsets.get(label)
            np.multiply(raw if offset is None else raw - offset, np.float32(1 / self.spread), out=place[:-1])
        place[-1] = score
        return place

    def knows(self, label: str) -> bool:
        return label in self.means

    def learn(self, label: str, values: Floats) -> None:
        """Takes a scene of commissioning in, by its first frame."""
        raw = self._raw(label, values)
        if raw is not None:
            scenes, total = self._settling.get(label, (0, np.zeros(self.dimension, np.float32)))
            self._settling[label] = (scenes + 1, total + raw)
            self._squares += float(raw @ raw)

    def settle(self) -> None:
        """Commissioning is over: what it saw of each class is usual here."""
        held = self._settling.values()
        self.offsets = {label: total * np.float32(1 / (n + SETTLING)) for label, (n, total) in self._settling.items()}
        freedom = sum(n for n, _ in held) - len(held)
        within = self._squares - sum(float(total @ total) / n for n, total in held)
        self.spread = sqrt((within / self.dimension + SETTLING) / (freedom + SETTLING))
        self._settling, self._squares = {}, 0.0

    def state(self) -> dict[str, Any]:
        return {
            "offsets": {label: packed(offset) for label, offset in self.offsets.items()},
            "spread": self.spread,
            "settling": {label: [scenes, packed(total)] for label, (scenes, total) in self._settling.items()},
            "squares": self._squares,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.offsets = {label: floats(offset) for label, offset in state["offsets"].items()}
        self._settling = {label: (scenes, floats(total)) for label, (scenes, total) in state["settling"].items()}
        self.spread, self._squares = state["spread"], state["squares"]

    def _raw(self, label: str, values: Floats) -> Floats | None:
        mean = self.means.get(label)
        if mean is None:
            return None
        raw: Floats = self.whitening @ (values - mean)
        np.minimum(raw, LIMIT, out=raw)
        return np.maximum(raw, -LIMIT, out=raw)
