"""The map that the memory uses while the whole stream is displaced, and when to stop using it."""

from __future__ import annotations

from typing import Any

from .algorithms.recentring import Correction
from .algorithms.returned import Returned
from .algorithms.scene_gate import SceneGate
from .arrays import Floats

REMEMBERED_EPISODES = 8  # whose maps are kept for labels that come later


class Recentred:
    """No map at first; one from `begin` until `end`. The maps of the last episodes are kept for late labels."""

    def __init__(self, scene: float) -> None:
        self.scene = scene
        self.adaptation = ""  # that brought the map in use
        self.correction: Correction | None = None
        self._returned: Returned | None = None
        self._gate = SceneGate(scene)
        self._past: dict[str, Correction] = {}  # by episode

    def begin(self, adaptation: str, episode: str, correction: Correction, returned: Returned) -> None:
        self.adaptation, self.correction, self._returned = adaptation, correction, returned
        self._gate = SceneGate(self.scene)
        self._past.pop(episode, None)
        self._past[episode] = correction
        if len(self._past) > REMEMBERED_EPISODES:
            del self._past[next(iter(self._past))]

    def end(self) -> None:
        self.adaptation, self.correction, self._returned = "", None, None

    def is_over(self, values: Floats) -> bool:
        """Takes a frame (D,) as it came; whether the stream is where it was before the drift."""
        if self._returned is None or not self._gate.opens(values):
            return False
        return self._returned.update(values)

    def of(self, episode: str, values: Floats) -> Floats:
        """Where a sample of this episode lies among those of the memory."""
        correction = self._past.get(episode)
        return values if correction is None else correction(values)

    def state(self) -> dict[str, Any]:
        return {
            "adaptation": self.adaptation,
            "correction": None if self.correction is None else self.correction.state(),
            "returned": None if self._returned is None else self._returned.state(),
            "gate": self._gate.state(),
            "past": [[episode, one.state()] for episode, one in self._past.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.adaptation = state["adaptation"]
        self.correction = Correction.of(state["correction"]) if state["correction"] else None
        self._returned = Returned.of(state["returned"]) if state["returned"] else None
        self._gate.restore(state["gate"])
        self._past = {episode: Correction.of(one) for episode, one in state["past"]}
