"""A zip archive whose directory was checked before anything believes it; only files and folders are let in."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import EntryRefused, PackageRefused
from .limits import Meter
from .names import Names
from .streams import Counted, Stream

MAGIC, EMPTY = b"PK\3\4", b"PK\5\6"
END, LISTED, LOCAL = struct.Struct("<4s4H2LH"), struct.Struct("<4s24x3H12x"), struct.Struct("<4s22x2H")
LONGEST_COMMENT = 0xFFFF
MOST_LISTED = 512  # bytes an entry may take in the directory, on average
ENCRYPTED = 0x1 | 0x40 | 0x2000
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Member:
    """The bytes of one file in a zip."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self._archive, self._info = archive, info
        self._open: Stream | None = None

    def read(self, size: int, /) -> bytes:
        try:
            if self._open is None:
                self._open = self._archive.open(self._info)
            return self._open.read(size)
        except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError) as error:
            raise EntryRefused(f"it is damaged: {' '.join(str(error).split()) or 'it is cut short'}") from None


def entries(file: BinaryIO, meter: Meter) -> Iterator[tuple[str, Stream]]:
    """Name and bytes of each file. Raises PackageRefused."""
    with opened(file, meter) as archive:
        names = Names()
        files = [(names.check(info.orig_filename), info) for info in archive.infolist()]
        for name, info in files:
            if not info.is_dir():
                yield name, Counted(Member(archive, info), meter.unpacked)


def opened(file: BinaryIO, meter: Meter) -> zipfile.ZipFile:
    """The archive, once its directory is known to be small and true. Raises PackageRefused."""
    try:
        start = _check_directory(file, meter)
        archive = zipfile.ZipFile(file)
        _check_entries(file, archive.infolist(), start, meter)
    except (zipfile.BadZipFile, struct.error, NotImplementedError, ValueError, EOFError) as error:
        raise PackageRefused(f"its zip is damaged: {' '.join(str(error).split())}") from None
    return archive


def _check_directory(file: BinaryIO, meter: Meter) -> int:
    """Counts what the directory lists without building it; where it begins."""
    size = file.seek(0, 2)
    tail_at = file.seek(max(0, size - END.size - LONGEST_COMMENT))
    tail = file.read()
    at = tail.rfind(EMPTY)
    if at < 0 or len(tail) - at < END.size:
        raise PackageRefused("its zip is cut short: the directory at its end is missing")
    _, disk, of_disk, here, count, length, start, comment = END.unpack_from(tail, at)
    if 0xFFFF in (here, count) or 0xFFFFFFFF in (length, start) or tail[max(0, at - 20) :].startswith(b"PK\6\7"):
        raise PackageRefused("it is a zip64 archive, which is for larger things than a package")
    if disk or of_disk or here != count or at + END.size + comment != len(tail) or start + length != tail_at + at:
        raise PackageRefused("the directory of its zip is not what the end of the file says")
    if count > meter.limits.entries:
        raise PackageRefused(f"it has more than {meter.limits.entries:,} entries")
    if length > count * MOST_LISTED + LONGEST_COMMENT:
        raise PackageRefused(f"the directory of its zip has {length:,} bytes for {count:,} entries")
    file.seek(start)
    _count(file.read(length), count)
    return int(start)


def _count(directory: bytes, count: int) -> None:
    at = listed = 0
    while at < len(directory):
        if len(directory) - at < LISTED.size:
            break
        mark, name, extra, comment = LISTED.unpack_from(directory, at)
        if mark != b"PK\1\2":
            break
        at += 46 + name + extra + comment
        listed += 1
    if listed != count or at != len(directory):
        raise PackageRefused(f"its zip says that it has {count:,} entries, and its directory lists others")


def _check_entries(file: BinaryIO, infos: list[zipfile.ZipInfo], directory: int, meter: Meter) -> None:
    ends = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        shown = repr(info.filename[:80])
        meter.entry()
        meter.claimed(info.filename, info.file_size)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise PackageRefused(f"{shown} is a link or a device")
        if info.flag_bits & ENCRYPTED:
            raise PackageRefused(f"{shown} is encrypted")
        if info.compress_type not in PACKINGS:
            raise PackageRefused(f"{shown} is packed in a way that is not opened here (method {info.compress_type})")
        file.seek(info.header_offset)
        mark, name, extra = LOCAL.unpack(file.read(LOCAL.size))
        begins = info.header_offset + LOCAL.size + name + extra
        if mark != MAGIC or info.header_offset < ends or begins + info.compress_size > directory:
            raise PackageRefused(f"{shown} lies over something else in its zip")
        ends = begins + info.compress_size
