"""The policy of a name."""

from __future__ import annotations

import numpy as np

from ..bundle.parts import Contents
from . import Policy
from .cautious import Cautious
from .seed import Seed, dispersion


def policy(name: str, contents: Contents) -> Policy | None:
    """None for "none": the device then changes its memory at a person's word only."""
    dimension, settings = contents.projection.dimension, contents.settings
    if name == "cautious":
        return Cautious(dimension, settings.k, settings.distance)
    if name == "seed":
        return Seed(dimension, _usual_dispersion(contents), settings.distance)
    return None


def _usual_dispersion(contents: Contents) -> float:
    """How far two calibration frames of one class lie apart on average."""
    labels = np.array(contents.calibration.labels)
    classes = [contents.calibration.values[labels == label] for label in sorted(set(contents.calibration.labels))]
    return float(np.mean([dispersion(rows, contents.settings.distance) for rows in classes if len(rows) > 1]))
