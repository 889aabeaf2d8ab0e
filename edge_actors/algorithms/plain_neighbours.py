"""The memory in pure Python, for interpreters without NumPy: the same answers, and a hundred times the time.

Numbers are kept as float32 and distances rounded to it, so that it votes as `neighbours.Memory` does, and a state of
the one is a state of the other.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from heapq import nsmallest
from math import dist, fsum, inf, sqrt
from operator import mul, sub
from typing import Any

from broker.messages import Float32Array

from .roster import Roster
from .votes import NOT_FINITE

COSINE_GRID = 2.0**30  # as in `metrics`

Numbers = Iterable[float]
Point = tuple[float, ...]


def manhattan(a: Point, b: Point) -> float:
    total: float = sum(map(abs, map(sub, a, b)))
    return total


def cosine(a: Point, b: Point) -> float:
    """1 - cos; a vector of zeros has distance 1 to everything."""
    norms = sqrt(sum(map(mul, a, a)) * sum(map(mul, b, b)))
    distance = 1.0 - sum(map(mul, a, b)) / norms if norms else 1.0
    return max(round(distance * COSINE_GRID) / COSINE_GRID, 0.0)


METRICS: dict[str, Callable[[Point, Point], float]] = {"euclidean": dist, "manhattan": manhattan, "cosine": cosine}


class PlainMemory(Roster[Numbers]):
    """Samples as tuples of numbers that are exact in float32; `reference` are the first ones and never change.

    `dimension` is needed where there are none.
    """

    def __init__(
        self,
        reference: Iterable[Numbers],
        labels: Sequence[str],
        capacity: int,
        k: int = 5,
        *,
        dimension: int = 0,
        distance: str = "euclidean",
        **rules: Any,
    ) -> None:
        self._points = [_point(row) for row in reference]
        super().__init__(
            labels, len(self._points[0]) if self._points else dimension, capacity, k, distance=distance, **rules
        )
        self._distance = METRICS[distance]
        self._distances: list[float] = []  # of all samples to what was asked last
        self._changed(0)

    def row(self, index: int) -> Numbers:
        return self._points[index]

    def means(self) -> dict[str, Numbers]:
        parts: dict[str, list[Point]] = {}
        for name, point in sorted(zip(self._named, self._points, strict=True)):
            parts.setdefault(name, []).append(point)
        return {
            name: [fsum(column) / len(part) for column in zip(*part, strict=True)] for name, part in parts.items()
        }

    # ---- the arithmetic --------------------------------------------------------------------------------------

    def _nearest(self, x: Numbers) -> tuple[list[int], list[float]]:
        asked, distance = _point(x), self._distance
        self._distances = array("f", [distance(point, asked) for point in self._points]).tolist()
        rows = nsmallest(self.k, range(self.size), key=self._distances.__getitem__)
        if not self._distances[rows[0]] < inf:
            raise ValueError(NOT_FINITE)
        return rows, [self._distances[row] for row in rows]

    def _rival(self, x: Numbers, winner: str) -> float:
        others = zip(self._distances[: self.reference], self._named, strict=False)
        return min((distance for distance, name in others if name != winner), default=0.0)

    def _by_nearness(self, index: int) -> Iterable[int]:
        asked, distance = self._points[index], self._distance
        distances = array("f", [distance(point, asked) for point in self._points]).tolist()
        return sorted(range(self.size), key=distances.__getitem__)

    # ---- the samples -----------------------------------------------------------------------------------------

    def _insert(self, index: int, x: Numbers) -> None:
        self._points.insert(index, _point(x))

    def _delete(self, rows: Sequence[int]) -> None:
        leaving = set(rows)
        self._points = [point for row, point in enumerate(self._points) if row not in leaving]

    def _packed(self) -> Float32Array:
        return Float32Array.of(number for point in self._points[self.reference :] for number in point)

    def _unpack(self, rows: Float32Array) -> None:
        numbers, width = rows.numbers(), self.dimension
        own = (tuple(numbers[first : first + width]) for first in range(0, len(numbers), width or 1))
        self._points[self.reference :] = own


def _point(numbers: Numbers) -> Point:
    return tuple(array("f", numbers))
