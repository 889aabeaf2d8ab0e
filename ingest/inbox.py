"""What has arrived and waits for the next transaction: bounded in messages and bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .intake import Record
from .stores.batch import Letter


class Arrived(NamedTuple):
    """A message as it was read, and what its acknowledgement needs."""

    taken: Record | Letter | None  # None: nothing to store, only to acknowledge
    size: int
    session: int
    packet_id: int | None  # None: nobody waits for an acknowledgement


class Inbox:
    """The link's thread puts, the worker's thread takes; `on_room` is called when there is room after it was full."""

    def __init__(
        self, room: int = 16_000, room_bytes: int = 32 << 20, on_room: Callable[[], object] = lambda: None
    ) -> None:
        self.room, self.room_bytes, self._on_room = room, room_bytes, on_room
        self._waiting: deque[Arrived] = deque()
        self._bytes = 0
        self._full = False
        self._changed = threading.Condition()

    @property
    def full(self) -> bool:
        """Whether whoever puts is to wait until `on_room`."""
        return self._full

    def put(self, arrived: Sequence[Arrived]) -> bool:
        """Leaves messages; False when no more are to come for now. Those given are taken all the same."""
        with self._changed:
            self._waiting.extend(arrived)
            self._bytes += sum([message.size for message in arrived])
            self._full = len(self._waiting) >= self.room or self._bytes >= self.room_bytes
            self._changed.notify()
            return not self._full

    def take(self, most: int, most_bytes: int, timeout_s: float) -> list[Arrived]:
        """Whatever waits, in order, up to these bounds; waits for the first one. Empty when the time is over."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)
            taken: list[Arrived] = []
            while self._waiting and len(taken) < most and most_bytes > 0:
                taken.append(self._waiting.popleft())
                most_bytes -= taken[-1].size
            self._bytes -= sum([message.size for message in taken])
            room_again = self._full and len(self._waiting) <= self.room // 2 and self._bytes <= self.room_bytes // 2
            if room_again:
                self._full = False
        if room_again:
            self._on_room()
        return taken

    def __len__(self) -> int:
        return len(self._waiting)
