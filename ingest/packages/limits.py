"""How large and how strange a package may be."""

from __future__ import annotations

from dataclasses import dataclass

from broker.errors import SettingsError

from ..errors import PackageRefused

FREE = 16 << 20  # unpacked bytes for which nobody asks how well they were packed


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a package may have at most; whatever has more is refused."""

    packed_bytes: int = 1_024_000_000  # of the file
    unpacked_bytes: int = 8_192_000_000  # of all that comes out of it
    ratio: int = 200  # unpacked to packed, beyond FREE bytes
    entries: int = 10_000  # of an archive, folders among them
    picture_bytes: int = 16 << 20
    letters: int = 10_000  # records that nobody can take: a package is not to fill the database with them


def limits(packed_mb: int, unpacked_mb: int, ratio: int, entries: int) -> Limits:
    """The limits that settings give. Raises SettingsError."""
    for name, value in (("mb", packed_mb), ("unpacked_mb", unpacked_mb), ("ratio", ratio), ("entries", entries)):
        if not 1 <= value <= 1 << 20:
            raise SettingsError(f"package_{name} is {value}; it can be 1 to {1 << 20}")
    return Limits(
        packed_bytes=packed_mb * 1_000_000, unpacked_bytes=unpacked_mb * 1_000_000, ratio=ratio, entries=entries
    )


class Meter:
    """Counts what comes out of a package while it is read. Raises PackageRefused when that is too much."""

    def __init__(self, limits: Limits, packed: int) -> None:
        self.limits, self.packed = limits, packed
        self.bytes = self.entries = 0

    def unpacked(self, size: int) -> None:
        """So many bytes more have come out."""
        self.bytes += size
        if self.bytes > self.limits.unpacked_bytes:
            raise PackageRefused(f"more than {self.limits.unpacked_bytes:,} bytes come out of it")
        if self.bytes > max(FREE, self.packed * self.limits.ratio):
            raise PackageRefused(f"it unpacks to more than {self.limits.ratio} times its {self.packed:,} bytes")

    def claimed(self, name: str, size: int) -> None:
        """An archive says that an entry has this size."""
        if size < 0 or self.bytes + size > self.limits.unpacked_bytes:
            raise PackageRefused(f"{name[:80]!r} claims {size:,} bytes")

    def entry(self) -> None:
        """One entry more."""
        self.entries += 1
        if self.entries > self.limits.entries:
            raise PackageRefused(f"it has more than {self.limits.entries:,} entries")
