"""Tells when a stream that was re-centred is where calibration saw it again.

A CUSUM (Page 1954) of the log-likelihood ratio "as calibrated" against "as when it was re-centred", of where frames
lie along the direction that tells the two best apart (Fisher 1936). One step a scene.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Any

import numpy as np

from ..arrays import Floats, floats, packed

THRESHOLD = log(20_000)  # a wrong return takes as many scenes on average (Lorden 1971)
MOST_A_SCENE = 3.0  # of the ratio: four scenes or more have to agree
DIAGONAL = 0.2  # share of its diagonal in the covariance


class Returned:
    def __init__(self, direction: Floats, usual: tuple[float, float], moved: tuple[float, float]) -> None:
        self.direction, self.usual, self.moved = direction, usual, moved  # mean and spread along the direction
        self.value = 0.0

    @classmethod
    def between(cls, usual: Floats, moved: Floats) -> Returned:
        """Of frames (n, D) of calibration and (m, D) of the drift: the direction from the even ones of each, the
        spreads along it from the odd ones."""
        a, b = usual[::2].astype(np.float64), moved[::2].astype(np.float64)
        covariance = (np.cov(a.T) + np.cov(b.T)) / 2
        covariance = (1 - DIAGONAL) * covariance + DIAGONAL * np.diag(np.diag(covariance))
        covariance += 1e-6 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        direction = np.linalg.solve(covariance, a.mean(axis=0) - b.mean(axis=0)).astype(np.float32)
        return cls(direction, _moments(usual[1::2] @ direction), _moments(moved[1::2] @ direction))

    def update(self, values: Floats) -> bool:
        """Takes the first frame (D,) of a scene; whether the stream is back."""
        place = float(self.direction @ values)
        ratio = _density(place, self.usual) - _density(place, self.moved)
        self.value = max(0.0, self.value + max(-MOST_A_SCENE, min(MOST_A_SCENE, ratio)))
        return self.value > THRESHOLD

    def state(self) -> dict[str, Any]:
        moments = [*self.usual, *self.moved]
        return {"direction": packed(self.direction), "moments": moments, "value": self.value}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Returned:
        a, b, c, d = state["moments"]
        made = cls(floats(state["direction"]), (a, b), (c, d))
        made.value = state["value"]
        return made


def _moments(places: Floats) -> tuple[float, float]:
    return float(places.mean()), max(float(places.std()), 1e-6)


def _density(place: float, moments: tuple[float, float]) -> float:
    mean, spread = moments
    return -log(spread) - 0.5 * ((place - mean) / spread) ** 2
