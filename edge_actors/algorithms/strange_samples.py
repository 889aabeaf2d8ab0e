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
    predicted: str = ""
    score: float = 0.0
    clusterable: bool = False  # a class may be made of it; never of what a global drift left or a person threw out
    taken: str = ""  # the class that the device put it in
    told: bool = False  # a person spoke of it
    asked: bool = False  # a person was asked about it
    departure: float = 0.0  # how far it lay in the direction of its drift

    @property
    def explained(self) -> bool:
        return self.told or bool(self.taken)


class StrangeSamples:
    """At most `limit` samples of `dimension` numbers with their mean distance to the memory, oldest first.

    `distance` is the one by which the memory measures.
    """

    def __init__(self, dimension: int, limit: int, distance: str = "euclidean") -> None:
        self.limit, self.distance = limit, distance
        self.entries: list[Entry] = []
        self.values = np.empty((0, dimension), np.float32)
        self.memory_distances = np.empty(0, np.float32)

    def __len__(self) -> int:
        return len(self.entries)

    def find(self, sample: str) -> int | None:
        return next((row for row, entry in enumerate(self.entries) if entry.sample == sample), None)

    def distances(self, x: Floats) -> Floats:
        """Of x (D,) to every sample kept."""
        found: Floats = between(self.distance, x[None], self.values)[0]
        return found

    def nearest(self, x: Floats) -> float:
        """The distance of x (D,) to the nearest sample kept; infinite while there is none."""
        return float(self.distances(x).min()) if self.entries else np.inf

    def add(self, entry: Entry, values: Floats, memory_distance: float) -> None:
        """Keeps a sample; a full store gives up the oldest explained one, or else the oldest."""
        if len(self.entries) >= self.limit:
            self._keep([row for row in range(len(self.entries)) if row != self._least_wanted()])
        self.entries.append(entry)
        self.values = np.vstack((self.values, values))
        self.memory_distances = np.append(self.memory_distances, np.float32(memory_distance))

    def drop_older(self, than: float) -> None:
        """Gives up what was kept before this message time."""
        if self.entries and self.entries[0].at < than:
            self._keep([row for row, entry in enumerate(self.entries) if entry.at >= than])

    def pool(self) -> list[int]:
        """Rows of the samples that classes are made of, those that already are in one included."""
        return [row for row, entry in enumerate(self.entries) if entry.clusterable]

    def waiting(self) -> list[int]:
        """Rows of the samples of which a class could be made."""
        return [row for row in self.pool() if not self.entries[row].explained]

    def take(self, samples: Sequence[str], label: str) -> None:
        """These became samples of a class; with an empty label they are free again, and no class is made of them."""
        wanted = set(samples)
        for entry in self.entries:
            if entry.sample in wanted:
                entry.taken, entry.clusterable = label, entry.clusterable and bool(label)

    def state(self) -> dict[str, Any]:
        return {
            "entries": [list(astuple(entry)) for entry in self.entries],
            "values": packed(self.values),
            "memory_distances": packed(self.memory_distances),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.entries = [Entry(*entry) for entry in state["entries"]]
        self.values = floats(state["values"], self.values.shape[1]).copy()
        self.memory_distances = floats(state["memory_distances"]).copy()

    def _least_wanted(self) -> int:
        return next((row for row, entry in enumerate(self.entries) if entry.explained), 0)

    def _keep(self, rows: list[int]) -> None:
        self.entries = [self.entries[row] for row in rows]
        self.values, self.memory_distances = self.values[rows], self.memory_distances[rows]
