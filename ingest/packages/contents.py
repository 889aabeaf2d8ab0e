"""What a package holds: told by content, read forward, entry by entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from broker import codec, export

from ..errors import EntryRefused, PackageRefused
from . import tars, zips
from .limits import Limits, Meter
from .streams import Peekable, Stream, Unpacked

MANIFEST = "manifest.json"  # what a bundle has, and no archive of ours needs
EXPORT, RECORDS, PICTURE, BUNDLE, ARCHIVE, OTHER = "export", "records", "picture", "bundle", "archive", "other"
EXPORT_HEAD = b"\x82" + codec.pack("_export")
RECORD_HEAD, TEXT = 0x83, range(0x61, 0x78)  # an array of three that begins with a word of up to 23 letters
PICTURES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"RIFF", "image/webp"))


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a package. Its stream has to be read before the next entry is asked for, or not at all."""

    name: str
    kind: str  # export | records | picture | bundle | archive | other
    stream: Stream


def kind_of(head: bytes) -> str:
    """What begins like this: a kind of entry, or how it is packed: gzip, zstd, zip, tar."""
    if head.startswith(export.GZIP_MAGIC):
        return "gzip"
    if head.startswith(export.ZSTD_MAGIC):
        return "zstd"
    if head.startswith((zips.MAGIC, zips.EMPTY)):
        return "zip"
    if head.startswith(EXPORT_HEAD):
        return EXPORT
    if len(head) > 1 and head[0] == RECORD_HEAD and head[1] in TEXT:
        return RECORDS
    if picture_type(head):
        return PICTURE
    return "tar" if tars.is_tar(head) else OTHER


def picture_type(head: bytes) -> str:
    """The media type of a picture that begins like this; empty where it is none that people are shown."""
    for magic, kind in PICTURES:
        if head.startswith(magic) and (magic != b"RIFF" or head[8:12] == b"WEBP"):
            return kind
    return ""


def packing_of(file: BinaryIO) -> str:
    """How a package is packed and what it is, for people: `gzip tar`, `zip`, `export` ... Raises PackageRefused."""
    file.seek(0)
    try:
        outside = Peekable(file)
        kind = kind_of(outside.head())
        if kind not in ("gzip", "zstd"):
            return BUNDLE if kind == "zip" and _is_bundle(file) else kind
        return f"{kind} {kind_of(Peekable(Unpacked(outside, kind, Meter(Limits(), 1))).head())}"
    except EntryRefused as error:
        raise PackageRefused(str(error)) from None


def contents(file: BinaryIO, name: str, limits: Limits) -> Iterator[Entry]:
    """The entries of a package, in their order; `name` is what a package that is one thing is called.

    Raises PackageRefused, and where an entry is read EntryRefused, after which the next can be asked for.
    """
    size = file.seek(0, 2)
    file.seek(0)
    if size > limits.packed_bytes:
        raise PackageRefused(f"it has {size:,} bytes; a package may have {limits.packed_bytes:,}")
    meter = Meter(limits, size)
    try:
        yield from _contents(file, name, meter)
    except EntryRefused as error:
        raise PackageRefused(str(error)) from None


def _contents(file: BinaryIO, name: str, meter: Meter) -> Iterator[Entry]:
    whole = Peekable(file)
    kind = kind_of(whole.head())
    if kind == "zip" and not _is_bundle(file):
        yield from (_entry(inside, Peekable(stream), meter) for inside, stream in zips.entries(file, meter))
        return
    if kind == "zip":
        file.seek(0)
        yield Entry(name, BUNDLE, file)
        return
    if kind in ("gzip", "zstd"):
        whole = Peekable(Unpacked(whole, kind, meter))
        inside = kind_of(whole.head())
        if inside in ("gzip", "zstd", "zip"):
            raise PackageRefused(f"it is {inside} within {kind}; unpack the {kind} first")
        kind = inside
    if kind == "tar":
        yield from (_entry(inside, Peekable(part), meter) for inside, part in tars.entries(whole, meter))
    else:
        yield Entry(name, kind, whole)


def _entry(name: str, stream: Peekable, meter: Meter) -> Entry:
    """An entry of an archive, unpacked where it is packed; one that is an archive itself is only named."""
    try:
        kind = kind_of(stream.head())
        if kind in ("gzip", "zstd"):
            stream = Peekable(Unpacked(stream, kind, meter))
            kind = kind_of(stream.head())
            if kind in ("gzip", "zstd", "zip"):
                kind = ARCHIVE
    except EntryRefused as error:
        return Entry(name, OTHER, Broken(error))
    return Entry(name, {"tar": ARCHIVE, "zip": BUNDLE}.get(kind, kind), stream)


class Broken:
    """A stream that can only say why it cannot be read."""

    def __init__(self, why: EntryRefused) -> None:
        self._why = why

    def read(self, _size: int, /) -> bytes:
        raise self._why


def _is_bundle(file: BinaryIO) -> bool:
    """Whether a zip has a manifest, as bundles do; whether it is a good one is asked when it is registered."""
    with zips.opened(file, Meter(Limits(), file.seek(0, 2))) as archive:
        return MANIFEST in archive.namelist()
