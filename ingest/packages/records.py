"""Records of a package: the same checks, batches and dead letters as those that come by MQTT."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from broker import codec, export, topics
from broker.errors import DecodeError, ExportFileError, TopicError, TruncatedError
from broker.messages import KINDS, Header

from ..consumers.dead_letters import letter
from ..errors import EntryRefused, Poison
from ..filing import Filing
from ..intake import Record, answerable, check
from ..ranges import merged
from ..stores.batch import Letter
from .contents import EXPORT
from .streams import Stream, drain

BATCH, BATCH_BYTES = 2_000, 16 << 20  # in one transaction
NOWHERE = "import"  # the topic of a record that does not say where it belongs
Ranges = dict[tuple[str, str], tuple[tuple[int, int], ...]]  # what is stored of each (device, boot)


@dataclass(slots=True)
class Counts:
    """What came of the records so far; states are births and the like, of which only the newest is kept."""

    bytes: int = 0
    records: int = 0
    new: int = 0
    known: int = 0
    letters: int = 0
    states: int = 0
    device: str = ""
    stored: Ranges = field(default_factory=dict)


def store(entry: str, kind: str, stream: Stream, filing: Filing, root: str) -> Iterator[Counts]:
    """Stores the records of an export or a bare sequence; yields the counts after each transaction.

    Raises EntryRefused at what is no sequence, or not whole; StoreAway. What was stored until then stays.
    """
    counts = Counts()
    items = _items(entry, kind, stream, counts)
    broken: EntryRefused | None = None
    while broken is None:
        batch, broken = _batch(items)
        if not batch:
            break
        taken = [_read(data, counts.device, root) for data in batch]
        records = [item for item in taken if isinstance(item, Record)]
        unread = [item for item in taken if isinstance(item, Letter)]
        new = filing.new
        letters = filing.file(records, unread)
        _count(counts, batch, records, unread, letters[len(unread) :], filing.new - new)
        yield counts
    if broken is not None:
        raise broken


def verify(kind: str, stream: Stream) -> int:
    """Reads to the end and stores nothing; how many bytes there were. Raises EntryRefused for an export that is
    not whole: its checksum says so, and a changed record would stand in the way of the true one for ever."""
    if kind != EXPORT:
        return drain(stream)
    try:
        return export.verify(cast(BinaryIO, stream))
    except ExportFileError as error:
        raise EntryRefused(error.reason) from None


def _items(entry: str, kind: str, stream: Stream, counts: Counts) -> Iterator[bytes]:
    source = cast(BinaryIO, stream)
    try:
        if kind != EXPORT:
            yield from codec.read_sequence(source)
            return
        for item in export.items(Path(entry), source):
            if isinstance(item, bytes):
                yield item
            elif topics.DEVICE.fullmatch(item.device):
                counts.device = item.device
    except ExportFileError as error:
        raise EntryRefused(error.reason) from None
    except TruncatedError:
        raise EntryRefused("it is cut short") from None
    except DecodeError as error:
        raise EntryRefused(str(error)) from None


def _batch(items: Iterator[bytes]) -> tuple[list[bytes], EntryRefused | None]:
    """What is stored next, and why nothing can follow it, where that is so."""
    batch: list[bytes] = []
    size = 0
    try:
        for data in items:
            batch.append(data)
            size += len(data)
            if len(batch) >= BATCH or size >= BATCH_BYTES:
                break
    except EntryRefused as error:
        return batch, error
    return batch, None


def _read(data: bytes, device: str, root: str) -> Record | Letter:
    """As `intake.read` does, only that the topic follows from the message, and is one that devices speak on."""
    topic = ""
    try:
        header, message = codec.decode_record(data)
        device = header.device
        topic = topics.full(device, topics.path_of(message), root)
        address = topics.parse(topic, root)
        if address.topic.way != "up":
            raise Poison(f"{type(message).__name__} does not come from a device")
        check(address, header, message)
    except (TopicError, DecodeError, Poison) as error:
        whose = _whose(data)
        device = whose.device if whose else device if topics.DEVICE.fullmatch(device) else ""
        return letter(device, topic or _topic(data, root), data, str(error), header=whose)
    return Record(topic, data, header, message)


def _whose(data: bytes) -> Header | None:
    try:
        device = codec.decode_header(data).device
    except DecodeError:
        return None
    return answerable(device, data) if topics.DEVICE.fullmatch(device) else None


def _topic(data: bytes, root: str) -> str:
    """The topic on which a record that cannot be decoded would have come, as far as it says so: then it is the
    same dead letter, whichever way it comes."""
    try:
        kind, values, header = codec.unpack(data, codec.MAX_BYTES)
        path = topics.PLACE.sub(lambda place: str(values[place[1]]), topics.of_kind(KINDS[kind]).path)
        name = topics.full(header["device"], path, root)
        topics.parse(name, root)
    except (DecodeError, TopicError, LookupError, TypeError, ValueError):
        return NOWHERE
    return name


def _count(
    counts: Counts, batch: list[bytes], records: list[Record], unread: list[Letter], refused: list[Letter], new: int
) -> None:
    counts.bytes += sum(map(len, batch))
    counts.records += len(batch)
    counts.letters += len(unread) + len(refused)
    counts.new += new
    # A record that was refused names its number, a state has none.
    counts.states += sum(not record.spooled for record in records) - sum(letter.seq is None for letter in refused)
    counts.known = counts.records - counts.letters - counts.states - counts.new
    if not counts.device and records:
        counts.device = records[0].header.device
    _add(counts.stored, records, [*unread, *refused])


def _add(stored: Ranges, records: list[Record], letters: list[Letter]) -> None:
    numbers: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for record in records:
        if record.spooled:
            numbers[record.header.device, record.header.boot].append(record.header.seq)
    for refused in letters:
        if refused.boot is not None and refused.seq is not None:
            numbers[refused.device, refused.boot].append(refused.seq)
    for key, more in numbers.items():
        # The ranges of a spool are few; so what is kept here does not grow with the records.
        stored[key] = join(stored.get(key, ()), merged(more))


def join(*parts: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Ranges of several as one, ascending, as few as possible."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(pair for part in parts for pair in part):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return tuple(joined)
