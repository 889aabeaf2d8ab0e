"""When many begin the same within a while: numbers only, no database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, order=True)
class Beginning:
    """An episode of a device begins."""

    at: datetime
    device: str
    episode: str

    @property
    def name(self) -> tuple[str, str]:
        return self.device, self.episode


Cluster = tuple[Beginning, ...]  # in order of time


def clusters(beginnings: Iterable[Beginning], window: timedelta, needed: Callable[[datetime], int]) -> list[Cluster]:
    """Beginnings that lie within a window, from one of them on, that holds at least `needed` devices.

    Such windows that share a beginning make one cluster. What comes out depends on what is given, not on its order.
    """
    ordered = sorted(set(beginnings))
    found: list[tuple[int, int]] = []  # from, to (exclusive)
    counts: dict[str, int] = {}
    end = 0
    for start, first in enumerate(ordered):
        while end < len(ordered) and ordered[end].at <= first.at + window:
            counts[ordered[end].device] = counts.get(ordered[end].device, 0) + 1
            end += 1
        if len(counts) >= needed(first.at):
            if found and start < found[-1][1]:
                found[-1] = (found[-1][0], end)
            else:
                found.append((start, end))
        counts[first.device] -= 1
        if not counts[first.device]:
            del counts[first.device]
    return [tuple(ordered[start:stop]) for start, stop in found]


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of the incidents that were known."""

    kept: Mapping[int, str]  # number of a cluster -> the incident that it is; a cluster that is not in it is new
    merged: Mapping[str, str]  # incident -> the one it belongs to now
    dissolved: Sequence[str]


def match(found: Sequence[Cluster], known: Sequence[tuple[str, frozenset[tuple[str, str]]]]) -> Plan:
    """Which cluster is which of the `known` incidents, oldest first, by the episodes they share."""
    home = {one.name: number for number, cluster in enumerate(found) for one in cluster}
    kept: dict[int, str] = {}
    merged: dict[str, str] = {}
    dissolved: list[str] = []
    for incident, members in known:
        shared: dict[int, int] = {}
        for member in members:
            if member in home:
                shared[home[member]] = shared.get(home[member], 0) + 1
        if not shared:
            dissolved.append(incident)
            continue
        number = max(shared, key=lambda n: (shared[n], -n))
        if number in kept:
            merged[incident] = kept[number]
        else:
            kept[number] = incident
    return Plan(kept, merged, dissolved)
