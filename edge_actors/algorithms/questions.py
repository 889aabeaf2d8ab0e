"""Which samples a person is asked about, so that few answers teach much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .clusters import OWN_WORLD
from .metrics import between
from .strange_samples import StrangeSamples

PERIOD_S = 30 * 86_400.0  # in which the budget may be spent
PACE = (
    10  # scenes of a drift from one question to the next: answers come late, and what is asked next depends on them
)
EVERY_OTHER = 4  # one question in so many is about whatever the camera shows
UNSURE = 0.6  # confidence up to which a frame of a re-centred stream is worth a question
LIKE, MOST_LIKE = 1.5, 2  # an answer also holds for so many samples nearer than this, in usual distances


class Questions:
    """At most `budget` of them in 30 days."""

    def __init__(self, budget: int, usual_distance: float, k: int = 5) -> None:
        self.budget, self.k, self.near = budget, k, LIKE * usual_distance
        self.asked: list[float] = []  # when, within the period
        self._count = 0
        self._scenes = 0

    def due(self, at: float, opened: bool) -> bool:
        """Takes a frame of a drift; whether it is time for a question."""
        self._scenes += opened
        if self._scenes < PACE or not self.budget:
            return False
        self.asked = [one for one in self.asked if one > at - PERIOD_S]
        return len(self.asked) < self.budget

    @property
    def about_anything(self) -> bool:
        """Whether the next question is about the frame at hand, whatever it shows."""
        return self._count % EVERY_OTHER == EVERY_OTHER - 1

    def note(self, at: float) -> int:
        """A question is put; how many that makes in the period."""
        self._scenes = 0
        self._count += 1
        self.asked.append(at)
        return len(self.asked)

    def densest(self, samples: StrangeSamples) -> int | None:
        """The row of the sample to ask about: many are like it, and none like it was asked about."""
        pool = samples.pool()
        if len(pool) <= self.k:
            return None
        entries = [samples.entries[row] for row in pool]
        gaps = between(samples.distance, samples.values[pool], samples.values[pool])
        done = [one for one, entry in enumerate(entries) if entry.told or entry.asked]
        named = {entries[one].taken for one in done}
        unnamed = [one for one, entry in enumerate(entries) if entry.taken and entry.taken not in named]
        free = unnamed or [one for one, entry in enumerate(entries) if not (entry.explained or entry.asked)]
        if not free:
            return None
        radius = np.sort(gaps[free], axis=1)[:, 1 : self.k + 1].mean(axis=1)
        apart = gaps[np.ix_(free, done)].min(axis=1) if done else np.ones(len(free))
        return pool[free[int((apart / np.maximum(radius, 1e-6)).argmax())]]

    def like(self, samples: StrangeSamples, row: int) -> list[int]:
        """The nearest samples that a label of this one also holds for: nearer to it than to the memory, by far."""
        gaps = samples.distances(samples.values[row])
        limits = np.minimum(self.near, OWN_WORLD * samples.memory_distances)
        free = [one for one in samples.waiting() if one != row and gaps[one] < limits[one]]
        return sorted(free, key=lambda one: float(gaps[one]))[:MOST_LIKE]

    def state(self) -> dict[str, Any]:
        return {"asked": list(self.asked), "count": self._count, "scenes": self._scenes}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.asked, self._count, self._scenes = list(state["asked"]), state["count"], state["scenes"]
