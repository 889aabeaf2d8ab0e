"""What people's labels say about what the device had taken frames for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .naming import PROVISIONAL
from .neighbours import UNKNOWN

REMEMBERED = 1024  # samples, the oldest give way


class Verdicts:
    """Remembers what samples were taken for, until a person says what they are; each sample counts once."""

    def __init__(self) -> None:
        self._taken_for: dict[str, str] = {}  # sample -> label

    def note(self, sample: str, label: str) -> None:
        """A sample was taken for `label`; one without a known label says nothing about recognition."""
        if label == UNKNOWN or label.startswith(PROVISIONAL):
            return
        self._taken_for[sample] = label
        if len(self._taken_for) > REMEMBERED:
            del self._taken_for[next(iter(self._taken_for))]

    def right(self, sample: str, verdict: str, label: str) -> bool | None:
        """Whether the device was right; None where that does not follow, or was said before."""
        taken_for = self._taken_for.get(sample)
        if taken_for is None or not (verdict == "is" or (verdict == "is-not" and label == taken_for)):
            return None
        del self._taken_for[sample]
        return verdict == "is" and label == taken_for

    def state(self) -> dict[str, Any]:
        return dict(self._taken_for)

    def restore(self, state: Mapping[str, Any]) -> None:
        self._taken_for = dict(state)
