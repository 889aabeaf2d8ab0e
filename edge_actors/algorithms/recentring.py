"""Where the whole stream moved: a map of its features back to where the memory expects them.

Mean and spread of a window of the stream are brought to those of the calibration frames (Li et al. 2016, AdaBN; Sun
& Saenko 2016), after the classes of these were weighed as they occur in the window: a class that is merely frequent
must not move the others. No frame gets a label. Whether a map helps shows in the margins: how much nearer the own
class is than its nearest rival. (The share of the votes tells less, and a map that does harm may raise it.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Floats, floats, packed
from .calibration import Calibration
from .metrics import between
from .roster import Roster
from .scores import NEAREST

SURE = 1.0  # standard errors by which margins have to grow
CHANCE = 2.0  # times the variance of normal numbers that logarithms of spreads differ by: features have long tails
MOST_CLASSES_LOST = 1  # of those the memory sees in the window as it is
NARROWEST, WIDEST = 0.5, 2.0  # of the scale of one dimension
MIX_PRIOR = 100.0  # frames that the mix of classes in calibration weighs against that of the window
ROUNDS = 3  # the mix is found by voting on corrected frames, so correction and mix are found in turns


@dataclass(frozen=True, slots=True)
class Correction:
    """z -> scale z + offset, for one frame (D,) or many (n, D)."""

    scale: Floats  # (D,)
    offset: Floats  # (D,)

    def __call__(self, values: Floats) -> Floats:
        moved: Floats = values * self.scale
        moved += self.offset
        return moved

    def state(self) -> dict[str, Any]:
        return {"scale": packed(self.scale), "offset": packed(self.offset)}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Correction:
        return cls(floats(state["scale"]), floats(state["offset"]))


class Fit(NamedTuple):
    """The best map found, and whether it may be used."""

    name: str
    correction: Correction
    statistic: float  # mean growth of the margins of frames it was not fitted on, in standard errors
    threshold: float
    reason: str  # why it may not be used; empty where it may


def fit(window: Floats, memory: Roster[Any], calibration: Calibration, used: Correction | None = None) -> Fit:
    """The better of two maps for frames (n, D), n >= 4, fitted on the even ones and judged on the odd ones."""
    usual, judging, margins = _Usual(calibration), window[1::2], _Margins(memory)
    before, seen = margins.of(judging if used is None else used(judging))
    found = []
    for name, correction in _maps(window[::2], memory, usual).items():
        now, labels = margins.of(correction(judging))
        lost = len(set(seen) - set(labels))
        found.append((lost <= MOST_CLASSES_LOST, _standard_errors(now - before), name, lost))
    allowed, statistic, name, lost = max(found)
    reason = ""
    if not allowed:
        reason = f"{lost} of {len(set(seen))} classes would no longer be recognised"
    elif statistic <= SURE:
        reason = "no map makes the classes clearer than they are"
    return Fit(name, _maps(window, memory, usual)[name], statistic, SURE, reason)


def _maps(window: Floats, memory: Roster[Any], usual: _Usual) -> dict[str, Correction]:
    """Fitted on frames (n, D), by name."""
    mean, spread = window.mean(axis=0), np.maximum(window.std(axis=0), 1e-6)
    mix = usual.shares
    for _ in range(ROUNDS):
        to_mean, to_spread = usual.moments(mix)
        one = np.full_like(mean, np.sqrt((to_spread**2).sum() / (spread**2).sum()))
        mix = usual.mix(memory.votes(_map(one, mean, to_mean)(window)))
    own = np.log(np.maximum(to_spread, 1e-6) / spread)
    # What the logarithms differ by chance is no property of the dimensions (shrinkage as in James & Stein 1961).
    chance = CHANCE * (1 / (2 * len(window)) + 1 / (2 * usual.frames))
    trust = max(0.0, 1 - chance / max(float(own.var()), 1e-12))
    each = np.exp(own.mean() + trust * (own - own.mean()))
    return {
        "shift and scale": _map(one, mean, to_mean),
        "shift and scale per dimension": _map(each, mean, to_mean),
    }


class _Usual:
    """Mean and variance of the calibration frames of each class."""

    def __init__(self, calibration: Calibration) -> None:
        labels = np.array(calibration.labels)
        self.frames = len(labels)
        self.classes = sorted(set(calibration.labels))
        own = [calibration.values[labels == label] for label in self.classes]
        self.means = np.array([rows.mean(axis=0) for rows in own])
        self.variances = np.array([rows.var(axis=0) for rows in own])
        self.shares = np.array([len(rows) for rows in own]) / len(labels)

    def mix(self, votes: Sequence[str]) -> Any:
        counts = np.array([votes.count(label) for label in self.classes]) + MIX_PRIOR * self.shares
        return counts / counts.sum()

    def moments(self, mix: Any) -> tuple[Floats, Floats]:
        """Mean and spread of frames whose classes are mixed so."""
        mean = mix @ self.means
        return mean, np.sqrt(mix @ (self.variances + (self.means - mean) ** 2))


def _map(scale: Floats, mean: Floats, to_mean: Floats) -> Correction:
    scale = np.clip(scale, NARROWEST, WIDEST)
    return Correction(scale.astype(np.float32), (to_mean - scale * mean).astype(np.float32))


class _Margins:
    """How much nearer the own class is than its rival (log), for many frames at once."""

    def __init__(self, memory: Roster[Any]) -> None:
        self.memory = memory
        self.rows = np.array([memory.row(row) for row in range(memory.size)], np.float32)
        self.labels = np.array([memory.names.get(label, label) for label in memory.labels])

    def of(self, frames: Floats) -> tuple[Floats, list[str]]:
        """(n, D) -> (n,), and the labels."""
        votes = self.memory.votes(frames)
        gaps = np.maximum(between(self.memory.distance, frames, self.rows), NEAREST)
        own = self.labels == np.array(votes)[:, None]
        nearest = np.where(own, gaps, np.inf).min(axis=1)
        rival = np.where(own, np.inf, gaps).min(axis=1)
        margins = np.log(rival / nearest)
        return np.where(np.isfinite(margins), margins, 0.0).astype(np.float32), votes


def _standard_errors(growth: Floats) -> float:
    return float(growth.mean() / max(growth.std() / np.sqrt(len(growth)), 1e-6))
