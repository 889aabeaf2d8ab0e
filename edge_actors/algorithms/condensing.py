"""Which samples a memory could do without: those that the others would recognise just as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from .votes import winner

MOST_LOOKED_AT = 1000  # samples of one condensing, the oldest first: it has to come to an end on a small device

ByNearness = Callable[[int], Iterable[int]]


def redundant(labels: Sequence[str], candidates: Sequence[int], by_nearness: ByNearness, k: int) -> list[int]:
    """The rows among `candidates` that can go; `by_nearness` gives all rows by distance to one, itself too.

    The condensed nearest neighbour rule (Hart 1968) with k votes: a candidate stays if what stays would not recognise
    it, over and over until nothing changes, so in the end the kept ones vote for the right label of each that goes.
    It begins with all other samples and the oldest candidates of each label, up to the k samples that a label needs
    to win a vote by itself; so no label is lost. Candidates come by age, so the outcome is always the same.
    """
    waiting = list(candidates[:MOST_LOOKED_AT])
    kept = set(range(len(labels))).difference(waiting)
    covered = Counter(labels[row] for row in kept)
    for row in waiting:
        if covered[labels[row]] < k:
            covered[labels[row]] += 1
            kept.add(row)
    changed = True
    while changed:
        waiting = [row for row in waiting if row not in kept]
        before = len(kept)
        for row in waiting:
            if _vote(labels, by_nearness(row), kept, k) != labels[row]:
                kept.add(row)
        changed = len(kept) > before
    return waiting


def _vote(labels: Sequence[str], by_nearness: Iterable[int], kept: set[int], k: int) -> str:
    nearest: list[int] = []
    for row in by_nearness:
        if row in kept:
            nearest.append(row)
            if len(nearest) == k:
                break
    return winner([labels[row] for row in nearest], nearest)
