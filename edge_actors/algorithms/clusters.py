"""Groups of samples that are like each other and unlike the memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats
from .metrics import between

OWN_WORLD = 0.8  # a core sample is nearer to its like than this share of its distance to the memory


def clusters(
    samples: Floats,
    memory_distances: Floats,
    k: int = 5,
    distance: str = "euclidean",
    own_world: Floats | float = OWN_WORLD,
) -> list[list[int]]:
    """Components of the mutual k-nearest-neighbour graph of the core, largest first.

    A sample (row of (n, D)) is core when its mean distance to its k nearest others is below `own_world` times
    `memory_distances` (n,), the same towards the memory, by the same `distance`. Mutual neighbour graphs: Brito et
    al. 1997.
    """
    if len(samples) <= k:
        return []
    gaps = between(distance, samples, samples)
    np.fill_diagonal(gaps, np.inf)
    own = np.sort(gaps, axis=1)[:, :k].mean(axis=1)
    core = np.flatnonzero(own < own_world * memory_distances)
    if len(core) < 2:
        return []
    among = gaps[np.ix_(core, core)]
    near = among <= np.sort(among, axis=1)[:, min(k, len(core) - 1) - 1][:, None]
    found = [[int(core[i]) for i in part] for part in _components(near & near.T)]
    return sorted(found, key=lambda part: (-len(part), part))


def representatives(samples: Floats, most: int, distance: str = "euclidean") -> list[int]:
    """At most `most` rows of (n, D) that cover it: the most central one, then always the farthest from those chosen.

    Greedy k-centre (Gonzalez 1985).
    """
    if len(samples) <= most:
        return list(range(len(samples)))
    gaps = between(distance, samples, samples)
    chosen = [int(gaps.sum(axis=1).argmin())]
    np.fill_diagonal(gaps, -1)  # below any distance: equal samples are not chosen twice
    uncovered = gaps[chosen[0]].copy()
    while len(chosen) < most:
        chosen.append(int(uncovered.argmax()))
        np.minimum(uncovered, gaps[chosen[-1]], out=uncovered)
    return sorted(chosen)


def _components(linked: NDArray[np.bool_]) -> list[list[int]]:
    waiting = set(range(len(linked)))
    found = []
    while waiting:
        part, edge = [], [min(waiting)]
        waiting.remove(edge[0])
        while edge:
            one = edge.pop()
            part.append(one)
            new = [other for other in np.flatnonzero(linked[one]).tolist() if other in waiting]
            waiting.difference_update(new)
            edge.extend(new)
        found.append(sorted(part))
    return found
