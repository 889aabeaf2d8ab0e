"""What waits for an explanation is bounded, and gives way in a known order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_actors.algorithms.strange_samples import Entry, StrangeSamples


def store(limit: int = 5) -> StrangeSamples:
    return StrangeSamples(dimension=1, limit=limit)


def keep(held: StrangeSamples, number: int, place: float | None = None, away: float = 50.0) -> None:
    values = np.array([number if place is None else place], np.float32)
    held.add(Entry(f"s{number}", float(number), "e", clusterable=True), values, away)


def test_a_full_store_gives_up_the_oldest_explained_sample_first() -> None:
    held = store(limit=3)
    for number in range(3):
        keep(held, number)
    held.entries[1].told = True
    keep(held, 3)
    assert [entry.sample for entry in held.entries] == ["s0", "s2", "s3"]
    keep(held, 4)
    assert [entry.sample for entry in held.entries] == ["s2", "s3", "s4"]
    assert held.values[:, 0].tolist() == [2, 3, 4]


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 6))
def test_never_holds_more_than_its_limit(explained: list[bool], limit: int) -> None:
    held = store(limit)
    for number, done in enumerate(explained):
        keep(held, number)
        held.entries[-1].told = done
        assert len(held) == len(held.values) == len(held.memory_distances) <= limit


def test_gives_up_what_is_too_old() -> None:
    held = store()
    for number in range(4):
        keep(held, number)
    held.drop_older(2.0)
    assert [entry.sample for entry in held.entries] == ["s2", "s3"]


def test_says_how_near_the_nearest_is() -> None:
    held = store()
    assert held.nearest(np.zeros(1, np.float32)) == np.inf
    keep(held, 1, place=3.0)
    keep(held, 2, place=-1.0)
    assert held.nearest(np.zeros(1, np.float32)) == 1.0


def test_what_became_a_class_waits_no_longer_and_still_is_evidence() -> None:
    held = store()
    for number in range(4):
        keep(held, number)
    held.take(["s1", "s3"], "novel-1")
    assert held.waiting() == [0, 2]
    assert held.pool() == [0, 1, 2, 3]
    assert [entry.taken for entry in held.entries] == ["", "novel-1", "", "novel-1"]


def test_of_a_class_that_was_taken_back_none_is_made_again() -> None:
    held = store()
    for number in range(3):
        keep(held, number)
    held.take(["s0", "s1"], "novel-1")
    held.take(["s0", "s1"], "")
    assert held.waiting() == held.pool() == [2]


def test_samples_of_a_global_drift_never_wait_for_a_class() -> None:
    held = store()
    held.add(Entry("s1", 0.0, "e"), np.zeros(1, np.float32), 1.0)
    assert held.waiting() == []


def test_a_state_brings_everything_back() -> None:
    held, other = store(), store()
    for number in range(4):
        keep(held, number)
    held.take(["s1"], "novel-1")
    other.restore(held.state())
    assert other.state() == held.state()
    keep(other, 9)
    assert len(other) == 5
