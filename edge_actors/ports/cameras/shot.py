"""What a camera gives, and what every kind of camera needs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from broker.messages import Embedded, Frame

from ...pictures import Raw

MAX_PICTURE_BYTES = 32 << 20
POLL_S = 0.2  # how long a source that has nothing goes without a look at whether it should stop
SILENCE_S = 10.0  # a live source that gives nothing for so long is opened anew

Picture = bytes | Raw | Frame | Embedded  # bytes: encoded


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture, and when the camera took it by time.monotonic()."""

    picture: Picture
    taken: float = field(default_factory=time.monotonic)


class Source(Protocol):
    """Where pictures come from."""

    paced: bool  # whether the source itself decides how fast they come

    def pictures(self) -> Iterator[Shot]:
        """The pictures of one round. Raises CameraError when the source cannot be used, or no longer."""


class Pace:
    """Which pictures of a live camera to take, so that there are `fps` a second; 0: all of them."""

    def __init__(self, fps: float) -> None:
        self._interval_s = 1 / fps if fps > 0 else 0.0
        self._due = 0.0

    def takes(self, at: float) -> bool:
        """Whether to take the picture of this moment, a little before its time rather than a whole picture after."""
        if at < self._due - 0.3 * self._interval_s:
            return False
        late = at - self._due >= self._interval_s  # nothing came for a while: the beat begins anew
        self._due = (at if late else self._due) + self._interval_s
        return True
