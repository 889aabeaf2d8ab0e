"""How far apart samples are: fast and rounded for all of a memory, exact for the few that matter.

A metric gives each row a closeness to x, in one pass over the matrix, that orders rows as their distances do up to
the rounding of float32; it knows how large that rounding can be, and so which rows have to be looked at exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf, sqrt
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats

# The dot product of each row with itself; numpy 1, which tflite_runtime needs, has only the slower way.
_dots: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]] = getattr(np, "vecdot", partial(np.einsum, "ij,ij->i"))
EPSILON = 2.0**-24  # relative rounding of float32; a sum of D products is off by at most D of them
STEPS = 8  # further roundings: of norms, and of the last operations
BLUR = 1e-3
BLOCK = 32 << 10  # bytes of the rows that Manhattan takes at once: they stay in the fastest cache
COSINE_GRID = 2.0**30  # cosine distances are rounded to its inverse: below it lies the noise of computing them


class Metric(Protocol):
    """What the memory asks of a distance; rows are (n, D) and x is (D,), both float32."""

    share: float  # of itself that a distance of `near` is off by at most
    clear: float  # of larger distances, rounding hides less than a thousandth

    def note(self, rows: Floats, first: int) -> None:
        """Takes notice of the memory's live rows, of which those from `first` on are other ones."""

    def closeness(self, rows: Floats, x: Floats, out: Floats) -> None:
        """Writes the closeness (n,) of all live rows to x into `out`; less is nearer."""

    def doubt(self, distance: float, x: Floats) -> float:
        """Of two rows, one about as far away as `distance`, the nearer has less closeness if they differ by more."""

    def closeness_of(self, rows: Floats, many: Floats) -> Floats:
        """The closeness (m, n) of all live rows to each of (m, D)."""

    def doubts(self, closeness: Floats, many: Floats) -> Floats:
        """The doubt for each of (m, D); `closeness` (m,) is that of the row in question."""

    def near(self, rows: Floats, x: Floats) -> Floats:
        """The distances (m,) of some rows (m, D), as exact as float32 sums are; uses `rows` up."""

    def exact(self, rows: Floats, x: Floats) -> Floats:
        """The distances (m,) of some rows (m, D), in double precision and rounded to float32."""

    def one(self, row: Floats, x: Floats) -> float:
        """The distance of one row (D,)."""


class Euclidean:
    """|row - x|^2 / 2 without the constant |x|^2: one product of the matrix with x (the norm trick)."""

    def __init__(self, capacity: int, dimension: int) -> None:
        self._halves = np.zeros(capacity, np.float32)  # |row|^2 / 2
        self._live = self._halves[:0]
        self._diameter = self.clear = 0.0  # twice the norm of the largest row
        self.share = (dimension + STEPS) * EPSILON

    def note(self, rows: Floats, first: int) -> None:
        fresh = rows[first:].astype(np.float64)
        self._live = self._halves[: len(rows)]
        self._live[first:] = 0.5 * np.einsum("ij,ij->i", fresh, fresh)
        self._diameter = 2 * sqrt(2 * float(self._live.max(initial=0.0)))
        self.clear = self._diameter / (sqrt(BLUR / self.share) - 1) if self.share < BLUR else inf

    def closeness(self, rows: Floats, x: Floats, out: Floats) -> None:
        np.dot(rows, x, out=out)
        np.subtract(self._live, out, out=out)

    def doubt(self, distance: float, x: Floats) -> float:
        # Twice what |row||x| + |row|^2 / 2 is rounded by; |x| is at most |row| + distance.
        return self.share * (self._diameter + distance) ** 2

    def closeness_of(self, rows: Floats, many: Floats) -> Floats:
        found: Floats = self._live - many @ rows.T
        return found

    def doubts(self, closeness: Floats, many: Floats) -> Floats:
        found: Floats = self.share * (0.5 * self._diameter + _norms(many)) ** 2
        return found

    def near(self, rows: Floats, x: Floats) -> Floats:
        np.subtract(rows, x, out=rows)
        distances: Floats = np.sqrt(_dots(rows, rows))
        return distances

    def exact(self, rows: Floats, x: Floats) -> Floats:
        gaps = np.subtract(rows, x, dtype=np.float64)
        distances: Floats = np.sqrt(_dots(gaps, gaps)).astype(np.float32)
        return distances

    def one(self, row: Floats, x: Floats) -> float:
        gap = row - x
        return sqrt(gap.dot(gap))


