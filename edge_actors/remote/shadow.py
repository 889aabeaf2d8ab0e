"""Runs two bundles on the same live frames, off the loop, and says how the new one compares."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import numpy as np

from broker.messages import Frame, Message

from .. import pictures
from ..algorithms.naming import PROVISIONAL
from ..algorithms.votes import UNKNOWN
from ..arrays import Floats
from ..bundle import Bundle
from ..errors import ShadowError

SHARE = 0.2  # of the time that the shadow may work: the rest belongs to the device
FLOOR_US = 1000.0  # no model is called slow for less
UNJUDGED = (PROVISIONAL, UNKNOWN)  # labels of the old bundle with which a new one need not agree


class Window:
    """The newest frame that passed a door; `look` is for the thread that posts, and never waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: Frame | None = None

    def look(self, message: Message) -> None:
        if isinstance(message, Frame):
            with self._changed:
                self._frame = message
                self._changed.notify()

    def next(self, timeout_s: float) -> Frame | None:
        """The newest frame since the last call, or the next one; None when none comes in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None, timeout_s)
            frame, self._frame = self._frame, None
            return frame


class Runner:
    """A bundle with a memory of its own."""

    def __init__(self, bundle: Bundle, memory: Mapping[str, Any] | None = None) -> None:
        self.bundle, self.memory = bundle, bundle.memory()
        if memory is not None:
            self.memory.restore(memory)
        self.took_us: list[float] = []

    def label(self, frame: Frame) -> str:
        """What the bundle takes a frame for. Raises ShadowError."""
        shape = self.bundle.input_shape
        pixels = np.frombuffer(frame.pixels, np.uint8).reshape(frame.height, frame.width, frame.channels)
        fitted = pictures.fit(pixels, *shape)
        began = time.perf_counter_ns()
        try:
            label = self.memory.vote(self._values(fitted)).label
        except (ValueError, RuntimeError) as error:  # the interpreter's, or the arithmetic's
            raise ShadowError(f"it fails on a frame: {str(error).splitlines()[0]}") from None
        self.took_us.append((time.perf_counter_ns() - began) / 1000)
        return label

    def _values(self, pixels: pictures.Pixels) -> Floats:
        if self.bundle.interpreter is None:
            raise ShadowError("it has no model, so that it takes no pictures")
        embedding = self.bundle.interpreter.embed(pixels)
        if not np.isfinite(embedding).all():
            raise ShadowError("its model gives something that is no finite number")
        values, _ = self.bundle.contents.projection.project(embedding)
        return values


def compare(
    old: Runner,
    new: Runner,
    window: Window,
    frames: int,
    go_on: Callable[[], bool],
    progress: Callable[[float], object],
) -> dict[str, float] | None:
    """Metrics over so many frames; None when `go_on` said no before. Raises ShadowError."""
    judged = agreed = seen = 0
    while seen < frames:
        if not go_on():
            return None
        if (frame := window.next(0.5)) is None:
            continue
        began = time.monotonic()
        before, after = old.label(frame), new.label(frame)
        seen += 1
        if not before.startswith(UNJUDGED):
            judged += 1
            agreed += before == after
        progress(seen / frames)
        time.sleep((time.monotonic() - began) * (1 / SHARE - 1))
    return {
        "shadow_frames": float(seen),
        "agreement": agreed / judged if judged else 1.0,
        "old_p50_us": median(old.took_us) if old.took_us else 0.0,
        "new_p50_us": median(new.took_us) if new.took_us else 0.0,
    }


def objection(metrics: Mapping[str, float], least_agreement: float, slower: float) -> str:
    """Why a bundle with these metrics may not try; empty where it may."""
    if metrics["agreement"] < least_agreement:
        return (
            f"it agrees with the present bundle on {metrics['agreement']:.0%} of the frames;"
            f" at least {least_agreement:.0%} are wanted"
        )
    return too_slow(metrics["new_p50_us"], metrics["old_p50_us"], slower)


def too_slow(new_us: float, old_us: float, slower: float) -> str:
    """Why a bundle that takes so long is too slow; empty where it is not."""
    if new_us > max(old_us * slower, FLOOR_US):
        return (
            f"a frame takes {new_us / 1000:.1f} ms, more than {slower:g} times the {old_us / 1000:.1f} ms of before"
        )
    return ""
