"""The seed's policy (section 5.2.3): samples that are taken for the same and lie close together are believed.

Kept to compare with, and for devices that want the cheapest thing; it does harm where a class is unseen, for then the
predicted label is wrong by definition.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from broker.messages import QuarantineFilled

from ..algorithms.metrics import between
from ..arrays import Floats, floats
from . import Idea

SMALLEST_CLUSTER = 5
REPRESENTATIVES = 5


class Seed:
    """`most_dispersion` is the largest mean distance between two samples of a cluster that is believed."""

    name = "seed"

    def __init__(self, dimension: int, most_dispersion: float, distance: str = "euclidean") -> None:
        self.dimension, self.most_dispersion, self.distance = dimension, most_dispersion, distance

    def ideas(self, filled: QuarantineFilled) -> Iterator[Idea]:
        values = floats(filled.values, self.dimension)
        for label in sorted(set(filled.predicted)):
            rows = [row for row, one in enumerate(filled.predicted) if one == label and not filled.taken[row]]
            if len(rows) < SMALLEST_CLUSTER:
                continue
            spread = dispersion(values[rows], self.distance)
            if spread < self.most_dispersion:
                chosen = [rows[i] for i in nearest_centroid(values[rows], REPRESENTATIVES)]
                confidence = 1 - spread / self.most_dispersion
                yield Idea("pseudo-label", chosen, label, spread, self.most_dispersion, confidence=confidence)
            else:
                reason = f"the {len(rows)} samples taken for {label!r} are too different from each other"
                yield Idea("pseudo-label", [], label, spread, self.most_dispersion, reason)


def dispersion(samples: Floats, distance: str) -> float:
    """The mean distance between two of the samples (n, D), n >= 2."""
    return float(between(distance, samples, samples)[np.triu_indices(len(samples), 1)].mean())


def nearest_centroid(samples: Floats, most: int) -> list[int]:
    """At most `most` rows of (n, D), those nearest to the mean."""
    gaps = samples - samples.mean(axis=0)
    return sorted(np.argsort((gaps**2).sum(axis=1), kind="stable")[:most].tolist())
