"""Which records are on their way to the server, and when they have to be sent again."""

from __future__ import annotations

from collections.abc import Iterable

from .ports.record import Record

Key = tuple[str, int]  # boot, seq


class InFlight:
    """A window bounded in records and bytes; what is not confirmed in time leaves it, to be sent again.

    The time starts at `first_s`, doubles with every expiry up to `longest_s`, and starts anew with a confirmation.
    """

    def __init__(
        self, records: int = 200, max_bytes: int = 1 << 20, first_s: float = 10.0, longest_s: float = 120.0
    ) -> None:
        self.records, self.max_bytes = records, max_bytes
        self.first_s, self.longest_s = first_s, longest_s
        self.timeout_s = first_s
        self.bytes = 0
        self._sent: dict[Key, tuple[int, float]] = {}  # size, when; oldest first
        self._expired: set[Key] = set()  # were on their way once
        self._parked: set[Key] = set()  # cannot be sent over this link

    def __len__(self) -> int:
        return len(self._sent)

    def __contains__(self, key: object) -> bool:
        """Whether the record need not be sent now."""
        return key in self._sent or key in self._parked

    @property
    def free(self) -> tuple[int, int]:
        """How many records and bytes may still be sent."""
        return self.records - len(self._sent), self.max_bytes - self.bytes

    def sent(self, record: Record, now: float) -> bool:
        """Notes a record as on its way; True when it was before."""
        key = (record.boot, record.seq)
        self._sent[key] = (len(record.data), now)
        self.bytes += len(record.data)
        again = key in self._expired
        self._expired.discard(key)
        return again

    def confirmed(self, boot: str, ranges: Iterable[tuple[int, int]]) -> None:
        """Takes out what the server has."""
        spans = [range(first, last + 1) for first, last in ranges]
        stored = {key for key in {*self._sent, *self._expired} if key[0] == boot and any(key[1] in s for s in spans)}
        for key in stored & self._sent.keys():
            self.bytes -= self._sent.pop(key)[0]
        self._expired -= stored
        self.timeout_s = self.first_s

    def expire(self, now: float) -> int:
        """Takes out what was not confirmed in time; returns how many records that were."""
        late = [key for key, (_, when) in self._sent.items() if now - when >= self.timeout_s]
        for key in late:
            self.bytes -= self._sent.pop(key)[0]
        self._remember(late)
        if late:
            self.timeout_s = min(2 * self.timeout_s, self.longest_s)
        return len(late)

    def park(self, record: Record) -> None:
        """Leaves a record alone until the next `forget`."""
        self._parked.add((record.boot, record.seq))

    @property
    def parked(self) -> int:
        return len(self._parked)

    def forget(self) -> None:
        """Takes everything out: whoever had it is gone."""
        self._parked.clear()
        self._remember(self._sent)
        self._sent.clear()
        self.bytes = 0

    def _remember(self, keys: Iterable[Key]) -> None:
        if len(self._expired) < 10 * self.records:  # it only counts what is sent again
            self._expired.update(keys)
