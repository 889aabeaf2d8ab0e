"""How a camera is named: `kind:which?option=value&option=value`."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qsl

from ...errors import CameraError

USUAL_SIZE = (640, 480)


@dataclass(frozen=True, slots=True)
class Address:
    """Which camera, and how it should be set up."""

    spec: str  # as it was given
    which: str
    size: tuple[int, int] = USUAL_SIZE  # width and height of its pictures
    format: str = ""


def parse(spec: str, rest: str, options: Collection[str] = ("size",)) -> Address:
    """Takes what follows the kind apart. Raises CameraError for options that there are not."""
    which, _, query = rest.partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    for name in given:
        if name not in options:
            raise CameraError(spec, f"it has no option {name!r}; there are {', '.join(options)}")
    size = USUAL_SIZE
    if "size" in given:
        found = re.fullmatch(r"(\d{2,5})x(\d{2,5})", given["size"])
        if found is None:
            raise CameraError(spec, f"a size is like 640x480, not {given['size']!r}")
        size = (int(found[1]), int(found[2]))
    return Address(spec, which, size, given.get("format", "").upper())


def without_password(spec: str) -> str:
    """The same for people to read: what a URL holds before its @ is nobody's business."""
    return re.sub(r"(?<=://)[^/@\s]+@", "...@", spec)
