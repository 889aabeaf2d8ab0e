"""Names in archives: refused where they could mean another place than they say, and taken apart for pictures."""

from __future__ import annotations

import re
import unicodedata

from broker import topics

from ..errors import EntryRefused, PackageRefused

LONGEST = 1024
DRIVE = re.compile(r"[A-Za-z]:")


class Names:
    """The names of one archive, each at most once."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def check(self, name: str) -> str:
        """The name in its plain form. Raises PackageRefused."""
        shown = repr(name[:80])
        if not name or len(name) > LONGEST or not name.isprintable():
            raise PackageRefused(f"an entry is named {shown}, which is no name of a file")
        if name.startswith("/") or "\\" in name or DRIVE.match(name):
            raise PackageRefused(f"an entry is named {shown}, which is not a path within the archive")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise PackageRefused(f"an entry is named {shown}, which leads out of the archive")
        plain = "/".join(parts)
        # Two that a file system could take for one are one.
        key = unicodedata.normalize("NFC", plain).casefold()
        if plain and key in self._known:
            raise PackageRefused(f"two entries are named {shown}")
        self._known.add(key)
        return plain


def sample_of(name: str) -> tuple[str, str]:
    """The device and the sample a picture belongs to: `<device>/<sample>.jpg`. Raises EntryRefused."""
    folder, _, file = name.rpartition("/")
    device, sample = folder.rpartition("/")[2], file.rpartition(".")[0]
    if not topics.DEVICE.fullmatch(device) or not topics.SAMPLE.fullmatch(sample):
        raise EntryRefused("a picture has to be named <device>/<sample>.jpg (or .png, .webp) to say whose it is")
    return device, sample
