"""What a metered link may carry: bytes an hour by rank, and hours of the day in which it is left alone.

What is over the budget waits in the spool and nothing of it is lost, unless the spool itself gets full. Vital records
never wait for others' bytes; they count, so that the others wait longer. Time is monotonic: a clock that jumps buys
nobody an hour. A restart begins a new hour.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from datetime import time as TimeOfDay  # noqa: N812  a time of the day, not the module

from broker.errors import SettingsError
from broker.messages import Tick
from broker.topics import Rank

HOUR_S, MINUTE_S = 3600, 60
FRAMING = 8  # bytes that MQTT adds to topic and payload of a record, or a few more
ALL = "all"


def budgets(text: str) -> dict[str, int]:
    """Bytes an hour by the name of a rank, or `all`: "500,picture=300" in KB. Raises SettingsError."""
    found: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, given, number = part.rpartition("=")
        name = name.strip().lower() if given else ALL
        known = [ALL, *(rank.name.lower() for rank in Rank)]
        if name not in known:
            raise SettingsError(f"link_kb_per_hour names {name!r}; it can name {', '.join(known)}")
        try:
            found[name] = int(float(number) * 1000)
        except (ValueError, OverflowError):
            raise SettingsError(f"link_kb_per_hour has {part!r}, which is no number of KB") from None
        if found[name] <= 0:
            raise SettingsError(f"link_kb_per_hour has {part!r}; it has to be more than 0")
    return found


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A time of the day, in local time or in UTC. A device that does not know the time has none."""

    begin: TimeOfDay
    end: TimeOfDay
    utc: bool = False

    @classmethod
    def of(cls, text: str) -> QuietHours | None:
        """From "22:00-06:00" or "22:00-06:00 UTC"; None for no text. Raises SettingsError."""
        if not text.strip():
            return None
        hours, _, zone = text.strip().partition(" ")
        begin, _, end = hours.partition("-")
        try:
            if zone.strip().upper() not in ("", "UTC", "LOCAL") or begin == end:
                raise ValueError
            return cls(TimeOfDay.fromisoformat(begin), TimeOfDay.fromisoformat(end), zone.strip().upper() == "UTC")
        except ValueError:
            raise SettingsError(
                f"quiet_hours is {text!r}; it has to be like 22:00-06:00 or 22:00-06:00 UTC"
            ) from None

    def now(self, tick: Tick) -> bool:
        """Whether it is quiet at the wall time of a tick."""
        if tick.clock != "synced":
            return False
        moment = datetime.fromtimestamp(tick.wall_us / 1e6, UTC)
        at = (moment if self.utc else moment.astimezone()).time()
        return self.begin <= at < self.end if self.begin < self.end else at >= self.begin or at < self.end


class LinkBudget:
    """Asked before every record that is sent, and told of it. For several threads.

    A record that is larger than its whole budget goes when nothing of its rank went within the hour.
    """

    def __init__(
        self,
        per_hour: Mapping[str, int] | None = None,
        quiet: QuietHours | None = None,
        quiet_sends: str = "vital",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.per_hour, self.quiet, self.quiet_sends = dict(per_hour or {}), quiet, quiet_sends
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._minutes: deque[tuple[int, Counter[str]]] = deque()  # bytes by rank, of the last hour, oldest first
        self._spent: Counter[str] = Counter()  # the sum of these
        self._waiting: dict[Rank, int] = {}  # ranks that wait for room, and how much the next record of each needs
        self._is_quiet = False
        self.waits = 0  # how often a rank began to wait

    def open(self, tick: Tick) -> tuple[Rank, ...]:
        """The ranks of which records may be sent now."""
        with self._lock:
            self._forget()
            self._waiting = {rank: size for rank, size in self._waiting.items() if not self._fits(rank, size)}
            self._is_quiet = self.quiet is not None and self.quiet.now(tick)
            allowed = [rank for rank in Rank if rank not in self._waiting]
            if self._is_quiet:
                allowed = [rank for rank in allowed if rank == Rank.VITAL and self.quiet_sends == "vital"]
            return tuple(allowed)

    def admits(self, rank: int, size: int) -> bool:
        """Whether a record may go now; where not, its whole rank waits, so that the oldest still goes first."""
        with self._lock:
            self._forget()
            rank = Rank(rank)
            if rank in self._waiting:
                return False
            if not self._fits(rank, size):
                self._waiting[rank] = size
                self.waits += 1
                return False
            return True

    def sent(self, rank: int, size: int) -> None:
        """Counts bytes that went over the link."""
        minute = int(self._monotonic() // MINUTE_S)
        with self._lock:
            if not self._minutes or self._minutes[-1][0] != minute:
                self._minutes.append((minute, Counter()))
            for name in (ALL, Rank(rank).name.lower()):
                self._minutes[-1][1][name] += size
                self._spent[name] += size

    @property
    def holding(self) -> bool:
        """Whether something may not be sent, as of the last look."""
        return bool(self._waiting) or self._is_quiet

    def metrics(self) -> dict[str, float]:
        """Nothing where nothing is budgeted."""
        if not self.per_hour and self.quiet is None:
            return {}
        with self._lock:
            self._forget()
            spent = {f"link_hour_{rank.name.lower()}_kb": self._spent[rank.name.lower()] / 1000 for rank in Rank}
            return {
                **spent,
                "link_hour_kb": self._spent[ALL] / 1000,
                "link_quiet": float(self._is_quiet),
                "link_ranks_waiting": float(len(self._waiting)),
                "link_waits": float(self.waits),
            }

    # ---- with the lock -----------------------------------------------------------------------------------------

    def _fits(self, rank: Rank, size: int) -> bool:
        name = rank.name.lower()
        limits = {name: self.per_hour.get(name)} | ({} if rank == Rank.VITAL else {ALL: self.per_hour.get(ALL)})
        return all(
            limit is None or self._spent[which] + size <= limit or (size > limit and not self._spent[name])
            for which, limit in limits.items()
        )

    def _forget(self) -> None:
        """Takes out what is more than an hour ago, to the minute."""
        minute = int(self._monotonic() // MINUTE_S)
        while self._minutes and self._minutes[0][0] < minute - HOUR_S // MINUTE_S:
            self._spent.subtract(self._minutes.popleft()[1])
