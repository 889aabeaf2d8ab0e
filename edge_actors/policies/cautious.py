"""The default: where everything moved re-centre, where something is new make a class of it; never guess a label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from broker.messages import QuarantineFilled

from ..algorithms.clusters import OWN_WORLD, clusters, representatives
from ..algorithms.departure import DEPARTED
from ..algorithms.naming import PROVISIONAL
from ..arrays import Floats, floats
from . import Idea

SMALLEST_CLASS = 10  # samples of a component
# A sample that lies far in the direction in which this drift left the usual need not be as near to its like.
OWN_WORLD_DEPARTED = 0.9
FIRST_REPRESENTATIVES, MOST_REPRESENTATIVES = 25, 60


class Cautious:
    name = "cautious"

    def __init__(self, dimension: int, k: int = 5, distance: str = "euclidean") -> None:
        self.dimension, self.k, self.distance = dimension, k, distance

    def ideas(self, filled: QuarantineFilled) -> Iterator[Idea]:
        if filled.scope == "global":
            yield Idea("recentring")
            return
        values = floats(filled.values, self.dimension)
        found = clusters(values, floats(filled.memory_distances), self.k, self.distance, _own_world(filled))
        grown: set[str] = set()
        large = [part for part in found if len(part) >= SMALLEST_CLASS]
        for part in large:
            label = _owner(part, filled)
            if label and label in grown:
                continue  # a class may lie in two parts; the larger one is enough at a time
            grown.add(label)
            idea = self._grow(part, label, filled, values) if label else self._found(part, values)
            if idea.rows:
                yield idea
        if not large and not any(filled.taken):
            most = float(len(found[0]) if found else 0)
            reason = "no group of the samples is large enough and nearer to itself than to the memory"
            yield Idea("novel-class", statistic=most, threshold=SMALLEST_CLASS, reason=reason)

    def _found(self, part: list[int], values: Floats) -> Idea:
        rows = [part[i] for i in representatives(values[part], FIRST_REPRESENTATIVES, self.distance)]
        return Idea("novel-class", rows, statistic=float(len(part)), threshold=SMALLEST_CLASS)

    def _grow(self, part: list[int], label: str, filled: QuarantineFilled, values: Floats) -> Idea:
        held = sum(taken == label for taken in filled.taken)
        new = [row for row in part if not filled.taken[row]]
        room = max(MOST_REPRESENTATIVES - held, 0)
        rows = [new[i] for i in representatives(values[new], room, self.distance)] if new and room else []
        return Idea("grow-class", rows, label, statistic=float(len(part)), threshold=SMALLEST_CLASS)


def _own_world(filled: QuarantineFilled) -> Floats:
    departures = floats(filled.departures) if filled.departures else np.zeros(len(filled.samples), np.float32)
    return np.where(departures > DEPARTED, OWN_WORLD_DEPARTED, OWN_WORLD).astype(np.float32)


def _owner(part: list[int], filled: QuarantineFilled) -> str:
    """The class of the device's own that most of the part's samples are in; empty where none is."""
    taken = Counter(filled.taken[row] for row in part if filled.taken[row].startswith(PROVISIONAL))
    return taken.most_common(1)[0][0] if taken else ""
