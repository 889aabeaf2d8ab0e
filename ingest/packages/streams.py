"""Reading forward, in bounded pieces: what gzip and zstd hold, the head of something, exactly so many bytes."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Protocol

from broker import export

from ..errors import EntryRefused
from .limits import Meter

CHUNK = 1 << 16
MEMBERS = 1_000  # that are packed one after the other: `cat a.gz b.gz`; empty ones cost time and no bytes
WINDOW_LOG = 25  # a zstd stream may ask for a window of 32 MiB; the strongest usual level asks for 8
HEAD = 512  # bytes by which we know what something is: a tar's header


class Stream(Protocol):
    """What can be read forward: up to `size` bytes, none at the end. Raises EntryRefused, PackageRefused."""

    def read(self, size: int, /) -> bytes: ...


class Peekable:
    """A stream whose first bytes can be looked at."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._held = stream, b""

    def head(self) -> bytes:
        """The first HEAD bytes, or all where there are fewer; only before anything was read."""
        while len(self._held) < HEAD and (more := self._stream.read(HEAD - len(self._held))):
            self._held += more
        return self._held

    def read(self, size: int, /) -> bytes:
        if not self._held:
            return self._stream.read(size)
        taken, self._held = self._held[:size], self._held[size:]
        return taken


class Counted:
    """A stream of the file itself, or of an entry, whose bytes a meter counts."""

    def __init__(self, stream: Stream, count: Callable[[int], object]) -> None:
        self._stream, self._count = stream, count

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self._count(len(data))
        return data


class Unpacked:
    """What gzip or zstd holds. Whatever follows the last member is refused, and so is a stream that is cut short."""

    def __init__(self, packed: Stream, packing: str, meter: Meter) -> None:
        self._packed, self._packing, self._meter = packed, packing, meter
        self._magic, self._begin, self._errors = _packing(packing)
        self._unpacker: Any = None
        self._held = b""
        self._members = 0
        self._refused: EntryRefused | None = None  # said again to whoever goes on reading

    def read(self, size: int, /) -> bytes:
        if self._refused is None:
            try:
                return self._read(size)
            except EntryRefused as error:
                self._refused = error
        raise self._refused

    def _read(self, size: int) -> bytes:
        try:
            while self._unpacker is not None or self._next_member():
                if data := self._step(size):
                    self._meter.unpacked(len(data))
                    return data
        except self._errors as error:
            raise EntryRefused(f"its {self._packing} is damaged: {' '.join(str(error).split())}") from None
        return b""

    def _step(self, size: int) -> bytes:
        data: bytes = self._unpacker.unpack(self._held, size)
        self._held = self._unpacker.left
        if self._unpacker.eof:
            self._unpacker = None
        elif not data and not self._held:
            self._held = self._packed.read(CHUNK)
            if not self._held:
                raise EntryRefused(f"its {self._packing} is cut short")
        return data

    def _next_member(self) -> bool:
        while len(self._held) < len(self._magic) and (more := self._packed.read(CHUNK)):
            self._held += more
        if not self._held and self._members:
            return False
        if not self._held.startswith(self._magic):
            raise EntryRefused(f"something follows the end of its {self._packing}")
        self._members += 1
        if self._members > MEMBERS:
            raise EntryRefused(f"its {self._packing} has more than {MEMBERS:,} members")
        self._unpacker = self._begin()
        return True


class _Gunzip:
    def __init__(self) -> None:
        self._inside = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.left = b""

    @property
    def eof(self) -> bool:
        return self._inside.eof

    def unpack(self, data: bytes, most: int) -> bytes:
        out = self._inside.decompress(data, most)
        self.left = self._inside.unused_data if self._inside.eof else self._inside.unconsumed_tail
        return out


class _Unzstd:
    def __init__(self) -> None:
        module = export.zstd()
        options = {module.DecompressionParameter.window_log_max: WINDOW_LOG}
        self._inside = module.ZstdDecompressor(options=options)
        self.left = b""

    @property
    def eof(self) -> bool:
        return bool(self._inside.eof)

    def unpack(self, data: bytes, most: int) -> bytes:
        out: bytes = self._inside.decompress(data, most)
        self.left = self._inside.unused_data if self._inside.eof else b""
        return out


def _packing(name: str) -> tuple[bytes, Callable[[], Any], Any]:
    """How each begins, what unpacks one member, and what that may raise."""
    if name == "gzip":
        return export.GZIP_MAGIC, _Gunzip, zlib.error
    if (module := export.zstd()) is None:
        raise EntryRefused("this Python cannot open zstd: install backports.zstd, or pack with gzip")
    return export.ZSTD_MAGIC, _Unzstd, module.ZstdError


def exactly(stream: Stream, size: int) -> bytes:
    """So many bytes. Raises EntryRefused where the stream ends before."""
    parts = []
    while size and (part := stream.read(min(size, CHUNK))):
        parts.append(part)
        size -= len(part)
    if size:
        raise EntryRefused("it is cut short")
    return b"".join(parts)


def drain(stream: Stream) -> int:
    """Reads to the end; how many bytes there were."""
    size = 0
    while part := stream.read(CHUNK):
        size += len(part)
    return size
