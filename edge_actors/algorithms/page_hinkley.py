"""The seed's detector: a Page-Hinkley test of the mean distance to the nearest neighbours, frame by frame.

Kept exactly as chapter 5.2.3 prints it, to compare with and for the smallest devices. What the listing leaves open
stands in the settings; as printed, its false alarm rate is what it is, and no threshold follows from a wanted one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

from .cusum import threshold_for
from .detector import Detector, Observation

ADAPTIVE_K = 0.25  # alpha, in spreads of the distance, where thresholds adapt


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """The seed's numbers, in the units of the distance."""

    threshold: float = 50.0
    alpha: float = 0.005
    entry_factor: float = 0.0  # times the mean that a frame must lie away to begin a drift; the listing asks nothing
    exit_factor: float = 1.2  # times the mean below which one frame ends it
    cooldown_s: float = 0.0  # between two alarms; the flow chart has one, the listing none
    adaptive: bool = (
        False  # alpha and threshold in learned spreads, by the wanted number of frames between false alarms
    )
    reference: bool = False  # begin with the distances of the calibration frames instead of with nothing


class PageHinkley(Detector):
    """The running mean and variance take every frame in, those of a drift as well; so it was printed."""

    name, watches, ends_itself = "page-hinkley", "knn-distance", True

    def __init__(
        self,
        printed: Printed | None = None,
        reference: tuple[int, float, float] = (0, 0.0, 0.0),
        frames: float = 200_000,
    ) -> None:
        """`reference`: frames, mean and variance of their mean distance, used where `printed` says so."""
        self.printed = printed or Printed()
        self.count, self.mean, self.variance = reference if self.printed.reference else (0, 0.0, 0.0)
        self._in_spreads = threshold_for(ADAPTIVE_K, frames)
        self._alarmed_at: float | None = None
        self._sum = self._least = 0.0
        self.in_drift = False

    @property
    def threshold(self) -> float:  # type: ignore[override]
        return self._in_spreads * self._spread() if self.printed.adaptive else self.printed.threshold

    def learn(self, seen: Observation) -> None:
        """The warm-up: only mean and variance."""
        if seen.distances:
            self._take(sum(seen.distances) / len(seen.distances))

    def update(self, seen: Observation) -> float:
        if not seen.distances:
            return 0.0
        distance = sum(seen.distances) / len(seen.distances)
        self._take(distance)
        alpha = ADAPTIVE_K * self._spread() if self.printed.adaptive else self.printed.alpha
        self._sum += distance - self.mean - alpha
        self._least = min(self._least, self._sum)
        statistic = self._sum - self._least
        if self.in_drift:
            if distance < self.mean * self.printed.exit_factor:
                self.reset()
        elif statistic > self.threshold:
            if not self._may_speak(seen.at, distance):
                return self.threshold
            self.in_drift, self._alarmed_at = True, seen.at
        return statistic

    def holds(self) -> bool:
        return self.in_drift

    def ended(self) -> bool:
        return not self.in_drift

    def reset(self) -> None:
        self._sum = self._least = 0.0
        self.in_drift = False

    def state(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "mean": self.mean,
            "variance": self.variance,
            "sum": self._sum,
            "least": self._least,
            "in_drift": self.in_drift,
            "alarmed_at": self._alarmed_at,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.count, self.mean, self.variance = state["count"], state["mean"], state["variance"]
        self._sum, self._least = state["sum"], state["least"]
        self.in_drift, self._alarmed_at = state["in_drift"], state["alarmed_at"]

    def _take(self, distance: float) -> None:
        """Running mean and variance (Welford 1962)."""
        self.count += 1
        before = distance - self.mean
        self.mean += before / self.count
        self.variance += (before * (distance - self.mean) - self.variance) / self.count

    def _spread(self) -> float:
        return max(sqrt(self.variance), 1e-6 * abs(self.mean), 1e-12)

    def _may_speak(self, at: float, distance: float) -> bool:
        calm = self._alarmed_at is None or at - self._alarmed_at >= self.printed.cooldown_s
        return calm and distance > self.mean * self.printed.entry_factor
