"""The store of samples that wait for an explanation: bounded, no two of them alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from ..arrays import Floats, floats, packed
from .metrics import between


@dataclass(slots=True)
class Entry:
    """What is known of one sample beside its numbers."""

    sample: str
    at: float
    episode: str
    explained: bool = False  # by a person, or by a class made of it or of its like
    clusterable: bool = False  # its episode brought something new; after a global drift it stays False


class StrangeSamples:
    """At most `limit` samples of `dimension` numbers, the k distances to the memory with each, oldest first.

    `distance` is the one by which the memory measures.
    """

    def __init__(self, dimension: int, k: int, limit: int, distance: str = "euclidean") -> None:
        self.limit, self.k, self.distance = limit, k, distance
        self.entries: list[Entry] = []
        self.values = np.empty((0, dimension), np.float32)
        self.memory_distances = np.empty((0, k), np.float32)

    def __len__(self) -> int:
        return len(self.entries)

    def find(self, sample: str) -> int | None:
        return next((row for row, entry in enumerate(self.entries) if entry.sample == sample), None)

    def nearest(self, x: Floats) -> float:
        """The distance of x (D,) to the nearest sample kept; infinite while there is none."""
        if not self.entries:
            return np.inf
        return float(between(self.distance, x[None], self.values).min())

    def add(self, entry: Entry, values: Floats, memory_distances: Sequence[float]) -> None:
        """Keeps a sample; a full store gives up the oldest explained one, or else the oldest."""
        if len(self.entries) >= self.limit:
            self._keep([row for row in range(len(self.entries)) if row != self._least_wanted()])
        self.entries.append(entry)
        self.values = np.vstack((self.values, values))
        distances = np.array(sorted(memory_distances), np.float32)
        self.memory_distances = np.vstack((self.memory_distances, distances))

    def drop_older(self, than: float) -> None:
        """Gives up what was kept before this message time."""
        if self.entries and self.entries[0].at < than:
            self._keep([row for row, entry in enumerate(self.entries) if entry.at >= than])

    def waiting(self) -> list[int]:
        """Rows of the samples of which a class could be made."""
        return [row for row, entry in enumerate(self.entries) if entry.clusterable and not entry.explained]

    def explain(self, rows: Sequence[int]) -> None:
        """These became samples of the memory; they are explained, and so is what they are most neighbours of."""
        if not rows:
            return
        to_them = between(self.distance, self.values, self.values[rows])
        of_memory = self.memory_distances
        together = np.sort(np.hstack((of_memory, to_them)), axis=1)[:, : self.k]
        shares = (to_them <= together[:, -1:]).sum(axis=1) / self.k
        for row, (entry, share) in enumerate(zip(self.entries, shares.tolist(), strict=True)):
            entry.explained |= row in rows or share > 0.5
        self.memory_distances = together.astype(np.float32)

    def state(self) -> dict[str, Any]:
        return {
            "entries": [list(astuple(entry)) for entry in self.entries],
            "values": packed(self.values),
            "memory_distances": packed(self.memory_distances),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.entries = [Entry(*entry) for entry in state["entries"]]
        self.values = floats(state["values"], self.values.shape[1]).copy()
        self.memory_distances = floats(state["memory_distances"], self.k).copy()

    def _least_wanted(self) -> int:
        return next((row for row, entry in enumerate(self.entries) if entry.explained), 0)

    def _keep(self, rows: list[int]) -> None:
        self.entries = [self.entries[row] for row in rows]
        self.values, self.memory_distances = self.values[rows], self.memory_distances[rows]
