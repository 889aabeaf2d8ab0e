"""What has arrived and waits for the next transaction: bounded in messages and bytes."""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

from broker.connection import Delivery


class Arrived(NamedTuple):
    """A message as the broker delivered it."""

    topic: str
    payload: bytes
    delivery: Delivery


class Inbox:
    """The connection's thread puts, the worker's thread takes."""

    def __init__(self, room: int = 10_000, room_bytes: int = 64 << 20) -> None:
        self.room, self.room_bytes = room, room_bytes
        self._waiting: deque[Arrived] = deque()
        self._bytes = 0
        self._changed = threading.Condition()

    def put(self, arrived: Arrived, always: bool = False) -> bool:
        """Leaves a message; False when there is no room and it is not one to take `always`."""
        with self._changed:
            full = len(self._waiting) >= self.room or self._bytes + len(arrived.payload) > self.room_bytes
            if full and not always:
                return False
            self._waiting.append(arrived)
            self._bytes += len(arrived.payload)
            self._changed.notify()
            return True

    def take(self, most: int, most_bytes: int, timeout_s: float) -> list[Arrived]:
        """Whatever waits, in order, up to these bounds; waits for the first one. Empty when the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting, timeout_s)
            taken: list[Arrived] = []
            while self._waiting and len(taken) < most and most_bytes > 0:
                taken.append(self._waiting.popleft())
                most_bytes -= len(taken[-1].payload)
                self._bytes -= len(taken[-1].payload)
            return taken

    def __len__(self) -> int:
        return len(self._waiting)
