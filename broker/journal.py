"""What a device let in, recorded so that it can be played again: a ring of segments, bounded in bytes.

A segment is a CBOR sequence (RFC 8742). It begins with `["_opening", {...}]`, which holds all that a replay has to
know, so that it can start at any segment. Admitted messages follow as they are, `["Frame", {...}]`. Wherever a
message led to records, `["_checkpoint", {...}]` says how many records the segment has led to and the SHA-256 of all
their bytes. A power cut may cut the last item short; everything before it can be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

from . import codec
from .errors import DecodeError, JournalError, TruncatedError

SUFFIX = ".cborseq"
SEGMENTS = 4  # a full ring has about this many
CHECKPOINT_BYTES = 128  # room that a message leaves for the checkpoint that may follow it


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Where a segment begins: who recorded it, and the state of the device before its first message."""

    device: str = ""
    boot: str = ""
    bundle: str = ""  # digest
    settings: str = ""
    next_seq: int = 1  # of the next record that leaves
    at: float = 0.0
    applied: int = 0  # messages let in before
    restarts: list[float] = field(default_factory=list)  # when actors were rebuilt, as far as the budget remembers
    states: dict[str, Any] = field(default_factory=dict)  # of each actor


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The records that left since the segment began."""

    records: int = 0
    digest: bytes = b""  # SHA-256 over their bytes, one after the other


Item = Opening | Checkpoint | bytes  # bytes: an admitted message


class Journal:
    """Writes segments into a directory, the oldest giving way. Raises JournalError when the disk refuses."""

    def __init__(self, directory: Path, max_bytes: int = 16 << 20) -> None:
        self._directory, self._max_bytes = directory, max_bytes
        self._file: BinaryIO | None = None
        self._size = self._capacity = 0
        self.written_bytes = 0  # in this process

    def has_room(self, size: int) -> bool:
        """Whether a message of this size still belongs into the segment that is open."""
        return self._file is not None and self._size + size + CHECKPOINT_BYTES <= self._capacity

    def begin(self, opening: Opening) -> None:
        """Ends the open segment and begins the next, making room for all of it."""
        self.close()
        data = _item("_opening", opening)
        # A state that is large beside the ring gets longer segments, so that it is not written all the time.
        self._capacity = max(self._max_bytes // SEGMENTS, 2 * len(data))
        if self._capacity > self._max_bytes:
            raise JournalError(f"the state of {len(data)} bytes does not fit a journal of {self._max_bytes} bytes")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            number = self._make_room(self._capacity)
            self._file = (self._directory / f"{number:08d}{SUFFIX}").open("xb", buffering=1 << 16)
        except OSError as error:
            raise self._refused(error) from None
        self._size = 0
        self._write(data)
        self.flush()

    def append(self, message: bytes) -> None:
        """Adds an admitted message; what does not fit even a fresh segment is refused."""
        if not self.has_room(len(message)):
            self.close()
            raise JournalError(f"a message of {len(message)} bytes does not fit a journal of {self._max_bytes} bytes")
        self._write(message)

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Adds what the messages so far led to."""
        self._write(_item("_checkpoint", checkpoint))

    def flush(self) -> None:
        """Hands to the operating system what has gathered; the disk takes it when it likes."""
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                raise self._refused(error) from None

    def close(self) -> None:
        """Ends the open segment; `begin` can still follow."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                raise self._refused(error) from None

    def _write(self, data: bytes) -> None:
        if self._file is not None:
            self._size += len(data)
            self.written_bytes += len(data)
            try:
                self._file.write(data)
            except OSError as error:
                raise self._refused(error) from None

    def _make_room(self, size: int) -> int:
        """Removes the oldest segments until there is room for one of this size; the number it gets."""
        held = [(path, path.stat().st_size) for path in _segments(self._directory)]
        number = int(held[-1][0].stem) + 1 if held else 1
        while held and sum(size_ for _, size_ in held) + size > self._max_bytes:
            held.pop(0)[0].unlink()
        return number

    def _refused(self, error: OSError) -> JournalError:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # it is the error that is being told
                file.close()
        return JournalError(f"the journal in {self._directory} cannot be written: {(error.strerror or '').lower()}")


def segments(path: Path) -> list[Path]:
    """The segments of a journal's directory, oldest first, or the one file. Raises JournalError."""
    try:
        found = _segments(path) if path.is_dir() else [path]
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {(error.strerror or '').lower()}") from None
    if not found:
        raise JournalError(f"{path} holds no journal: files named *{SUFFIX} are expected")
    return found


def read(path: Path) -> Iterator[Item]:
    """The items of a segment, or of all segments of a directory. Raises JournalError.

    A segment that a power cut ended in the middle of an item ends before that item.
    """
    for segment in segments(path):
        try:
            with segment.open("rb") as file:
                yield from _read(segment, file)
        except OSError as error:
            raise JournalError(f"{segment} cannot be read: {(error.strerror or '').lower()}") from None


def _read(segment: Path, file: BinaryIO) -> Iterator[Item]:
    first = True
    try:
        for data in codec.read_sequence(file, codec.MAX_STATE_BYTES):
            item = _parse(data)
            if first and not isinstance(item, Opening):
                raise JournalError(f"{segment} is not a journal: it does not begin with an opening")
            first = False
            yield item
    except TruncatedError:
        return
    except DecodeError as error:
        raise JournalError(f"{segment} is damaged: {error}") from None


def _segments(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob(f"*{SUFFIX}") if path.stem.isdecimal())


_PARTS: dict[str, type[Opening] | type[Checkpoint]] = {"_opening": Opening, "_checkpoint": Checkpoint}
_MARKS = {b"\x82" + codec.pack(name): name for name in _PARTS}  # an array of two that begins with the name


def _item(name: str, part: Opening | Checkpoint) -> bytes:
    return codec.pack([name, {item.name: getattr(part, item.name) for item in fields(part)}])


def _parse(data: bytes) -> Item:
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            return _made(_PARTS[name], codec.unpack(data)[1])
    return data


def _made(kind: type[Opening] | type[Checkpoint], tree: Any) -> Opening | Checkpoint:
    """Unknown fields are ignored, missing ones have their default, as in messages."""
    if not isinstance(tree, dict):
        raise DecodeError("an opening or a checkpoint needs a map")
    usual = kind()
    values = {item.name: tree[item.name] for item in fields(kind) if item.name in tree}
    for name, value in values.items():
        if type(value) is not type(getattr(usual, name)):
            raise DecodeError(f"{name} cannot be {type(value).__name__}")
    return kind(**values)
