"""What moved: everything, or only part of the stream.

Where something new appears among the usual, the least strange frames are the usual ones, and lie where their classes
lie. Where the sensor changed, even the least strange frames are displaced, or even the least strange tenth is
strange: noise spreads frames without displacing them.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np

from ..arrays import Floats, floats, packed
from .mewma import Places

LIMIT = 3.0  # a whitened number beyond it counts as this
SPREADS = 13.0  # of the statistic that independent normal numbers would have; features are neither
QUARTER, TENTH = 0.25, 0.1  # of the scenes, the least strange
SCENES = 240  # the last ones are judged
FIRST_FRAMES, FIRST_SCENES = 100, 40  # after the alarm, until a drift is judged; a camera that dwells is given
LAST_FRAMES = 400  # more frames, but no more than these
AGAIN, LONGEST_PAUSE = 50, 3200  # scenes until it is judged again
ACCEPTED, EVERY = 64, 4  # usual scenes kept to compare with: one in four, or the last minute would stand for a day


class Frames:
    """The last `most` frames given, oldest first, with label and score."""

    def __init__(self, dimension: int, most: int) -> None:
        self.most, self.dimension = most, dimension
        self.values: list[Floats] = []
        self.labels: list[str] = []
        self.scores: list[float] = []

    def __len__(self) -> int:
        return len(self.labels)

    def add(self, values: Floats, label: str, score: float) -> None:
        self.values.append(values)
        self.labels.append(label)
        self.scores.append(score)
        if len(self.labels) > self.most:
            del self.values[0], self.labels[0], self.scores[0]

    def clear(self) -> None:
        self.values, self.labels, self.scores = [], [], []

    def rows(self) -> Floats:
        """(n, D)"""
        return np.array(self.values, np.float32).reshape(-1, self.dimension)

    def state(self) -> dict[str, Any]:
        return {"values": packed(self.rows()), "labels": list(self.labels), "scores": list(self.scores)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.values = list(floats(state["values"], self.dimension))
        self.labels, self.scores = list(state["labels"]), list(state["scores"])


def threshold(dimension: int) -> float:
    """The statistic of displacement beyond which everything moved: 3.3 for 64 numbers."""
    return 1 + SPREADS * sqrt(2 / dimension)


def displacement(drift: Frames, accepted: Frames, places: Places) -> float:
    """How far the least strange quarter of the drift's frames lies from where frames of their classes usually lie.

    Hotelling's statistic of the whitened, class-centred places, over its expectation: about 1 where nothing moved.
    """
    order = [row for row in np.argsort(drift.scores, kind="stable").tolist() if drift.labels[row] in places.means]
    chosen = order[: max(int(len(drift) * QUARTER), 1)]
    if not chosen:
        return 0.0
    here = _places(drift, chosen, places)
    known = [row for row, label in enumerate(accepted.labels) if label in places.means]
    gap, weight = here.mean(axis=0), 1 / len(here)
    if known:
        usual = _places(accepted, known, places)
        gap, weight = gap - usual.mean(axis=0), weight + 1 / len(usual)
    return float(gap @ gap) / weight / drift.dimension


def _places(frames: Frames, rows: list[int], places: Places) -> Floats:
    gaps = np.array([frames.values[row] - places.means[frames.labels[row]] for row in rows])
    whitened: Floats = np.clip(gaps @ places.whitening.T, -LIMIT, LIMIT)
    return whitened


class WhatMoved:
    """Judges a drift once enough of it was seen, and again as it goes on: a part may become everything."""

    def __init__(self, places: Places, dimension: int) -> None:
        self.places, self.threshold = places, threshold(dimension)
        self.accepted = Frames(dimension, ACCEPTED)  # of the time before
        self.drift = Frames(dimension, SCENES)
        self.scope, self.statistic = "", 0.0
        self._seen = self._scenes = 0  # scenes at rest; and those of the drift since it was looked at
        self._frames, self._pause = 0, AGAIN

    def accept(self, values: Floats, label: str, score: float) -> None:
        """Takes the first frame of a usual scene, outside of drift."""
        self._seen += 1
        if self._seen % EVERY == 0:
            self.accepted.add(values, label, score)

    def begin(self) -> None:
        """A drift begins."""
        self.drift.clear()
        self.scope, self.statistic = "", 0.0
        self._frames = self._scenes = 0
        self._pause = AGAIN

    def update(self, values: Floats, label: str, score: float, opened: bool) -> bool:
        """Takes a frame of the drift; whether there is a judgement to act on: the first one, or global."""
        self._frames += 1
        if opened:
            self._scenes += 1
            self.drift.add(values, label, score)
        if not self._is_due():
            return False
        before, self._scenes = self.scope, 0
        if before != "global":  # a map that was found for all frames is undone by what found it, not by this
            self.statistic = displacement(self.drift, self.accepted, self.places)
            everything = self.statistic > self.threshold or np.quantile(self.drift.scores, TENTH) > 0
            self.scope = "global" if everything else "novel"
        return self.scope == "global" or not before

    def answered(self, applied: bool) -> None:
        """What came of the last attempt at a global drift: after a failure the next one comes later and later."""
        self._pause = AGAIN if applied else min(2 * self._pause, LONGEST_PAUSE)

    def state(self) -> dict[str, Any]:
        return {
            "accepted": self.accepted.state(),
            "drift": self.drift.state(),
            "scope": self.scope,
            "statistic": self.statistic,
            "counts": [self._seen, self._scenes, self._frames, self._pause],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.accepted.restore(state["accepted"])
        self.drift.restore(state["drift"])
        self.scope, self.statistic = state["scope"], state["statistic"]
        self._seen, self._scenes, self._frames, self._pause = state["counts"]

    def _is_due(self) -> bool:
        if self.scope:
            return self._scenes >= (self._pause if self.scope == "global" else AGAIN)
        return self._frames >= FIRST_FRAMES and (len(self.drift) >= FIRST_SCENES or self._frames >= LAST_FRAMES)
