"""How long something took lately: the last few hundred times, and quantiles of them."""

from __future__ import annotations

from array import array

ROOM = 512  # the 99th percentile hangs on the five longest


class Latency:
    """A ring of durations, written by the loop and read by the rim."""

    __slots__ = ("_at", "_ring")

    def __init__(self) -> None:
        self._ring = array("q", [-1] * ROOM)  # nanoseconds; -1: not used yet
        self._at = 0

    def add(self, duration_ns: int) -> None:
        self._ring[self._at] = duration_ns
        self._at = (self._at + 1) % ROOM

    def quantiles_us(self, *shares: float) -> list[float]:
        """The durations, in microseconds, that these shares of them do not exceed; empty while there are none."""
        known = sorted(ns for ns in self._ring.tolist() if ns >= 0)  # tolist is one step: the loop may go on writing
        return [known[min(int(share * len(known)), len(known) - 1)] / 1000 for share in shares] if known else []
