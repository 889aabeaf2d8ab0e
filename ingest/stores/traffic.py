"""Messages and bytes per device, kind and hour: added up here, written with a batch now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg

from .batch import Batch
from .queries import query

UNREADABLE = "unreadable"  # the kind of what became a dead letter before its kind was known
EVERY_S = 5.0  # so that workers with the same devices seldom wait for each other's rows


class Traffic:
    """Counts what was committed. What waits to be written is lost with its process; it is a figure, not a record."""

    def __init__(self, every_s: float = EVERY_S, clock: Callable[[], float] = time.time) -> None:
        self.every_s, self._clock = every_s, clock
        self._counts: dict[tuple[str, int, str], list[int]] = {}  # device, hour since 1970, kind -> messages, bytes
        self._written_at = clock()

    def __bool__(self) -> bool:
        """Whether there is something to write."""
        return bool(self._counts)

    def count(self, batch: Batch) -> None:
        """Adds what a committed batch brought."""
        hour = int(self._clock() // 3600)
        for (device, kind), (messages, size) in batch.traffic.items():
            known = self._counts.setdefault((device, hour, kind), [0, 0])
            known[0] += messages
            known[1] += size

    @property
    def due(self) -> bool:
        """Whether there is something to write and it is time to."""
        return bool(self._counts) and abs(self._clock() - self._written_at) >= self.every_s

    def write(self, cursor: psycopg.Cursor[Any]) -> None:
        """Writes all counts, in one order for all workers; `written` is called once that is committed."""
        rows = [
            (device, datetime.fromtimestamp(hour * 3600, UTC), kind, *counts)
            for (device, hour, kind), counts in sorted(self._counts.items())
        ]
        cursor.execute(query("count_traffic"), [list(column) for column in zip(*rows, strict=True)])

    def written(self) -> None:
        """What was counted is in the database."""
        self._counts.clear()
        self._written_at = self._clock()
