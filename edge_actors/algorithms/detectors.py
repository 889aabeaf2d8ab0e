"""All drift detectors by name, each built from what calibration frames say is usual."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .calibration import Calibration, Statistics
from .confidence import Confidence
from .cusum import SceneCusum
from .detector import Detector
from .distribution import Distribution
from .error_rate import ErrorRate
from .feature_ewma import FeatureEwma
from .mewma import SceneMewma
from .page_hinkley import PageHinkley, Printed
from .roster import Roster
from .votes import Vote

AS_PRINTED = Printed()


@dataclass(frozen=True)
class Usual:
    """What detectors are built from; the votes of calibration frames are worked out for those that want them."""

    statistics: Statistics
    calibration: Calibration
    memory: Callable[[], Roster[Any]]
    scenes: float = 200_000  # wanted between false alarms, until the monitor knows how long scenes last here
    printed: Printed = AS_PRINTED

    @cached_property
    def votes(self) -> list[Vote]:
        memory = self.memory()
        return [memory.vote(row) for row in self.calibration.values]

    @property
    def dimension(self) -> int:
        return int(self.calibration.values.shape[1])


def _confidence(usual: Usual) -> Confidence:
    return Confidence(Counter(round(1 - vote.confidence, 3) for vote in usual.votes), usual.scenes)


def _feature_ewma(usual: Usual) -> FeatureEwma:
    values = usual.calibration.values
    return FeatureEwma(values.mean(axis=0), values.std(axis=0), usual.scenes)


def _page_hinkley(usual: Usual) -> PageHinkley:
    if not usual.printed.reference:
        return PageHinkley(usual.printed, frames=usual.scenes)
    distances = [sum(vote.distances) / len(vote.distances) for vote in usual.votes if vote.distances]
    reference = (len(distances), float(np.mean(distances)), float(np.var(distances)))
    return PageHinkley(usual.printed, reference, usual.scenes)


MAKERS: dict[str, Callable[[Usual], Detector]] = {
    "scene-cusum": lambda usual: SceneCusum(usual.scenes),
    "scene-mewma": lambda usual: SceneMewma(usual.statistics.places.shares, usual.dimension, usual.scenes),
    "page-hinkley": _page_hinkley,
    "confidence": _confidence,
    "distribution": lambda usual: Distribution(usual.statistics.places.shares, usual.scenes),
    "feature-ewma": _feature_ewma,
    "error-rate": lambda usual: ErrorRate(1 - usual.statistics.accuracy, usual.scenes),
}


def build(names: Sequence[str], usual: Usual) -> list[Detector]:
    """Fresh detectors of these names, which are keys of MAKERS."""
    return [MAKERS[name](usual) for name in names]
