"""Records that are in memory and not on the disk yet: bounded in bytes, shed in the same order as the file."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from itertools import chain

from broker.topics import Rank

from .record import Record, without_picture


class SpoolQueue:
    """Not for several threads at once."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.given_up: Counter[str] = Counter()  # by rank, and "refused"
        self._waiting: dict[int, deque[Record]] = {rank: deque() for rank in sorted(Rank, reverse=True)}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def append(self, record: Record) -> int:
        """Adds a record; returns how many were given up for it."""
        before = len(self) + 1
        self._waiting[record.rank].append(record)
        self.bytes += len(record.data)
        while self.bytes > self.max_bytes:
            self._give_way()
        return before - len(self)

    def take(self, max_bytes: int) -> list[Record]:
        """Takes out what fits into `max_bytes`, highest rank first; at least one where there is any."""
        batch: list[Record] = []
        size = 0
        for waiting in self._waiting.values():
            while waiting and (not batch or size + len(waiting[0].data) <= max_bytes):
                size += len(waiting[0].data)
                batch.append(waiting.popleft())
        self.bytes -= size
        return batch

    def put_back(self, batch: Sequence[Record]) -> None:
        """Undoes `take`."""
        for record in reversed(batch):
            self._waiting[record.rank].appendleft(record)
            self.bytes += len(record.data)

    def peek(
        self, limit: int, max_bytes: int, skip: Container[tuple[str, int]], ranks: Container[int] = tuple(Rank)
    ) -> list[Record]:
        """Records of these ranks to send from here, highest rank first, oldest first within it."""
        found: list[Record] = []
        for record in chain.from_iterable(self._waiting.values()):
            if len(found) == limit or max_bytes <= 0:
                break
            if record.rank in ranks and (record.boot, record.seq) not in skip:
                found.append(record)
                max_bytes -= len(record.data)
        return found

    def confirm(self, boot: str, ranges: Iterable[tuple[int, int]]) -> int:
        """Forgets what lies in the ranges; returns how many there were."""
        spans = [range(first, last + 1) for first, last in ranges]
        gone = 0
        for rank, waiting in self._waiting.items():
            kept = deque(r for r in waiting if r.boot != boot or not any(r.seq in span for span in spans))
            gone += len(waiting) - len(kept)
            self._waiting[rank] = kept
        self.bytes = sum(len(record.data) for waiting in self._waiting.values() for record in waiting)
        return gone

    def oldest(self) -> Record | None:
        firsts = [waiting[0] for waiting in self._waiting.values() if waiting]
        return min(firsts, key=lambda record: record.seq, default=None)

    def _give_way(self) -> None:
        """Lowest rank first, oldest first within it; of vital ones the newest."""
        lowest = min(rank for rank, waiting in self._waiting.items() if waiting)
        waiting = self._waiting[lowest]
        record = waiting.pop() if lowest == Rank.VITAL else waiting.popleft()
        self.bytes -= len(record.data)
        self.given_up["refused" if lowest == Rank.VITAL else Rank(lowest).name] += 1
        if lowest == Rank.PICTURE and (data := without_picture(record.data)) is not None:
            self._waiting[Rank.SAMPLE].append(replace(record, rank=Rank.SAMPLE, data=data))
            self.bytes += len(data)
