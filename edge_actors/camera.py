"""Rim: takes pictures from a source and leaves them as frames at the door, in the size the extractor wants."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from broker.messages import Frame

from .clock import MessageClock
from .errors import CameraError, PictureError
from .ports.camera import Source, as_picture
from .runtime.door import Doors

log = logging.getLogger(__name__)

STALLED_S = 10.0  # without a picture for so long, the camera is named as stalled
BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What the extractor's input looks like."""

    height: int
    width: int
    channels: int = 3


class Camera:
    """A thread of its own. `fit` makes pixels of this shape from an encoded picture, or raises PictureError.

    With `every` no frame is dropped: the next picture waits until the loop has taken the one before. `ended` is
    called when a source that is to be played `once` is at its end and its last frame is taken.
    """

    def __init__(
        self,
        source: Source,
        fit: Callable[[bytes], bytes],
        shape: Shape,
        *,
        doors: Doors,
        clock: MessageClock,
        boot: str,
        stopping: threading.Event,
        fps: float = 0.0,
        every: bool = False,
        once: bool = False,
        ended: Callable[[], None] = lambda: None,
        stalled_s: float = STALLED_S,
        backoff_s: float = BACKOFF_S,
    ) -> None:
        self.source, self.fit, self.shape = source, fit, shape
        self.doors, self.clock, self.boot = doors, clock, boot
        self.interval_s = 1 / fps if fps > 0 and not source.paced else 0.0
        self.every, self.once, self.ended = every, once, ended
        self.stalled_s, self.backoff_s = stalled_s, backoff_s
        self.frames = self.unreadable = 0
        self._stopping = stopping
        self._waiting_since: float | None = None  # for the source; None while it is not the source that is awaited
        self._broken = False
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Ends the thread, and waits until the loop has taken what is at the door."""
        self._stopping.set()
        self._thread.join(timeout_s)
        self.doors.wait_until_taken(Frame, timeout_s)

    def faults(self) -> frozenset[str]:
        """What is wrong: camera_stalled."""
        since = self._waiting_since
        stalled = self._broken or (since is not None and time.monotonic() - since > self.stalled_s)
        return frozenset({"camera_stalled"}) if stalled else frozenset()

    def metrics(self) -> dict[str, float]:
        return {"camera_frames": float(self.frames), "camera_unreadable": float(self.unreadable)}

    def _run(self) -> None:
        pause = self.backoff_s
        while not self._stopping.is_set():
            before = self.frames
            whole = self._play()
            if self.once and whole:
                self.doors.wait_until_taken(Frame)
                self.ended()
                return
            if whole and self.frames > before:
                pause = self.backoff_s
            elif not self._stopping.is_set():
                self._broken = True
                self._stopping.wait(pause)
                pause = min(2 * pause, LONGEST_BACKOFF_S)

    def _play(self) -> bool:
        """One round of the source; False when it failed."""
        due = time.monotonic()
        pictures = self._awaited(self.source.pictures())
        try:
            for picture in pictures:
                self._broken = False
                if (pixels := self._pixels(picture)) is not None:
                    self._stopping.wait(max(0.0, due - time.monotonic()))
                    due = max(due, time.monotonic() - self.interval_s) + self.interval_s
                    self._show(pixels)
                if self._stopping.is_set():
                    return False
        except CameraError as error:
            log.warning("%s", error)
            return False
        return True

    def _awaited(self, pictures: Iterator[bytes | Frame]) -> Iterator[bytes | Frame]:
        """The same pictures; keeps note of since when the next one is awaited."""
        while True:
            self._waiting_since = time.monotonic()
            picture = next(pictures, None)
            self._waiting_since = None
            if picture is None:
                return
            yield picture

    def _pixels(self, picture: bytes | Frame) -> bytes | None:
        try:
            if isinstance(picture, bytes):
                return self.fit(picture)
            if (picture.height, picture.width, picture.channels) == (
                self.shape.height,
                self.shape.width,
                self.shape.channels,
            ) and len(picture.pixels) == self.shape.height * self.shape.width * self.shape.channels:
                return picture.pixels
            return self.fit(as_picture(picture))
        except PictureError as error:
            self.unreadable += 1
            level = logging.WARNING if self.unreadable == 1 else logging.DEBUG
            log.log(level, "a picture was skipped: %s", error)
            return None

    def _show(self, pixels: bytes) -> None:
        if self.every and not self.doors.wait_until_taken(Frame):
            return  # closed
        self.frames += 1
        self.doors.post(
            Frame(
                at=self.clock.now(),
                frame=f"{self.boot}-{self.frames}",
                pixels=pixels,
                height=self.shape.height,
                width=self.shape.width,
                channels=self.shape.channels,
            )
        )
