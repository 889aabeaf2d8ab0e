"""Whatever the distance and the arithmetic, the nearest are the nearest, equals are decided by age, and all agree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_actors.algorithms.metrics import between
from edge_actors.algorithms.neighbours import Memory, Origin
from edge_actors.algorithms.plain_neighbours import METRICS, PlainMemory
from edge_actors.algorithms.votes import DISTANCES, UNKNOWN
from edge_actors.arrays import Floats

ROOT = Path(__file__).parents[3]
SEEDS = st.integers(0, 2**32 - 1)
distances = pytest.mark.parametrize("distance", DISTANCES)


def both(rows: Floats, labels: list[str], k: int, distance: str, **rules: Any) -> tuple[Memory, PlainMemory]:
    capacity = len(rows) + 50
    return (
        Memory(rows, labels, capacity, k, distance=distance, **rules),
        PlainMemory(rows, labels, capacity, k, distance=distance, **rules),
    )


def agree(rows: Floats, labels: list[str], asked: Floats, k: int, distance: str, confidence: str) -> None:
    fast, plain = both(rows, labels, k, distance, confidence=confidence)
    for x in asked:
        one, other = fast.vote(x), plain.vote(x)
        assert one.label == other.label
        assert sorted(one.labels) == sorted(other.labels)
        assert one.confidence == pytest.approx(other.confidence, rel=1e-3)
        np.testing.assert_allclose(one.distances, other.distances, rtol=3e-5, atol=1e-6)
        np.testing.assert_allclose(one.rival, other.rival, rtol=2e-3, atol=1e-6)
    assert fast.votes(asked) == plain.votes(asked)


@distances
@given(SEEDS, st.integers(6, 90), st.integers(1, 40), st.integers(1, 7), st.sampled_from(["votes", "distance"]))
@settings(max_examples=60, deadline=None)
def test_both_arithmetics_give_the_same_labels(
    distance: str, seed: int, n: int, dimension: int, k: int, confidence: str
) -> None:
    chance = np.random.default_rng(seed)
    rows = chance.normal(chance.normal() * 50, chance.uniform(0.01, 3), (n, dimension)).astype(np.float32)
    asked = (rows[:8] + chance.normal(0, 0.1, (len(rows[:8]), dimension))).astype(np.float32)
    agree(rows, [f"c{i}" for i in chance.integers(0, 3, n)], asked, min(k, n), distance, confidence)


@distances
@given(SEEDS, st.integers(1, 4), st.integers(1, 7), st.integers(6, 120))
@settings(max_examples=60, deadline=None)
def test_both_arithmetics_decide_ties_alike(distance: str, seed: int, dimension: int, k: int, n: int) -> None:
    """Small whole numbers: duplicates, mirror images and exchanged coordinates are everywhere, zeros as well."""
    chance = np.random.default_rng(seed)
    rows = chance.integers(-2, 3, (n, dimension)).astype(np.float32)
    asked = chance.integers(-2, 3, (6, dimension)).astype(np.float32)
    agree(rows, [f"c{i}" for i in chance.integers(0, 4, n)], asked, min(k, n), distance, "votes")


@distances
@given(SEEDS, st.floats(1.0, 1e4))
@settings(max_examples=40, deadline=None)
def test_both_arithmetics_see_the_smallest_difference(distance: str, seed: int, offset: float) -> None:
    """Far from the origin and one step of float32 apart: there a product of matrices tells nothing any more."""
    chance = np.random.default_rng(seed)
    base = (offset * chance.normal(1, 0.1, 24)).astype(np.float32)
    steps = chance.integers(-3, 4, (40, 24)).astype(np.float32)
    rows = (base + steps * np.spacing(base)).astype(np.float32)
    agree(rows, [f"c{i}" for i in chance.integers(0, 3, 40)], rows[:6], 5, distance, "votes")


@distances
def test_distances_are_true(distance: str) -> None:
    chance = np.random.default_rng(0)
    rows, x = chance.normal(size=(300, 64)).astype(np.float32), chance.normal(size=64).astype(np.float32)
    true = sorted(METRICS[distance](tuple(row), tuple(x.tolist())) for row in rows.tolist())
    vote = Memory(rows, [str(i) for i in range(300)], 300, 7, distance=distance).vote(x)
    np.testing.assert_allclose(vote.distances, true[:7], rtol=1e-6)
    np.testing.assert_allclose(sorted(between(distance, x[None], rows)[0])[:7], true[:7], rtol=1e-4)


@distances
@pytest.mark.parametrize("make", [Memory, PlainMemory])
def test_of_many_duplicates_the_oldest_are_the_nearest(distance: str, make: type[Memory]) -> None:
    rows = np.repeat(np.array([[1.0, 2.0], [1.0, 2.0], [5.0, -1.0]], np.float32), 100, axis=0)
    labels = ["late"] * 3 + ["early"] * 97 + ["twin"] * 100 + ["other"] * 100
    held = make(rows, labels, 400, 5, distance=distance)
    vote = held.vote(np.array([1.0, 2.0], np.float32))
    assert vote.labels == ["late"] * 3 + ["early"] * 2
    assert (vote.label, vote.confidence, vote.distances) == ("late", 0.6, [0.0] * 5)
    assert held.votes(np.array([[1.0, 2.0]], np.float32)) == ["late"]


@pytest.mark.parametrize("make", [Memory, PlainMemory])
def test_nothing_has_a_direction_when_all_numbers_are_zero(make: type[Memory]) -> None:
    held = make(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], np.float32), list("abc"), 9, 2, distance="cosine")
    assert held.vote(np.zeros(2, np.float32)).distances == [1.0, 1.0]
    away = held.vote(np.array([-1.0, -1.0], np.float32))
    assert (away.label, away.distances[0]) == ("a", 1.0), "the zero vector is at a right angle to everything"


@distances
@pytest.mark.parametrize("make", [Memory, PlainMemory])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused(distance: str, make: type[Memory], wrong: float) -> None:
    held = make(np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32), list("abcd") * 10, 40, 5)
    with pytest.raises(ValueError, match="not finite"):
        held.vote(np.array([1.0, wrong, 0.0, 2.0], np.float32))


@pytest.mark.parametrize("make", [Memory, PlainMemory])
def test_confidence_may_weigh_votes_by_distance(make: type[Memory]) -> None:
    rows = np.array([[1.0], [2.0], [4.0], [30.0]], np.float32)
    plain, weighted = (make(rows, list("baab"), 9, 3, confidence=how) for how in ("votes", "distance"))
    x = np.zeros(1, np.float32)
    assert (plain.vote(x).label, plain.vote(x).confidence) == ("a", pytest.approx(2 / 3))
    assert (weighted.vote(x).label, weighted.vote(x).confidence) == ("a", pytest.approx(0.75 / 1.75))
    exact = weighted.vote(np.full(1, 4.0, np.float32))
    assert (exact.label, exact.confidence) == ("a", 1.0), "an exact match weighs everything"


@pytest.mark.parametrize("make", [Memory, PlainMemory])
def test_fewer_samples_than_neighbours_are_no_error(make: type[Memory]) -> None:
    held = make(np.zeros((2, 3), np.float32), ["a", "b"], 9, 3)
    x = np.ones(3, np.float32)
    assert held.vote(x).label == UNKNOWN
    assert held.votes(x[None]) == [UNKNOWN]
    assert held.labels_around(x) == []
    held.add(x, "a", Origin.PERSON, "s-1")
    assert held.vote(x).label == held.votes(x[None])[0] == "a"


@distances
@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_a_state_of_one_arithmetic_is_a_state_of_the_other(distance: str, seed: int) -> None:
    chance = np.random.default_rng(seed)
    rows = chance.normal(size=(12, 6)).astype(np.float32)
    fast, plain = both(rows, list("abc") * 4, 3, distance, quota=3, condense=True)
    for number in range(30):
        x, label = chance.normal(size=6).astype(np.float32), "abcd"[chance.integers(4)]
        origin, at = Origin(int(chance.integers(1, 3))), float(chance.integers(0, 50))
        assert fast.add(x, label, origin, f"s-{number}", at) == plain.add(x, label, origin, f"s-{number}", at)
    if seed % 2:
        assert fast.condense() == plain.condense()
    assert fast.state() == plain.state()
    other, another = both(rows, list("abc") * 4, 3, distance, quota=3, condense=True)
    other.restore(plain.state())
    another.restore(fast.state())
    assert other.state() == another.state() == fast.state()
    assert other.counts() == another.counts() == fast.counts()
    x = chance.normal(size=6).astype(np.float32)
    assert other.vote(x).label == another.vote(x).label == fast.vote(x).label
    for label, mean in fast.means().items():
        np.testing.assert_allclose(mean, list(plain.means()[label]), rtol=1e-4, atol=1e-6)


def test_pure_python_needs_no_numpy() -> None:
    program = (
        "import sys; sys.modules['numpy'] = None\n"  # importing it fails
        "from edge_actors.algorithms.plain_neighbours import PlainMemory\n"
        "from edge_actors.algorithms.votes import Origin\n"
        "for distance in ('euclidean', 'manhattan', 'cosine'):\n"
        "    held = PlainMemory([[0, 1], [0, 2], [3, 0]], ['a', 'a', 'b'], 9, 1, distance=distance, quota=2)\n"
        "    assert held.add([4, 0], 'b', Origin.PSEUDO, 's-1', at=2.0)\n"
        "    state = held.state()\n"
        "    held.condense(), held.restore(state), held.rename({'b': 'bee'})\n"
        "    print(held.vote([5, 0.1]).label, *held.votes([[0, 9]]), held.counts(), held.means()['a'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["bee a {'a': 2, 'bee': 2} [0.0, 1.5]"] * 3
