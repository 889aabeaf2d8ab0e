"""Tells a camera that shows nothing of the world: its picture is frozen, black or saturated.

Some bytes of a picture, spread evenly over all of it, stand for the whole. A live sensor has noise, so two
of its pictures are never the same there; a black or saturated picture is one in which hardly any of them is anything
else, which no picture of something is, however dark or bright.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from typing import Any

import numpy as np

LOOKED_AT = 2000  # bytes of a picture, about
DARK, BRIGHT = 20, 240  # of 255: at most, at least
HOPELESS = 0.99  # share of them that makes a picture black or saturated
FROZEN_FRAMES = 30  # at least, all the same
BLANK_FRAMES = 10  # black or saturated ones in a row
WELL_FRAMES = 10  # in a row that end a fault; twice as many each time it comes back at once
MOST_WELL_FRAMES = 640

FAULTS = ("frozen", "black", "saturated")


@dataclass(frozen=True, slots=True)
class Look:
    """What one picture shows: the bytes that were looked at, and the shares of dark and bright ones among them."""

    few: bytes
    dark: float = 0.0
    bright: float = 0.0


def look_at(pixels: bytes, row: int) -> Look:
    """A picture's bytes, `row` of them a line."""
    few = np.frombuffer(pixels, np.uint8)[:: _step(len(pixels), row)].copy()
    size = max(few.size, 1)
    return Look(few.tobytes(), np.count_nonzero(few <= DARK) / size, np.count_nonzero(few >= BRIGHT) / size)


@lru_cache(maxsize=4)
def _step(size: int, row: int) -> int:
    """How far apart the bytes are that are looked at, such that they fall on all columns and colours."""
    step = max(1, size // LOOKED_AT)
    while gcd(step, max(row, 1)) > 1:
        step += 1
    return step


class Fault:
    """One way to be broken: begins after `frames` bad pictures in a row over at least `seconds`, and ends after a
    number of good ones in a row, which doubles while the fault keeps coming back, so that it is not told too often.
    """

    def __init__(self, frames: int, seconds: float = 0.0) -> None:
        self.frames, self.seconds = frames, seconds
        self.episode, self.began = "", 0.0  # frame and message time of the first bad picture
        self.on = False
        self.bad = 0  # pictures since then; while it is on, good ones count as well
        self.lasted = 0  # that many when it began or ended last
        self.good = 0  # pictures in a row
        self.relapses = 0  # how often it came back after being well only for a short while

    @property
    def patience(self) -> int:
        return int(min(WELL_FRAMES << self.relapses, MOST_WELL_FRAMES))

    def update(self, bad: bool, frame: str, at: float) -> str:
        """`begin`, `end`, or nothing to tell."""
        if not self.on:
            if not bad:
                self.bad, self.good = 0, self.good + 1
                return ""
            return self._suspect(frame, at)
        self.bad += 1
        self.good = 0 if bad else self.good + 1
        if self.good < self.patience:
            return ""
        self.lasted, self.bad = self.bad, 0
        self.on, self.relapses = False, self.relapses + 1
        return "end"

    def state(self) -> dict[str, Any]:
        return {
            "episode": self.episode,
            "began": self.began,
            "on": self.on,
            "bad": self.bad,
            "good": self.good,
            "relapses": self.relapses,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.episode, self.began, self.on = state["episode"], state["began"], state["on"]
        self.bad, self.good, self.relapses = state["bad"], state["good"], state["relapses"]

    def _suspect(self, frame: str, at: float) -> str:
        if not self.bad:
            self.episode, self.began = frame, at
        self.bad += 1
        if self.bad < self.frames or at - self.began < self.seconds:
            return ""
        if self.good >= 10 * self.patience:
            self.relapses = 0
        self.on, self.good, self.lasted = True, 0, self.bad
        return "begin"
