"""What the memory answers, and how neighbours vote; needs no NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

UNKNOWN = "unknown"  # the vote of a memory with fewer than k samples
DISTANCES = ("euclidean", "manhattan", "cosine")
CONFIDENCES = ("votes", "distance")
NOT_FINITE = "what is asked for is not finite, or too large to be measured"


class Origin(IntEnum):
    """Who says what a sample is, most trusted first."""

    REFERENCE = 0  # part of the bundle: never evicted
    PERSON = 1
    PSEUDO = 2


class Vote(NamedTuple):
    label: str
    confidence: float  # share of the k votes, or of their weights
    distances: list[float]  # to the k nearest, nearest first, exact to float32
    labels: list[str]
    rival: float  # distance to the nearest reference sample of another label; 0.0 where there is none


def winner(labels: Sequence[str], rows: Sequence[int]) -> str:
    """The label with most votes; of equals the one with the oldest sample, rows being in the order of age."""
    oldest: dict[str, int] = {}
    for label, row in zip(labels, rows, strict=True):
        oldest[label] = min(row, oldest.get(label, row))
    return max(oldest, key=lambda label: (labels.count(label), -oldest[label]))


def share_of_weights(labels: Sequence[str], distances: Sequence[float], label: str) -> float:
    """How much of the votes is for `label` when each weighs one over its distance (Dudani 1976); exact matches, where
    there are any, weigh everything."""
    nearest = distances[0]
    weights = [nearest / distance if nearest else float(not distance) for distance in distances]
    own = sum(weight for weight, voted in zip(weights, labels, strict=True) if voted == label)
    return own / sum(weights)
