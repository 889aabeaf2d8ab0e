"""What one transaction of the event store writes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from broker.messages import Birth, ConfigReported, Header, ModelReported, Status

from ..errors import Poison

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KEY = ("device", "boot", "seq", "at", "clock", "op_s")  # how every record table begins


@dataclass(frozen=True, slots=True, eq=False)  # each is made once, and looked up by the message
class Table:
    """A record table: its name and the columns that follow the key."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message ingest could not handle. With boot and seq it stands for that record, which then counts as stored."""

    device: str
    digest: str
    topic: str
    kind: str
    reason: str
    payload: bytes
    boot: str | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A device's word on a label."""

    device: str
    sample: str
    revision: int
    outcome: str  # applied | duplicate | rejected
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """An object that could not be put into the object store yet."""

    key: str
    type: str  # content type
    data: bytes
    reason: str = ""

    def because(self, reason: str) -> Waiting:
        """The same with the reason why it waits."""
        return replace(self, reason=reason)


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that a device keeps for the server until it is fetched in chunks."""

    device: str
    sha256: str
    size: int
    what: str
    name: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of what was offered."""

    device: str
    sha256: str
    index: int
    data: bytes


@dataclass(slots=True)
class Batch:
    """Rows and other changes that are committed together or not at all."""

    rows: dict[Table, list[tuple[object, ...]]] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    statuses: list[tuple[Header, Status]] = field(default_factory=list)
    births: list[tuple[Header, Birth]] = field(default_factory=list)
    reports: list[tuple[str, Header, ConfigReported | ModelReported]] = field(default_factory=list)  # of what, and it
    letters: list[Letter] = field(default_factory=list)
    pictures: dict[str, tuple[bytes, str]] = field(default_factory=dict)  # digest -> picture and its type
    waiting: list[Waiting] = field(default_factory=list)  # those of them that the object store has not got
    offers: list[Offer] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    heard: set[str] = field(default_factory=set)
    traffic: dict[tuple[str, str], list[int]] = field(default_factory=dict)  # (device, kind) -> messages, bytes
    live: bool = True  # False: carried here by a person, which says nothing about who is there now

    def add(self, table: Table, header: Header, at: float, values: Iterable[object]) -> None:
        """A row of `table`; `at` is the message time. Raises Poison where the wall time cannot be a time."""
        clock = "synced" if header.clock == "synced" else "unsynced"  # what says neither is not to be trusted
        key = (header.device, header.boot, header.seq, wall_time(header), clock, at)
        self.rows.setdefault(table, []).append((*key, *values))

    def count(self, device: str, kind: str, size: int) -> None:
        """Notes a message that came over the link, and the bytes of its payload."""
        known = self.traffic.get((device, kind))
        if known is None:
            known = self.traffic[device, kind] = [0, 0]
        known[0] += 1
        known[1] += size


def wall_time(header: Header) -> datetime:
    """The header's wall time, exact to the microsecond. Raises Poison outside the years 1 to 9999."""
    try:
        return EPOCH + timedelta(0, 0, header.wall_us)  # days, seconds, microseconds
    except OverflowError:
        raise Poison(f"wall time {header.wall_us} us is not within the years 1 to 9999") from None
