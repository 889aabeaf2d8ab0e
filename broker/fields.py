"""What a field of each type may hold, on its way to cbor2 and back: one row a type, used by the codec alone."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cbor2

from .messages import Float32Array, Uint8Array

FLOAT32_LE, UINT8 = 85, 64  # RFC 8746

Step = Callable[[Any], Any]  # raises TypeError, ValueError or AttributeError at what the field may not hold


@dataclass(frozen=True, slots=True)
class FieldType:
    write: Step  # a message's value -> what cbor2 is given
    check: Step  # what cbor2 gives -> a message's value


def field_type(hint: Any) -> FieldType:
    """The row of a type hint. Raises TypeError for what messages cannot carry."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and inner[-1] is Ellipsis:
        row = field_type(inner[0])
        return FieldType(partial(_items, (tuple, list), row.write), partial(_items, (list,), row.check))
    if origin is tuple:
        rows = tuple(map(field_type, inner))
        writes, checks = tuple(row.write for row in rows), tuple(row.check for row in rows)
        return FieldType(partial(_fixed, (tuple, list), writes), partial(_fixed, (list,), checks))
    if origin is dict and inner[0] is str:
        row = field_type(inner[1])
        return FieldType(partial(_map, "dict", row.write), partial(_map, "map", row.check))
    if origin is types.UnionType and types.NoneType in inner and len(inner) == 2:
        row = field_type(next(part for part in inner if part is not types.NoneType))
        return FieldType(partial(_optional, row.write), partial(_optional, row.check))
    raise TypeError(f"messages cannot carry {hint!r}")


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} expected, got {type(value).__name__}")
    return value


def _int(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"int expected, got {type(value).__name__}")
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("an int of at most 64 bits expected")
    return value


def _finite(value: Any) -> float:
    if not math.isfinite(value):
        raise ValueError("a finite number expected")
    return float(value)


def _float(value: Any) -> float:
    if type(value) not in (float, int):  # an encoder may write 1.0 as 1
        raise TypeError(f"float expected, got {type(value).__name__}")
    return _finite(value)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"str expected, got {type(value).__name__}")
    if not value.isascii():
        value.encode()  # raises where there is no UTF-8 for it
    return value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"bytes expected, got {type(value).__name__}")
    return bytes(value)  # the same object unless it is a typed array


def _tagged(tag: int, width: int, value: Any) -> cbor2.CBORTag:
    if not isinstance(value, bytes):
        raise TypeError(f"bytes expected, got {type(value).__name__}")
    if len(value) % width:
        raise ValueError("a typed array is a byte string of whole numbers")
    return cbor2.CBORTag(tag, value)


_PLAIN: dict[Any, FieldType] = {
    bool: FieldType(partial(_exactly, bool), partial(_exactly, bool)),
    int: FieldType(_int, _int),
    float: FieldType(_finite, _float),  # actors may yield NumPy's floats
    str: FieldType(_text, _text),
    bytes: FieldType(_bytes, partial(_exactly, bytes)),
    Float32Array: FieldType(partial(_tagged, FLOAT32_LE, 4), partial(_exactly, Float32Array)),
    Uint8Array: FieldType(partial(_tagged, UINT8, 1), partial(_exactly, Uint8Array)),
}


def _items(kinds: tuple[type, ...], step: Step, value: Any) -> tuple[Any, ...]:
    if type(value) not in kinds:
        raise TypeError(f"{_NAMES[kinds[0]]} expected, got {type(value).__name__}")
    return tuple(map(step, value))


def _fixed(kinds: tuple[type, ...], steps: tuple[Step, ...], value: Any) -> tuple[Any, ...]:
    if type(value) not in kinds or len(value) != len(steps):
        raise TypeError(f"{_NAMES[kinds[0]]} of {len(steps)} expected")
    return tuple(step(part) for step, part in zip(steps, value, strict=True))


_NAMES: dict[type, str] = {tuple: "tuple", list: "array"}  # what it is called in Python, and on the wire


def _map(name: str, step: Step, value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise TypeError(f"{name} expected, got {type(value).__name__}")
    return {_text(key): step(item) for key, item in value.items()}


def _optional(step: Step, value: Any) -> Any:
    return None if value is None else step(value)
