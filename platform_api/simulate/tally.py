"""What is counted of a simulated fleet, and how that is told."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass
from random import Random

import numpy as np

MOST = 500_000  # latencies that are kept; of more, so many by chance
TAKEN, NOBODY, REFUSED = 0, 0x10, 0x80


class Latencies:
    """Seconds, of which percentiles are told."""

    def __init__(self, seed: int = 0) -> None:
        self.count, self.longest = 0, 0.0
        self._kept = array("f")
        self._chance = Random(seed)  # noqa: S311

    def add(self, seconds: float) -> None:
        self.count += 1
        self.longest = max(self.longest, seconds)
        if len(self._kept) < MOST:
            self._kept.append(seconds)
        elif (place := self._chance.randrange(self.count)) < MOST:
            self._kept[place] = seconds

    def told(self) -> dict[str, float] | None:
        """Milliseconds by name; None where there was nothing."""
        if not self.count:
            return None
        kept = np.frombuffer(self._kept, np.float32)
        percentiles = np.percentile(kept, (50, 95, 99)) * 1e3
        names = ("p50_ms", "p95_ms", "p99_ms")
        told = {name: round(float(value), 2) for name, value in zip(names, percentiles, strict=True)}
        return {"count": self.count, **told, "max_ms": round(self.longest * 1e3, 2)}


class Tally:
    """Counters of the whole fleet; everything happens on one event loop."""

    def __init__(self) -> None:
        self.made = 0  # records that devices spooled
        self.skipped = 0  # records that were not made because a spool was full
        self.sent = self.again = self.duplicates = 0  # publishes; of these sent again; sent twice on purpose
        self.answers: Counter[str] = Counter()  # to publishes of records: taken, nobody, refused
        self.delivered = 0  # records that the broker took at least once
        self.stored = 0  # records that `stored` covered
        self.expired = 0  # waits for `stored` that were given up
        self.connections = self.attempts = self.connected = self.most_connected = 0
        self.dropped = 0  # links that ended and were not to
        self.storms = self.reboots = 0
        self.bytes_up = self.bytes_down = 0
        self.labels_posted = self.labels_heard = self.labels_answered = 0
        self.listened = False  # whether any device ever heard that an ingest worker listens
        self.odd = 0  # messages from the server that could not be read
        self.device_to_stored = Latencies(1)
        self.label_to_applied = Latencies(2)
        self.reasons: Counter[str] = Counter()  # why links ended, or did not come about

    @property
    def waiting(self) -> int:
        """Records that are on devices and nowhere for sure."""
        return self.made - self.stored


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What the database holds of the records that were made."""

    rows: int
    lost: int  # records made that have no row
    twice: int  # rows beyond the first of a record
    foreign: int  # rows of records that were never made
    device_to_row: dict[str, float] | None
    labels_applied: int
