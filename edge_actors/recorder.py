"""Sums up what was recognised in a window; single predictions only where the device is set to report them."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from broker.messages import Float32Array, Predictions, Scored, Tick

from .runtime.actor import Actor

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
GRACE_S = 10.0
MAX_FRAMES = 8192  # a window ends early rather than grow without bound

Inbox = Scored | Tick
Outbox = Predictions


class Recorder(Actor[Inbox, Outbox]):
    """A window ends with the first tick after `window_s`, or with the device's last one."""

    def __init__(self, window_s: float = 60.0, each: bool = False) -> None:
        self.window_s, self.each = window_s, each
        self._begin(None)

    def _begin(self, at: float | None) -> None:
        self.began = at
        self.counts: Counter[str] = Counter()
        self.confidence, self.distance, self.score = array("f"), array("f"), array("f")
        self.frames: list[tuple[str, str]] = []  # frame and label, when each is reported

    def receive(self, message: Inbox) -> Iterator[Outbox]:
        began = self._window(message.at)
        if isinstance(message, Scored):
            self._add(message)
            over = len(self.score) >= MAX_FRAMES
        else:
            over = message.last or message.at - began >= self.window_s
        if over:
            yield from self._end(message.at, message.at - began)

    def _window(self, at: float) -> float:
        """When the present window began."""
        if self.began is None or at - self.began > 2 * self.window_s + GRACE_S:
            self._begin(at)  # what is far too old was reported before this actor was rebuilt
            return at
        return self.began

    def _add(self, scored: Scored) -> None:
        distances = scored.distances.numbers()
        self.counts[scored.label] += 1
        self.confidence.append(scored.confidence)
        self.distance.append(sum(distances) / len(distances) if distances else 0.0)
        self.score.append(scored.score)
        if self.each:
            self.frames.append((scored.frame, scored.label))

    def _end(self, at: float, seconds: float) -> Iterator[Outbox]:
        if self.score:  # a window without frames says nothing that the telemetry does not
            labels = sorted(self.counts)
            place = {label: index for index, label in enumerate(labels)}
            yield Predictions(
                at=at,
                seconds=seconds,
                frames=len(self.score),
                labels=tuple(labels),
                counts=tuple(self.counts[label] for label in labels),
                confidence=_quantiles(self.confidence),
                distance=_quantiles(self.distance),
                score=_quantiles(self.score),
                each_frame=tuple(frame for frame, _ in self.frames),
                each_label=tuple(place[label] for _, label in self.frames),
            )
        self._begin(at)

    def state(self) -> dict[str, Any]:
        return {
            "began": self.began,
            "counts": dict(self.counts),
            "numbers": [_packed(numbers) for numbers in (self.confidence, self.distance, self.score)],
            "frames": self.frames,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.began, self.counts = state["began"], Counter(state["counts"])
        self.confidence, self.distance, self.score = (array("f", packed.numbers()) for packed in state["numbers"])
        self.frames = [(frame, label) for frame, label in state["frames"]]

    def restarted(self) -> None:
        self._begin(None)  # what the last process recognised lies in its wall time


def _packed(values: array[float]) -> Float32Array:
    return Float32Array(np.asarray(values, "<f4").tobytes())


def _quantiles(values: array[float]) -> Float32Array:
    return Float32Array(np.quantile(np.frombuffer(values, np.float32), QUANTILES).astype("<f4").tobytes())
