"""Says when a drift is over: the stream is as calibrated again, or what was new has long become usual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .departure import Departure
from .detector import Observation
from .naming import PROVISIONAL
from .recovery import CLASSES, Recovery

ADOPTED = 2000  # scenes in a row that provisional classes have to explain until the device watches again
STRANGE = CLASSES[-1] + 1.0  # what a frame counts as that is taken for a provisional class

BACK = "the stream looks as calibrated again"
USUAL_NOW = "provisional classes have explained all that was new for a long time"


class Ending:
    """A frame that is taken for a provisional class is as strange as it was before there was the class: the device
    has not returned to what it was made for. Only when such classes explain everything for 2,000 scenes they are
    adopted, so that a device that nobody looks after watches for the next drift.
    """

    def __init__(self, usual: Sequence[float], dimension: int) -> None:
        """`usual`: shares of the classes of scores among calibration frames; `dimension` of the features."""
        self.departure = Departure(dimension + 1)
        self.back, self.explained = Recovery(usual), Recovery(usual)
        self.adopted: set[str] = set()  # provisional classes that are no drift any more
        self._met: set[str] = set()  # those of this episode
        self._explained_scenes = 0

    @property
    def statistic(self) -> float:
        return self.back.value

    @property
    def threshold(self) -> float:
        return self.back.threshold

    def watch(self, seen: Observation) -> None:
        """Takes a frame outside of drift."""
        self.departure.watch(seen.place, seen.opened)
        for rule in (self.back, self.explained):
            rule.watch(seen.scene_score, seen.opened)

    def begin(self, scenes: int) -> None:
        """A drift began, and its evidence with the last `scenes` scenes, the present one included."""
        self.departure.begin(scenes)
        for rule in (self.back, self.explained):
            rule.begin(scenes)
        self._met, self._explained_scenes = set(), 0

    def update(self, seen: Observation) -> tuple[float, str]:
        """Takes a frame in drift: how far it departs from the usual, and why the drift is over, or nothing."""
        known = self.departure.update(seen.place, seen.opened, self.back.value > 0)
        departure = seen.scene_score if known is None else known
        novel = seen.label.startswith(PROVISIONAL) and seen.label not in self.adopted
        if novel:
            self._met.add(seen.label)
        self.back.update(STRANGE if novel else departure, seen.opened)
        self.explained.update(seen.scene_score if novel else departure, seen.opened)
        self._explained_scenes = self._explained_scenes + seen.opened if self.explained.value > 0 else 0
        if self.back.value > self.back.threshold:
            return departure, BACK
        if self._explained_scenes >= ADOPTED:
            self.adopted |= self._met
            return departure, USUAL_NOW
        return departure, ""

    def state(self) -> dict[str, Any]:
        return {
            "departure": self.departure.state(),
            "back": self.back.state(),
            "explained": self.explained.state(),
            "adopted": sorted(self.adopted),
            "met": sorted(self._met),
            "explained_scenes": self._explained_scenes,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.departure.restore(state["departure"])
        self.back.restore(state["back"])
        self.explained.restore(state["explained"])
        self.adopted, self._met = set(state["adopted"]), set(state["met"])
        self._explained_scenes = state["explained_scenes"]
