"""Rim: takes pictures from a source and leaves them as frames at the door, in the size the extractor wants."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

from broker.messages import Embedded, Frame

from .clock import MessageClock
from .errors import CameraError, PictureError
from .pictures import Raw
from .ports.camera import Shot, Source
from .runtime.door import Doors

log = logging.getLogger(__name__)

STALLED_S = 10.0  # without a picture for so long, the camera is named as stalled
STALE_S = 2.0  # a picture that is older when it could be shown is not shown any more
STALE_IN_A_ROW = 10  # that many, and the source is opened anew
BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What the extractor's input looks like."""

    height: int
    width: int
    channels: int = 3


class Camera:
    """A thread of its own. `fit` makes pixels of this shape from an encoded or raw picture, or raises PictureError.

    Without a shape the device takes no pictures, only what a model elsewhere made of them. With `every` no frame is
    dropped: the next picture waits until the loop has taken the one before. `ended` is called when a source that is
    to be played `once` is at its end and its last frame is taken.
    """

    def __init__(
        self,
        source: Source,
        fit: Callable[[bytes | Raw], bytes],
        shape: Shape | None,
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
        stale_s: float = STALE_S,
        backoff_s: float = BACKOFF_S,
    ) -> None:
        self.source, self.fit, self.shape = source, fit, shape
        self.doors, self.clock, self.boot = doors, clock, boot
        self.interval_s = 1 / fps if fps > 0 and not source.paced else 0.0
        self.every, self.once, self.ended = every, once, ended
        self.stalled_s, self.stale_s, self.backoff_s = stalled_s, stale_s, backoff_s
        self.frames = self.unreadable = self.stale = self.restarts = 0
        self._stopping = stopping
        self._waiting_since: float | None = None  # for the source; None while it is not the source that is awaited
        self._due = 0.0  # when the next picture may be shown, in this round of the source or the next
        self._broken = False
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Ends the thread, and waits until the loop has taken what is at the door."""
        self._stopping.set()
        self._thread.join(timeout_s)
        self._wait_until_taken(timeout_s)

    def faults(self) -> frozenset[str]:
        """What is wrong: camera_stalled."""
        since = self._waiting_since
        stalled = self._broken or (since is not None and time.monotonic() - since > self.stalled_s)
        return frozenset({"camera_stalled"}) if stalled else frozenset()

    def metrics(self) -> dict[str, float]:
        counts = {
            "frames": self.frames,
            "unreadable": self.unreadable,
            "stale": self.stale,
            "restarts": self.restarts,
        }
        return {f"camera_{what}": float(count) for what, count in counts.items()}

    def _run(self) -> None:
        pause = self.backoff_s
        while not self._stopping.is_set():
            before = self.frames
            whole = self._play()
            if self.once and whole:
                self._wait_until_taken()
                self.ended()
                return
            if self.frames > before:
                pause = self.backoff_s
            if not (whole and self.frames > before) and not self._stopping.is_set():
                self._broken = True
                self.restarts += 1
                self._stopping.wait(pause)
                pause = min(2 * pause, LONGEST_BACKOFF_S)

    def _play(self) -> bool:
        """One round of the source; False when it failed."""
        stale = 0
        shots = self.source.pictures()
        try:
            for shot in self._awaited(shots):
                message = self._message(shot)
                if self._is_stale(shot):
                    if (stale := stale + 1) >= STALE_IN_A_ROW:
                        log.warning("the camera's last %d pictures were older than %g s", stale, self.stale_s)
                        return False
                    continue
                self._broken, stale = False, 0
                if message is not None:
                    self._stopping.wait(max(0.0, self._due - time.monotonic()))
                    self._due = max(self._due, time.monotonic() - self.interval_s) + self.interval_s
                    self._show(message)
                if self._stopping.is_set():
                    return False
        except CameraError as error:
            log.warning("%s", error)
            return False
        finally:
            if isinstance(shots, Generator):
                shots.close()  # now, and not when the garbage is collected: the camera has to be let go of
        return True

    def _awaited(self, shots: Iterator[Shot]) -> Iterator[Shot]:
        """The same; keeps note of since when the next one is awaited."""
        while True:
            self._waiting_since = time.monotonic()
            shot = next(shots, None)
            self._waiting_since = None
            if shot is None:
                return
            yield shot

    def _is_stale(self, shot: Shot) -> bool:
        if self.stale_s == 0 or time.monotonic() - shot.taken <= self.stale_s:
            return False
        self.stale += 1
        return True

    def _message(self, shot: Shot) -> Frame | Embedded | None:
        """What to show, without its number and time; None for what no picture can be made of."""
        try:
            if isinstance(shot.picture, Embedded):
                return shot.picture
            if self.shape is None:
                raise PictureError("the bundle has no model for pictures: it takes features")
            shape, pixels = self.shape, self._pixels(shot.picture)
            return Frame(pixels=pixels, height=shape.height, width=shape.width, channels=shape.channels)
        except PictureError as error:
            self.unreadable += 1
            level = logging.WARNING if self.unreadable == 1 else logging.DEBUG
            log.log(level, "a picture was skipped: %s", error)
            return None

    def _pixels(self, picture: bytes | Raw | Frame) -> bytes:
        if not isinstance(picture, Frame):
            return self.fit(picture)
        if picture.channels not in (1, 3) or len(picture.pixels) != picture.height * picture.width * picture.channels:
            size = f"{picture.height} x {picture.width} x {picture.channels}"
            raise PictureError(f"a frame of {size} cannot have {len(picture.pixels)} bytes of pixels")
        layout = "GREY" if picture.channels == 1 else "RGB"
        return self.fit(Raw(picture.pixels, picture.height, picture.width, layout))

    def _wait_until_taken(self, timeout_s: float | None = None) -> None:
        for kind in (Frame, Embedded):
            if kind in self.doors.doors:
                self.doors.wait_until_taken(kind, timeout_s)

    def _show(self, message: Frame | Embedded) -> None:
        if self.every and not self.doors.wait_until_taken(type(message)):
            return  # closed
        self.frames += 1
        self.doors.post(replace(message, at=self.clock.now(), frame=f"{self.boot}-{self.frames}"))
