"""What a query of the memory costs, with its vote, beside faiss, scikit-learn and a plain NumPy loop.

    python -m benchmarks.knn                   200 x 256, 1000 x 256 and 500 x 64, in turn on the same queries
    python -m benchmarks.knn --queries 5000

The searches take turns, some queries at a time, so a machine that slows down slows down all. Ours gives the label,
confidence, k true distances and the nearest sample that disagrees; the others give the k nearest, and nothing of a
vote. One thread, as on a device; medians, and those of the fastest quarter, which other work on the machine hardly
touches.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edge_actors.algorithms.neighbours import Memory
from edge_actors.algorithms.plain_neighbours import PlainMemory
from edge_actors.algorithms.votes import DISTANCES
from edge_actors.arrays import Floats

K, CLASSES = 5, 8
SIZES = ((200, 256), (1000, 256), (500, 64))
GOALS_US = {(200, 256): 15, (1000, 256): 35}  # design.md, section 6
ORIGINAL_US = {(200, 256): 1035, (1000, 256): 5850}  # measured once, cannot be installed here
AT_ONCE, COLD = 50, 5  # queries of a turn, and the first of them, which find the caches full of the others' rows
PLAIN_EVERY = 10  # of the turns are pure Python's, and of few queries: it takes a hundred times as long

Search = Callable[[Floats], Any]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.knn", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--queries", type=int, default=2000, help="how many to measure (default 2000)")
    chosen = parser.parse_args(argv)
    if chosen.queries < AT_ONCE:
        parser.error(f"--queries has to be at least {AT_ONCE}")
    missing = [name for name in ("faiss", "sklearn") if _found(name) is None]
    for size in SIZES:
        _print_table(size, chosen.queries)
    if missing:
        print(f"\nnot compared, because not installed: {', '.join(missing)} (pip install 'tinymlops[bench]')")
    return 0


def searches(rows: Floats, labels: list[str]) -> dict[str, Search]:
    """Name -> what answers one query; ours first, the yardstick of the ratios."""
    found: dict[str, Search] = {
        f"ours, {distance}": Memory(rows, labels, len(rows), K, distance=distance).vote for distance in DISTANCES
    }
    found["plain NumPy loop"] = lambda x: np.argsort(((rows - x) ** 2).sum(axis=1))[:K]
    if (faiss := _found("faiss")) is not None:
        faiss.omp_set_num_threads(1)
        index = faiss.IndexFlatL2(rows.shape[1])
        index.add(rows)
        found["faiss IndexFlatL2"] = lambda x: index.search(x[None], K)
    if (neighbors := _found("sklearn.neighbors")) is not None:
        for metric in ("euclidean", "manhattan"):
            brute = neighbors.NearestNeighbors(n_neighbors=K, algorithm="brute", metric=metric).fit(rows)
            found[f"scikit-learn brute, {metric}"] = lambda x, brute=brute: brute.kneighbors(x[None])
    for distance in DISTANCES:
        found[f"ours, pure Python, {distance}"] = PlainMemory(rows, labels, len(rows), K, distance=distance).vote
    return found


def world(samples: int, dimension: int, queries: int) -> tuple[Floats, list[str], Floats]:
    """Clouds around centres: samples, their labels, and frames of the same classes to ask for."""
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(CLASSES, dimension))
    codes = chance.integers(0, CLASSES, samples)
    rows = centres[codes] + chance.normal(size=(samples, dimension))
    asked = centres[chance.integers(0, CLASSES, queries)] + chance.normal(size=(queries, dimension))
    return rows.astype(np.float32), [f"class-{code}" for code in codes], asked.astype(np.float32)


def _print_table(size: tuple[int, int], queries: int) -> None:
    rows, labels, asked = world(*size, queries)
    taken = _measure(searches(rows, labels), asked)
    print(f"\n{size[0]} samples x {size[1]}, k = {K}, {queries} queries")
    print(f"{'us a query':32}{'median':>10}{'fastest 1/4':>13}{'x ours':>9}")
    base = _fastest(next(iter(taken.values())))
    for name, times in taken.items():
        median, fastest = statistics.median(times), _fastest(times)
        print(f"{name:32}{median:10.1f}{fastest:13.1f}{fastest / base:9.2f}")
    if size in ORIGINAL_US:
        print(f"{'the original (measured elsewhere)':32}{ORIGINAL_US[size]:9}")
    if size in GOALS_US:
        reached = "reached" if base <= GOALS_US[size] else "MISSED"
        print(f"goal for ours, euclidean: at most {GOALS_US[size]} us including the vote; {reached}")


def _measure(found: dict[str, Search], asked: Floats) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in found}
    for turn, first in enumerate(range(0, len(asked), AT_ONCE)):
        for name, search in found.items():
            if "pure Python" not in name:
                taken[name] += _timed(search, asked[first : first + AT_ONCE])[COLD:]
            elif turn % PLAIN_EVERY == 0:
                taken[name] += _timed(search, asked[first : first + 2])
    return taken


def _timed(search: Search, asked: Floats) -> list[float]:
    times = []
    for x in asked:
        started = time.perf_counter_ns()
        search(x)
        times.append((time.perf_counter_ns() - started) / 1000)
    return times


def _fastest(times: Sequence[float]) -> float:
    """The median of the fastest quarter."""
    return statistics.median(sorted(times)[: max(1, len(times) // 4)])


def _found(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


if __name__ == "__main__":
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # it is read when NumPy is loaded
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.knn", *sys.argv[1:]], os.environ | threads)
    sys.exit(main())
