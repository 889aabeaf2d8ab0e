"""A tar archive as a stream of files. Anything but files and folders is refused."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

from ..errors import EntryRefused, PackageRefused
from .limits import Meter
from .names import LONGEST, Names
from .streams import CHUNK, Stream, exactly

BLOCK = 512
ZEROS = bytes(BLOCK)
MOST_EXTRA = 64 << 10  # bytes of a header that belongs to another header
STRANGE = {
    tarfile.LNKTYPE: "a link",
    tarfile.SYMTYPE: "a link",
    tarfile.GNUTYPE_LONGLINK: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)


class Part:
    """The bytes of one file in a tar, until its end."""

    def __init__(self, stream: Stream, size: int) -> None:
        self._stream, self.left = stream, size

    def read(self, size: int, /) -> bytes:
        if not self.left:
            return b""
        data = self._stream.read(min(size, self.left))
        if not data:
            raise EntryRefused("the archive is cut short")
        self.left -= len(data)
        return data


def is_tar(head: bytes) -> bool:
    """Whether these first bytes are those of a tar."""
    try:
        tarfile.TarInfo.frombuf(head[:BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def entries(stream: Stream, meter: Meter) -> Iterator[tuple[str, Part]]:
    """Name and bytes of each file; what is not read of it is passed over. Raises PackageRefused."""
    names = Names()
    said: dict[str, str] = {}  # by a header that belongs to the next one
    try:
        while (block := exactly(stream, BLOCK)) != ZEROS:
            meter.entry()
            info = _header(block)
            if info.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE):
                said |= _extra(info, _content(stream, info))
                continue
            name = names.check(said.pop("path", info.name))
            part = Part(stream, _size(info, said.pop("size", None)))
            meter.claimed(name, part.left)
            padding = -part.left % BLOCK
            if info.type in FILES and name:
                yield name, part
            elif info.type != tarfile.DIRTYPE:
                raise PackageRefused(f"{name[:80]!r} is {STRANGE.get(info.type, 'no file')}")
            while part.read(CHUNK):
                pass
            exactly(stream, padding)
        _finish(stream)
    except EntryRefused as error:
        raise PackageRefused(str(error)) from None


def _header(block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise PackageRefused(f"its tar is damaged: {error}") from None


def _content(stream: Stream, info: tarfile.TarInfo) -> bytes:
    if not 0 <= info.size <= MOST_EXTRA:
        raise PackageRefused(f"a header of its tar claims {info.size:,} bytes")
    content = exactly(stream, info.size)
    exactly(stream, -info.size % BLOCK)
    return content


def _extra(info: tarfile.TarInfo, content: bytes) -> dict[str, str]:
    if info.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": _text(content[: LONGEST + 1].partition(b"\0")[0])}
    fields = _fields(content)
    if any(key.startswith("GNU.sparse") for key in fields):
        raise PackageRefused("it holds a sparse file")
    useful = {key: value for key, value in fields.items() if key in ("path", "size")}
    if info.type == tarfile.XGLTYPE and useful:
        raise PackageRefused("its tar names or measures all files at once")
    return useful


def _fields(content: bytes) -> dict[str, str]:
    """The `length key=value` lines of a pax header."""
    fields = {}
    while content:
        length, space, _ = content[:20].partition(b" ")
        size = int(length) if length.isdigit() else 0
        line = content[len(length) + 1 : size]
        key, equals, value = line.partition(b"=")
        if not space or size > len(content) or not equals or not line.endswith(b"\n"):
            raise PackageRefused("a header of its tar is damaged")
        fields[_text(key)] = _text(value[:-1])
        content = content[size:]
    return fields


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _size(info: tarfile.TarInfo, said: str | None) -> int:
    if said is None:
        return info.size
    if not (said.isascii() and said.isdigit() and len(said) < 20):
        raise PackageRefused("a header of its tar is damaged")
    return int(said)


def _finish(stream: Stream) -> None:
    """After the end there may be padding, and nothing else."""
    while more := stream.read(CHUNK):
        if more.strip(b"\0"):
            raise PackageRefused("something follows the end of its tar")
