"""What waits on a device as a file that a person carries to the server: a CBOR sequence (RFC 8742).

It begins with `["_export", {...}]`, which says of which device it is. The records follow as they would have
travelled, `[kind, fields, header]`, in the order of boots and sequence numbers. The last item is
`["_checkpoint", {...}]`, their number and the SHA-256 of all their bytes: a file without it is not whole. The file
may be packed with gzip or zstd, which its first bytes tell.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from . import codec
from .errors import DecodeError, ExportFileError, TruncatedError
from .journal import Checkpoint

FORMAT = 1
NAMELESS = Path("the export")
MOST_END = 256  # bytes that the last item has at most, and more
PLAIN, GZIP, ZSTD = ".cborseq", ".gz", ".zst"
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
ZSTD_MODULES = ("compression.zstd", "backports.zstd")  # Python 3.14's own, and the same for older ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Where an export comes from."""

    format: int = FORMAT
    version: str = ""  # of the program that wrote it
    device: str = ""
    boot: str = ""  # the latest one
    boots: tuple[str, ...] = ()  # all of which there are records
    records: int = 0
    exported_us: int = 0  # microseconds since 1970 UTC by the clock of the machine that wrote it
    damaged: bool = False  # the spool was damaged; this is what could be saved


def write(out: BinaryIO, about: Export, records: Iterable[bytes]) -> int:
    """Writes a whole export; returns how many records it holds."""
    out.write(codec.pack(["_export", asdict(about)]))
    count, digest = 0, hashlib.sha256()
    for record in records:
        out.write(record)
        digest.update(record)
        count += 1
    out.write(codec.pack(["_checkpoint", asdict(Checkpoint(records=count, digest=digest.digest()))]))
    return count


def read(path: Path) -> Iterator[Export | bytes]:
    """Where a file comes from, then each of its records; none is decoded. Raises ExportFileError.

    A file that is cut short or was changed is noticed at its end: what came before has been yielded.
    """
    unreadable: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, *_zstd_errors())
    try:
        with unpacked(path) as stream:
            yield from items(path, stream)
    except unreadable as error:
        raise ExportFileError(path, str(getattr(error, "strerror", None) or error).lower()) from None
    except TruncatedError:
        raise ExportFileError(path, "it is cut short") from None
    except DecodeError as error:
        raise ExportFileError(path, str(error)) from None


def items(path: Path, stream: BinaryIO) -> Iterator[Export | bytes]:
    """The same of a sequence that is unpacked already; `path` is how it is called where something is wrong.

    Raises ExportFileError, DecodeError, and what reading raises.
    """
    opened = False
    end: Checkpoint | None = None
    count, digest = 0, hashlib.sha256()
    for data in codec.read_sequence(stream):
        if end is not None:
            raise ExportFileError(path, "something follows its end")
        if not opened:
            if not data.startswith(_HEAD):
                raise ExportFileError(path, "it does not begin as an export does")
            opened = True
            yield _about(path, codec.unpack(data)[1])
        elif data.startswith(_END):
            end = _checkpoint(path, codec.unpack(data)[1])
        else:
            count += 1
            digest.update(data)
            yield data
    if end is None:
        raise ExportFileError(path, "it is cut short")
    if end != Checkpoint(records=count, digest=digest.digest()):
        raise ExportFileError(path, f"it holds {count} records, and they are not the {end.records} that were written")


def verify(stream: BinaryIO) -> int:
    """Reads an unpacked export to its end and compares the checksum, without looking at any record; how many bytes
    there were. Raises ExportFileError where it is not whole."""
    held = b""
    while (head := _first(held)) is None:
        if not (more := stream.read(1 << 16)):
            raise ExportFileError(NAMELESS, "it is cut short")
        held += more
    if not head.startswith(_HEAD):
        raise ExportFileError(NAMELESS, "it does not begin as an export does")
    size, digest, held = len(head), hashlib.sha256(), held[len(head) :]
    while more := stream.read(1 << 16):
        held += more
        digest.update(held[:-MOST_END])
        size += max(0, len(held) - MOST_END)
        held = held[-MOST_END:]
    at = held.rfind(_END)
    if at < 0 or _first(held[at:]) != held[at:]:
        raise ExportFileError(NAMELESS, "it is cut short, or something follows its end")
    digest.update(held[:at])
    try:
        end = _checkpoint(NAMELESS, codec.unpack(held[at:])[1])
    except DecodeError as error:
        raise ExportFileError(NAMELESS, str(error)) from None
    if end.digest != digest.digest():
        raise ExportFileError(NAMELESS, "its records are not those that were written")
    return size + len(held)


def _first(data: bytes) -> bytes | None:
    """The first item in these bytes; None while it is not whole. Raises ExportFileError."""
    try:
        return next(codec.read_sequence(data), None)
    except TruncatedError:
        return None
    except DecodeError as error:
        raise ExportFileError(NAMELESS, str(error)) from None


_HEAD, _END = (b"\x82" + codec.pack(name) for name in ("_export", "_checkpoint"))  # an array of two that begins so


def _checkpoint(path: Path, tree: Any) -> Checkpoint:
    if not isinstance(tree, dict) or type(tree.get("records")) is not int or type(tree.get("digest")) is not bytes:
        raise ExportFileError(path, "its last item is no end of an export")
    return Checkpoint(records=tree["records"], digest=tree["digest"])


def _about(path: Path, tree: Any) -> Export:
    usual = Export()
    known = {item.name for item in fields(Export)}
    values = {name: value for name, value in tree.items() if name in known} if isinstance(tree, dict) else {}
    values["boots"] = tuple(values.get("boots", ()))
    if any(type(value) is not type(getattr(usual, name)) for name, value in values.items()):
        raise ExportFileError(path, "its first item is no head of an export")
    if values.get("format", 0) > FORMAT:
        raise ExportFileError(path, f"it has format {values['format']}, this version knows formats up to {FORMAT}")
    return Export(**values)


# ---- packing ---------------------------------------------------------------------------------------------------


def zstd() -> Any:
    """The module that packs with zstd; None where this Python has none."""
    return _first_of(ZSTD_MODULES)


@cache
def _first_of(names: tuple[str, ...]) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _zstd_errors() -> tuple[type[Exception], ...]:
    module = zstd()
    return () if module is None else (module.ZstdError,)


@contextmanager
def packed(out: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """A stream that packs as the end of a file's name says: .gz, .zst, else not at all. Raises ExportFileError."""
    if name.endswith(GZIP):
        with gzip.GzipFile("", "wb", 6, out, mtime=0) as stream:
            yield cast(BinaryIO, stream)
    elif name.endswith(ZSTD):
        if (module := zstd()) is None:
            raise ExportFileError(Path(name), "this Python has no zstd; give it a name that ends with .gz")
        with module.open(out, "wb") as stream:
            yield stream
    else:
        yield out


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """The sequence in a file, however it is packed. Raises ExportFileError, OSError."""
    with path.open("rb") as file:
        first = file.peek(4)[:4]
        if first.startswith(GZIP_MAGIC):
            with gzip.GzipFile(fileobj=file, mode="rb") as stream:
                yield cast(BinaryIO, stream)
        elif first == ZSTD_MAGIC:
            if (module := zstd()) is None:
                raise ExportFileError(path, "it is packed with zstd, which this Python has not")
            with module.open(file, "rb") as stream:
                yield stream
        else:
            yield file
