"""The memory: labelled samples in the order of their age, and the vote of the nearest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Any

import numpy as np

from broker.messages import Float32Array

from ..arrays import Floats, floats, packed
from .metrics import metric_of
from .roster import Roster
from .votes import NOT_FINITE, UNKNOWN, Origin, Vote

__all__ = ["UNKNOWN", "Memory", "Origin", "Vote"]

AT_ONCE = 64  # votes worked out together: more would save no time and cost a small device memory
SLACK = 1  # more candidates than neighbours: the rest usually is so far away that rounding cannot matter


class Memory(Roster[Floats]):
    """Samples of `dimension` float32 numbers in one matrix; `reference` (n, D) are its fixed first rows."""

    def __init__(
        self,
        reference: Floats,
        labels: Sequence[str],
        capacity: int,
        k: int = 5,
        *,
        distance: str = "euclidean",
        **rules: Any,
    ) -> None:
        super().__init__(labels, reference.shape[1], capacity, k, distance=distance, **rules)
        self._rows = np.zeros((self.capacity, self.dimension), np.float32)
        self._rows[: self.size] = reference
        self._scratch = np.empty(self.capacity, np.float32)
        self.metric = metric_of(distance, self.capacity, self.dimension)
        self._changed(0)

    def votes(self, many: Iterable[Floats]) -> list[str]:
        """The vote for each row of (n, D), many at once."""
        rows = np.asarray(many, np.float32)
        if self.size <= self.k:
            return super().votes(rows)
        parts = (rows[first : first + AT_ONCE] for first in range(0, len(rows), AT_ONCE))
        return [vote for part in parts for vote in self._votes(part)]

    def row(self, index: int) -> Floats:
        copy: Floats = self._rows[index].copy()
        return copy

    def means(self) -> dict[str, Floats]:
        order = np.argsort(self._codes, kind="stable")
        ends = np.cumsum(np.bincount(self._codes, minlength=len(self._words)))[:-1]
        parts = np.split(order, ends)
        return {word: self._live[rows].mean(axis=0) for word, rows in zip(self._words, parts, strict=True)}

    # ---- the arithmetic --------------------------------------------------------------------------------------

    def _nearest(self, x: Floats) -> tuple[list[int], list[float]]:
        """Rows and distances of the k nearest; leaves the closeness of all in the scratch buffer."""
        metric, closeness, k, last = self.metric, self._closeness, self.k, self._last_candidate
        metric.closeness(self._live, x, closeness)
        candidates = closeness.argpartition(last)[: last + 1]
        taken = self._live.take(candidates, 0, self._taken, "clip")  # "clip" is the mode that does not copy twice
        nearest = sorted(zip(metric.near(taken, x).tolist(), candidates.tolist(), strict=False))
        farthest, row = nearest[k - 1]
        if not nearest[0][0] < inf:
            raise ValueError(NOT_FINITE)
        doubt = metric.doubt(farthest, x)
        if last + 1 < self.size and not closeness[candidates[last]] - closeness[row] > doubt:
            nearest = self._among(np.flatnonzero(~(closeness > closeness[row] + doubt)), x)
        elif last >= k and not nearest[k][0] - farthest > metric.share * farthest:
            nearest = self._among(candidates, x)
        del nearest[k:]
        return [row for _, row in nearest], [distance for distance, _ in nearest]

    def _among(self, rows: Any, x: Floats) -> list[tuple[float, int]]:
        """These by (exact distance, age): where rounding could decide which are the k nearest."""
        return sorted(zip(self._exact(rows, x).tolist(), rows.tolist(), strict=True))

    def _exact(self, rows: Any, x: Floats) -> Floats:
        """The exact distances of some rows, a few at a time: in double precision all of them would be large."""
        parts = [self._live[rows[first : first + AT_ONCE]] for first in range(0, len(rows), AT_ONCE)]
        return np.concatenate([self.metric.exact(part, x) for part in parts])

    def _votes(self, many: Floats) -> list[str]:
        """Which k are nearest decides the vote, not their order; where rounding could decide that, each is asked."""
        closeness = self.metric.closeness_of(self._live, many)
        order = closeness.argpartition((self.k - 1, self.k), axis=1)
        at = np.arange(len(many))
        last = closeness[at, order[:, self.k - 1]]
        doubtful = ~(closeness[at, order[:, self.k]] - last > self.metric.doubts(last, many))
        rows = order[:, : self.k]
        codes = self._codes[rows]
        same = codes[:, :, None] == codes[:, None, :]
        oldest = np.where(same, rows[:, None, :], self.size).min(axis=2)
        best = (same.sum(axis=2) * (self.size + 1) - oldest).argmax(axis=1)
        found = [self._words[code] for code in codes[at, best].tolist()]
        for place in np.flatnonzero(doubtful).tolist():
            found[place] = self.vote(many[place]).label
        return found

    def _rival(self, x: Floats, winner: str) -> float:
        others, own = self._others, self._own.get(winner)
        if own is None:
            own = self._own[winner] = np.flatnonzero(self._codes[: self.reference] == self._words.index(winner))
        if len(own) == self.reference:
            return 0.0
        others[own] = np.inf
        nearest = others.argmin()
        rival = self.metric.one(self._live[nearest], x)
        if rival < self.metric.clear:
            near = np.flatnonzero(others <= others[nearest] + self.metric.doubt(rival, x))
            return float(self._exact(near, x).min())
        return rival

    def _by_nearness(self, index: int) -> Iterable[int]:
        distances = self._exact(np.arange(self.size), self._live[index])
        order: list[int] = np.argsort(distances, kind="stable").tolist()
        return order

    # ---- the matrix ------------------------------------------------------------------------------------------

    def _insert(self, index: int, x: Floats) -> None:
        self._rows[index + 1 : self.size + 1] = self._rows[index : self.size]
        self._rows[index] = x

    def _delete(self, rows: Sequence[int]) -> None:
        kept = np.delete(self._live, rows, axis=0)
        self._rows[: len(kept)] = kept
        self._rows[len(kept) : self.size] = 0

    def _packed(self) -> Float32Array:
        return packed(self._rows[self.reference : self.size])

    def _unpack(self, rows: Float32Array) -> None:
        own = floats(rows, self.dimension)
        self._rows[self.reference : self.reference + len(own)] = own
        self._rows[self.reference + len(own) :] = 0

    def _changed(self, first: int) -> None:
        super()._changed(first)
        self._words = sorted(set(self._named))
        place = {word: code for code, word in enumerate(self._words)}
        self._codes = np.array([place[name] for name in self._named], np.int64)
        self._own: dict[str, Any] = {}  # label -> the reference rows that have it, looked up when needed
        self._live, self._closeness = self._rows[: self.size], self._scratch[: self.size]
        self._others = self._scratch[: self.reference]
        self.metric.note(self._live, first)
        self._last_candidate = min(self.k + SLACK, self.size) - 1
        shape = (self._last_candidate + 1, self.dimension)
        self._taken = np.empty(shape, np.float32)
