"""Sequence numbers as ranges: what `Stored` tells a device."""

from __future__ import annotations

from collections.abc import Iterable


def merged(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """The numbers as ranges (first and last, inclusive), ascending, as few as possible."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)
