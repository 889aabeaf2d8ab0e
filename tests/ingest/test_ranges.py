"""Ranges say exactly the numbers, in as few pieces as there are."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ingest.ranges import merged

numbers = st.lists(st.integers(1, 60))


@given(numbers)
def test_the_ranges_hold_every_number_and_no_other(given_: list[int]) -> None:
    held = [number for first, last in merged(given_) for number in range(first, last + 1)]
    assert held == sorted(set(given_))


@given(numbers)
def test_no_two_ranges_could_be_one(given_: list[int]) -> None:
    ranges = merged(given_)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(ranges))


def test_nothing_is_no_range() -> None:
    assert merged([]) == ()


def test_reads_as_people_would_write_it() -> None:
    assert merged([3, 1, 2, 9, 7, 8, 8, 20]) == ((1, 3), (7, 9), (20, 20))