class Manhattan:
    """The distance itself, a block of rows at a time."""

    def __init__(self, dimension: int) -> None:
        self._step = max(1, BLOCK // (4 * dimension))
        self._gaps = np.empty((self._step, dimension), np.float32)
        self._ones = np.ones(dimension, np.float32)
        self.share, self.clear = (dimension + STEPS) * EPSILON, 0.0

    def note(self, rows: Floats, first: int) -> None:
        """Nothing hangs on the rows."""

    def closeness(self, rows: Floats, x: Floats, out: Floats) -> None:
        for first in range(0, len(rows), self._step):
            block = rows[first : first + self._step]
            gaps = self._gaps[: len(block)]
            np.subtract(block, x, out=gaps)
            np.abs(gaps, out=gaps)
            np.dot(gaps, self._ones, out=out[first : first + self._step])

    def doubt(self, distance: float, x: Floats) -> float:
        return 3 * self.share * distance

    def closeness_of(self, rows: Floats, many: Floats) -> Floats:
        found = np.empty((len(many), len(rows)), np.float32)
        for x, out in zip(many, found, strict=True):
            self.closeness(rows, x, out)
        return found

    def doubts(self, closeness: Floats, many: Floats) -> Floats:
        return closeness * np.float32(3 * self.share)

    def near(self, rows: Floats, x: Floats) -> Floats:
        np.subtract(rows, x, out=rows)
        np.abs(rows, out=rows)
        distances: Floats = rows.sum(axis=1)
        return distances

    def exact(self, rows: Floats, x: Floats) -> Floats:
        gaps = np.abs(np.subtract(rows, x, dtype=np.float64))
        distances: Floats = gaps.sum(axis=1).astype(np.float32)
        return distances

    def one(self, row: Floats, x: Floats) -> float:
        return float(np.abs(row - x).sum())


class Cosine:
    """1 - cos as one product with x, scaled by each row's norm; a vector of zeros has distance 1 to everything."""

    def __init__(self, capacity: int, dimension: int) -> None:
        self._scales = np.zeros(capacity, np.float32)  # -1 / |row|
        self._live = self._scales[:0]
        self.share = (dimension + STEPS) * EPSILON
        self.clear = 2 * self.share / BLUR

    def note(self, rows: Floats, first: int) -> None:
        fresh = rows[first:].astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", fresh, fresh))
        self._live = self._scales[: len(rows)]
        self._live[first:] = np.divide(-1.0, norms, out=np.zeros_like(norms), where=norms > 0)

    def closeness(self, rows: Floats, x: Floats, out: Floats) -> None:
        np.dot(rows, x, out=out)
        np.multiply(self._live, out, out=out)

    def doubt(self, distance: float, x: Floats) -> float:
        return 2 * self.share * sqrt(float(x.dot(x)))

    def closeness_of(self, rows: Floats, many: Floats) -> Floats:
        found: Floats = self._live * (many @ rows.T)
        return found

    def doubts(self, closeness: Floats, many: Floats) -> Floats:
        found: Floats = 2 * self.share * _norms(many)
        return found

    def near(self, rows: Floats, x: Floats) -> Floats:
        return self.exact(rows, x)  # near 0 the difference from 1 leaves nothing of a float32

    def exact(self, rows: Floats, x: Floats) -> Floats:
        wide, asked = rows.astype(np.float64), x.astype(np.float64)
        norms = np.sqrt(_dots(wide, wide)) * sqrt(float(asked.dot(asked)))
        cosines = np.divide(np.dot(wide, asked), norms, out=np.zeros_like(norms), where=norms != 0)
        distances: Floats = np.maximum(np.rint((1 - cosines) * COSINE_GRID) / COSINE_GRID, 0).astype(np.float32)
        return distances

    def one(self, row: Floats, x: Floats) -> float:
        return float(self.exact(row[None], x)[0])


def _norms(rows: Floats) -> Floats:
    norms: Floats = np.sqrt(_dots(rows, rows))
    return norms


def metric_of(distance: str, capacity: int, dimension: int) -> Metric:
    """The metric of a name in `votes.DISTANCES`."""
    if distance == "manhattan":
        return Manhattan(dimension)
    return Cosine(capacity, dimension) if distance == "cosine" else Euclidean(capacity, dimension)


def between(distance: str, a: Floats, b: Floats) -> Floats:
    """(n, D), (m, D) -> (n, m) distances; equal rows are at exactly 0, but for the rounding of a cosine."""
    if distance == "cosine":
        cosines: Floats = np.maximum(1 - _unit(a) @ _unit(b).T, 0, dtype=np.float32)
        return cosines
    found = np.empty((len(a), len(b)), np.float32)
    for row, out in zip(a, found, strict=True):
        gaps = b - row
        if distance == "manhattan":
            np.abs(gaps).sum(axis=1, out=out)
        else:
            np.sqrt(_dots(gaps, gaps), out=out)
    return found


def _unit(rows: Floats) -> Floats:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    units: Floats = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    return units
