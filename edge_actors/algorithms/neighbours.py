"""The memory: labelled samples in the order of their age, and the vote of the nearest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import partial
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from broker.messages import Uint8Array

from ..arrays import Floats, floats, packed

UNKNOWN = "unknown"  # the vote of a memory with fewer than k samples
# The dot product of each row with itself; numpy 1, which tflite_runtime needs, has only the slower way.
_SQUARES = getattr(np, "vecdot", partial(np.einsum, "ij,ij->i"))
AT_ONCE = 64  # votes worked out together: more would save no time and cost a small device memory
SLACK = 3  # more candidates than neighbours: the norm trick rounds, the exact distances decide


class Origin(IntEnum):
    """Who says what a sample is, most trusted first."""

    REFERENCE = 0  # part of the bundle: never evicted
    PERSON = 1
    PSEUDO = 2


class Vote(NamedTuple):
    label: str
    confidence: float  # share of the k votes
    distances: list[float]  # euclidean, nearest first
    labels: list[str]
    rival: float  # distance to the nearest reference sample of another label; 0.0 where there is none


class Memory:
    """At most `capacity` samples of `dimension` float32 numbers; `reference` samples are its fixed first rows.

    A label can be given another name (`rename`): its samples then vote under that name, and stay as they are.
    """

    def __init__(self, reference: Floats, labels: Sequence[str], capacity: int, k: int = 5) -> None:
        self.k, self.dimension = k, reference.shape[1]
        self.capacity = max(capacity, len(reference))
        self.reference = self.size = len(reference)
        self.labels: list[str] = list(labels)
        self.origins: list[int] = [Origin.REFERENCE] * self.size
        self.samples: list[str] = [""] * self.size  # ids; reference samples have none
        self.names: dict[str, str] = {}
        self._rows = np.zeros((self.capacity, self.dimension), np.float32)
        self._rows[: self.size] = reference
        self._half_norms = np.zeros(self.capacity, np.float32)
        self._scratch = np.empty(self.capacity, np.float32)
        self._changed(0)

    # ---- asking ----------------------------------------------------------------------------------------------

    def vote(self, x: Floats) -> Vote:
        """The k nearest samples of x (D,), their vote, and the nearest reference sample that disagrees.

        What the device learned is no rival: margins have to stay comparable with those of calibration.
        Of labels with equally many votes the one with the oldest sample among the k wins (the seed, 5.2.2).
        """
        if self.size < self.k:
            return Vote(UNKNOWN, 0.0, [], [], 0.0)
        rows, distances = self._nearest(x)
        labels = [self._named[row] for row in rows]
        winner, votes = labels[0], labels.count(labels[0])
        if votes < self.k:
            winner = _winner(labels, rows)
            votes = labels.count(winner)
        for row, label, distance in zip(rows, labels, distances, strict=True):
            if label != winner and row < self.reference:
                return Vote(winner, votes / self.k, distances, labels, distance)
        return Vote(winner, votes / self.k, distances, labels, self._rival(x, winner))

    def votes(self, many: Floats) -> list[str]:
        """The vote for each row of (n, D), many at once."""
        if self.size < self.k:
            return [UNKNOWN] * len(many)
        parts = (many[first : first + AT_ONCE] for first in range(0, len(many), AT_ONCE))
        return [vote for part in parts for vote in self._votes(part)]

    def labels_around(self, x: Floats) -> list[str]:
        """The labels of the k nearest samples of x (D,) as they were given, without names."""
        return [self.labels[row] for row in self._nearest(x)[0]] if self.size >= self.k else []

    def find(self, sample: str) -> int | None:
        """The row of a sample that was added, by its id."""
        return self.samples.index(sample, self.reference) if sample in self.samples[self.reference :] else None

    def row(self, index: int) -> Floats:
        """A copy of the numbers of one row."""
        copy: Floats = self._rows[index].copy()
        return copy

    def means(self) -> dict[str, Floats]:
        """The mean of each label's samples, under the names they vote by."""
        return {word: self._live[self._codes == code].mean(axis=0) for code, word in enumerate(self._words)}

    def counts(self) -> dict[str, int]:
        """Samples per label, under the names they vote by."""
        counts = np.bincount(self._codes, minlength=len(self._words)).tolist()
        return {word: count for word, count in zip(self._words, counts, strict=True) if count}

    # ---- changing --------------------------------------------------------------------------------------------

    def add(self, x: Floats, label: str, origin: Origin, sample: str) -> bool:
        """Takes a sample in, if need be in the place of another; False where none may give way to it."""
        if self.size == self.capacity:
            weakest = self._evictable(origin)
            if weakest is None:
                return False
            self.remove(weakest)
        self._rows[self.size] = x
        self.labels.append(label)
        self.origins.append(origin)
        self.samples.append(sample)
        self.size += 1
        self._changed(self.size - 1)
        return True

    def remove(self, index: int) -> None:
        """Takes one row out; those after it move up and so keep their order."""
        self._rows[index : self.size - 1] = self._rows[index + 1 : self.size]
        self._rows[self.size - 1] = 0
        self.size -= 1
        for column in (self.labels, self.origins, self.samples):
            del column[index]
        self._changed(index)

    def rename(self, names: Mapping[str, str]) -> None:
        """Lets the samples of some labels vote under another name; labels that are not in `names` under their own."""
        self.names = dict(names)
        self._changed(self.size)

    def state(self) -> dict[str, Any]:
        """All but the reference, which the bundle holds."""
        own = slice(self.reference, self.size)
        return {
            "rows": packed(self._rows[own]),
            "labels": self.labels[own],
            "origins": Uint8Array(self.origins[own]),
            "samples": self.samples[own],
            "names": dict(self.names),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to a state, bit for bit."""
        rows = floats(state["rows"], self.dimension)
        self.size = self.reference + len(rows)
        self._rows[self.reference : self.size] = rows
        self._rows[self.size :] = 0
        self.labels[self.reference :] = state["labels"]
        self.origins[self.reference :] = list(state["origins"])
        self.samples[self.reference :] = state["samples"]
        self.names = dict(state["names"])
        self._changed(self.reference)

    # ---- inside ----------------------------------------------------------------------------------------------

    def _nearest(self, x: Floats) -> tuple[list[int], list[float]]:
        """Rows and distances of the k nearest; leaves the closeness of all in the scratch buffer."""
        # |row - x|^2 / 2 without the constant |x|^2: enough to find candidates, too inexact to report.
        closeness = np.dot(self._live, x, out=self._live_scratch)
        np.subtract(self._live_half_norms, closeness, out=closeness)
        candidates = closeness.argpartition(self._last_candidate)[: self._last_candidate + 1]
        gaps = self._live.take(candidates, 0, self._gaps, "clip")  # "clip" is the mode that does not copy twice
        np.subtract(gaps, x, out=gaps)
        nearest = sorted(zip(_SQUARES(gaps, gaps).tolist(), candidates.tolist(), strict=True))[: self.k]
        return [row for _, row in nearest], [sqrt(square) for square, _ in nearest]

    def _votes(self, many: Floats) -> list[str]:
        closeness = self._live_half_norms - many @ self._live.T
        rows = closeness.argpartition(self.k - 1, axis=1)[:, : self.k]
        codes = self._codes[rows]
        same = codes[:, :, None] == codes[:, None, :]
        oldest = np.where(same, rows[:, None, :], self.size).min(axis=2)
        best = (same.sum(axis=2) * (self.size + 1) - oldest).argmax(axis=1)
        return [self._words[code] for code in codes[np.arange(len(many)), best].tolist()]

    def _rival(self, x: Floats, winner: str) -> float:
        """The distance to the nearest reference sample of another label, when none of the k nearest is one."""
        mask = self._masks.get(winner)
        if mask is None:
            own = self._codes[: self.reference] == self._words.index(winner)
            mask = self._masks[winner] = np.where(own, np.float32(np.inf), np.float32(0))
        if not len(mask):
            return 0.0
        others = np.add(self._scratch[: self.reference], mask, out=self._scratch[: self.reference])
        nearest = int(others.argmin())
        if others[nearest] == np.inf:
            return 0.0
        gap = self._live[nearest] - x
        return sqrt(gap.dot(gap))

    def _evictable(self, newcomer: Origin) -> int | None:
        """The oldest sample of the largest class: a pseudo one; a person's only for a person's; never a reference."""
        counts = self.counts()
        for origin in (Origin.PSEUDO, Origin.PERSON):
            rows = [row for row in range(self.reference, self.size) if self.origins[row] == origin]
            if rows and origin >= newcomer:
                return max(rows, key=lambda row: (counts[self._named[row]], -row))
        return None

    def _changed(self, first: int) -> None:
        """Works out again what hangs on rows, labels and names; rows before `first` are as they were."""
        fresh = self._rows[first : self.size]
        self._half_norms[first : self.size] = 0.5 * np.einsum("ij,ij->i", fresh, fresh)
        self._named = [self.names.get(label, label) for label in self.labels]
        self._words = sorted(set(self._named))
        place = {word: code for code, word in enumerate(self._words)}
        self._codes = np.array([place[name] for name in self._named], np.int64)
        self._masks: dict[str, Floats] = {}  # per label, infinity where a reference has it, made when needed
        self._live, self._live_half_norms = self._rows[: self.size], self._half_norms[: self.size]
        self._live_scratch = self._scratch[: self.size]
        self._last_candidate = min(self.k + SLACK, self.size) - 1
        self._gaps = np.empty((self._last_candidate + 1, self.dimension), np.float32)


def _winner(labels: list[str], rows: list[int]) -> str:
    """The label with most votes; of equals the one with the oldest sample."""
    oldest: dict[str, int] = {}
    for label, row in zip(labels, rows, strict=True):
        oldest[label] = min(row, oldest.get(label, row))
    return max(oldest, key=lambda label: (labels.count(label), -oldest[label]))
