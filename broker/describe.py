"""A message as lines of text for a person, and as plain values for JSON."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from . import codec
from .errors import DecodeError
from .messages import Float32Array, Header, Message, Uint8Array

FIRST = 6  # so many elements of an array are shown
TEXT = 120  # so many characters of a text
_MAGIC = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}


def describe(message: Message, header: Header | None = None) -> list[str]:
    """The kind, the header in one line, and a line a field."""
    values = {item.name: getattr(message, item.name) for item in fields(message)}  # type: ignore[arg-type]
    title = type(message).__name__
    return [title, *([f"  {_header(header)}"] if header else []), *describe_fields(values)]


def describe_fields(values: Mapping[str, Any]) -> list[str]:
    """A line a field, names and values aligned; long values summed up."""
    width = max(map(len, values), default=0)
    return [f"  {name:<{width}}  {_field(name, value, values)}" for name, value in values.items()]


def plain(value: Any) -> Any:
    """What JSON can hold: arrays as lists with null for what is no number, bytes in base64."""
    if isinstance(value, Float32Array):
        return [plain(number) for number in value.numbers()]
    if isinstance(value, Uint8Array):
        return list(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (Message, Header)):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}  # type: ignore[arg-type]
    return value


def moment(wall_us: int) -> str:
    """Microseconds since 1970 as ISO 8601 in UTC; the bare number where no calendar reaches."""
    try:
        return datetime.fromtimestamp(wall_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return f"{wall_us} us"


def _header(header: Header) -> str:
    record = f"record {header.seq}" if header.seq else "not spooled"
    at = f"{moment(header.wall_us)} (clock {header.clock}), message time {header.mono_us / 1e6:g} s"
    return f"from {header.device or '?'}, boot {header.boot or '?'}, {record}, {at}, schema {header.version}"


def _field(name: str, value: Any, around: Mapping[str, Any]) -> str:
    if isinstance(value, (Float32Array, Uint8Array)):
        return _numbers(value)
    if isinstance(value, bytes):
        return _bytes(name, value, around)
    if name == "wall_us" and type(value) is int:
        return moment(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        shown = ", ".join(f"{key} {_short(item)}" for key, item in list(value.items())[: 2 * FIRST])
        return f"{{{shown}{', ...' if len(value) > 2 * FIRST else ''}}}"
    if isinstance(value, (tuple, list)):
        shown = ", ".join(map(_short, value[:FIRST]))
        return f"{len(value)}: {shown}{', ...' if len(value) > FIRST else ''}" if value else "none"
    return _short(value)


def _short(value: Any) -> str:
    if isinstance(value, (bytes, Mapping)) and not value:
        return "nothing"
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, Mapping):
        return f"{len(value)} entries"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list)):
        return "-".join(map(str, dict.fromkeys(value))) if len(value) == 2 else f"{len(value)} elements"
    text = str(value)
    text = text if text.isprintable() else repr(text)
    return (text[:TEXT] + "..." if len(text) > TEXT else text) or "-"


def _numbers(value: Float32Array | Uint8Array) -> str:
    numbers = value.numbers() if isinstance(value, Float32Array) else [float(number) for number in value]
    kind = "float32" if isinstance(value, Float32Array) else "uint8"
    if not numbers:
        return f"0 {kind}"
    there = [number for number in numbers if math.isfinite(number)]
    gone = f", {len(numbers) - len(there)} missing" if len(there) < len(numbers) else ""
    if len(numbers) <= FIRST or not there:
        return f"{len(numbers)} {kind}: {', '.join(f'{number:.4g}' for number in numbers[:FIRST])}"
    spread = f"min {min(there):.4g}, mean {math.fsum(there) / len(there):.4g}, max {max(there):.4g}{gone}"
    return f"{len(numbers)} {kind}: {spread}; {', '.join(f'{number:.4g}' for number in numbers[:FIRST])}, ..."


def _bytes(name: str, value: bytes, around: Mapping[str, Any]) -> str:
    if not value:
        return "none"
    kind = str(around.get("picture_type") or "") if name == "picture" else ""
    kind = kind or next((name for magic, name in _MAGIC.items() if value.startswith(magic)), "")
    size = f"{kind} {len(value):,} bytes".strip()
    if name in ("picture", "pixels") and around.get("width"):
        return f"{size}, {around['width']} x {around.get('height')}"
    if kind:
        return size
    return f"{size}: {_inside(value)}"


def _inside(value: bytes) -> str:
    """What a payload holds: a message of ours, or else how it begins."""
    try:
        return f"a {type(codec.decode(value)).__name__}"
    except DecodeError:
        return value[:16].hex(" ") + (" ..." if len(value) > 16 else "")
