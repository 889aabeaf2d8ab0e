"""River's detectors on what a user would feed them: the mean distance to the k nearest samples of the memory.

Each has one setting that trades delay for false alarms. It is tuned, one value for all tasks, to the most sensitive
one with at most 1 false alarm per 10,000 iid frames. That is done on iid streams of the very stream pictures (with
another seed than the table's controls), and the distances come standardised by the bundle's calibration frames:
both are favours that a device in the field could not do them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_actors.arrays import Floats
from edge_actors.bundle import Bundle

from .streams import COMMISSIONING

WANTED = 1.0  # false alarms per 10,000 frames
NEEDED = "river is needed for the comparison: .venv/bin/pip install 'tinymlops[bench]', or --without-rivals"


@dataclass(frozen=True)
class Rival:
    """`settings` from most to least sensitive."""

    name: str
    make: Callable[[Any, float], Any]  # river.drift, a setting -> a detector
    settings: tuple[float, ...]
    every: int = 1  # it watches every so many streams only, as it is slow


def _page_hinkley(drift: Any, threshold: float) -> Any:
    # Half a spread is the shift that is worth an alarm; Page's test then takes half of it as its allowance.
    return drift.PageHinkley(min_instances=30, delta=0.25, threshold=threshold, alpha=0.9999, mode="up")


RIVALS = (
    Rival("river PageHinkley", _page_hinkley, (4, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 50, 65, 85, 120, 200)),
    Rival("river ADWIN", lambda drift, delta: drift.ADWIN(delta=delta), tuple(10.0**-n for n in range(1, 16))),
    Rival(
        "river KSWIN",
        lambda drift, alpha: drift.KSWIN(alpha=alpha, window_size=100, stat_size=30, seed=0),
        tuple(10.0 ** (-n / 2) for n in range(4, 24)),
        every=6,
    ),
)


def river() -> Any:
    """The module with the detectors. Leaves with a sentence where it is not installed."""
    try:
        return importlib.import_module("river.drift")
    except ModuleNotFoundError:
        raise SystemExit(NEEDED) from None


def distances(bundle: Bundle, features: Floats, chunk: int = 2000) -> Floats:
    """(n, D) -> (n,) mean distance to the k nearest samples of the memory, standardised by calibration frames."""
    contents = bundle.contents
    usual = _mean_distances(contents.reference.values, contents.calibration.values, contents.settings.k)
    found = []
    for begin in range(0, len(features), chunk):
        values = features[begin : begin + chunk] @ contents.projection.matrix.T + contents.projection.offset
        found.append(_mean_distances(contents.reference.values, values, contents.settings.k))
    standardised: Floats = ((np.concatenate(found) - usual.mean()) / usual.std()).astype(np.float32)
    return standardised


def _mean_distances(memory: Floats, values: Floats, k: int) -> Floats:
    squares = (memory**2).sum(1)[np.newaxis] - 2 * values @ memory.T + (values**2).sum(1)[:, np.newaxis]
    nearest = np.partition(squares, k - 1, axis=1)[:, :k]
    means: Floats = np.sqrt(np.maximum(nearest, 0)).mean(axis=1)
    return means


def alarms(detector: Any, series: Sequence[float], until: int | None = None) -> list[int]:
    """Frames at which it detects a drift; where `until` is given it stops after the first from there on."""
    found = []
    for frame, value in enumerate(series):
        detector.update(value)
        if detector.drift_detected:
            found.append(frame)
            if until is not None and frame >= until:
                break
    return found


def tuned(rival: Rival, series: Sequence[Sequence[float]]) -> float:
    """The most sensitive setting with at most WANTED false alarms per 10,000 frames of these series, by bisection."""
    drift = river()
    frames = sum(len(one) - COMMISSIONING for one in series)
    low, high = 0, len(rival.settings) - 1  # the last one is taken for granted
    while low < high:
        middle = (low + high) // 2
        wrong = sum(
            sum(frame >= COMMISSIONING for frame in alarms(rival.make(drift, rival.settings[middle]), one))
            for one in series
        )
        low, high = (low, middle) if wrong / frames * 10_000 <= WANTED else (middle + 1, high)
    return rival.settings[low]
