"""Bounded inboxes through which the rim's threads post into the loop.

Every door has a size and says what gives way: the oldest message (`drop_oldest`), or the new one, which is
refused so that the sender keeps it. What is dropped or refused is counted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from broker.messages import Message


@dataclass(frozen=True, slots=True)
class Door:
    """How many messages may wait, what happens to one more, and whether `at` was set by the device's own clock."""

    room: int
    drop_oldest: bool = False
    tells_time: bool = False  # where not, the device sets `at` when it lets a message in


class Doors:
    """All doors of a device, tried in the order of the table; safe to post to from any thread."""

    def __init__(self, doors: Mapping[type[Message], Door]) -> None:
        self.doors = dict(doors)
        self._waiting: dict[type[Message], deque[Message]] = {kind: deque() for kind in doors}
        self._watched: dict[type[Message], Callable[[Message], object]] = {}
        self._turned_away: dict[type[Message], int] = dict.fromkeys(doors, 0)
        lock = threading.RLock()  # a signal handler may close the doors while its own thread is inside
        self._changed = threading.Condition(lock)  # something came in
        self._taken = threading.Condition(lock)  # something was taken out
        self._closed = False

    def post(self, message: Message) -> bool:
        """Leaves a message at its door; False when it was refused."""
        kind = type(message)
        door = self.doors[kind]
        if look := self._watched.get(kind):
            look(message)
        with self._changed:
            waiting = self._waiting[kind]
            full = len(waiting) >= door.room
            if full or self._closed:
                self._turned_away[kind] += 1
            if self._closed or (full and not door.drop_oldest):
                return False
            if full:
                waiting.popleft()
            waiting.append(message)
            self._changed.notify()
            return True

    def watch(self, kind: type[Message], look: Callable[[Message], object] | None) -> None:
        """Lets somebody see what is left at a door, on the thread that leaves it: he must not wait. None: nobody."""
        if look is None:
            self._watched.pop(kind, None)
        else:
            self._watched[kind] = look

    def take(self, timeout_s: float | None = None) -> Message | None:
        """The next message: first door first. None when the time is over, or when closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or any(self._waiting.values()), timeout_s)
            for waiting in self._waiting.values():
                if waiting:
                    self._taken.notify_all()
                    return waiting.popleft()
            return None

    def wait_until_taken(self, kind: type[Message], timeout_s: float | None = None) -> bool:
        """Waits until nothing waits at this door; False when the time is over, or the doors are closed before."""
        with self._taken:
            self._taken.wait_for(lambda: self._closed or not self._waiting[kind], timeout_s)
            return not self._waiting[kind]

    def close(self) -> None:
        """Refuses everything from now on; what already waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._taken.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed

    def turned_away(self) -> dict[str, int]:
        """How many messages each door dropped or refused so far, by kind."""
        with self._changed:
            return {kind.__name__: count for kind, count in self._turned_away.items()}
