"""How a field of each type is written, read and checked: one row a type, used by the codec alone.

`write` appends the bytes of a value. `read` is the way back at full speed; it understands only what `write` makes
and raises `Unusual` at anything else, and then cbor2 and `check`, which know all of CBOR and say what is wrong,
decide. So a message from our own code costs half as much, and the checks are the same for everybody.
"""

from __future__ import annotations

import math
import struct
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from .messages import Float32Array, Uint8Array

FLOAT32_LE, UINT8 = 85, 64  # RFC 8746

Add = Callable[[bytes], None]
Write = Callable[[Any, Add], None]  # raises TypeError, ValueError, AttributeError or struct.error
Read = Callable[[bytes, int], tuple[Any, int]]  # the value and where the next item begins; raises one of UNUSUAL
Check = Callable[[Any], Any]  # the value as the message holds it; raises TypeError or ValueError


class Unusual(Exception):  # noqa: N818  not an error: it only asks for the slow way
    """The bytes are not laid out as `write` would have laid them out."""


UNUSUAL = (Unusual, IndexError, struct.error, UnicodeDecodeError)


@dataclass(frozen=True, slots=True)
class FieldType:
    write: Write
    read: Read
    check: Check


def field_type(hint: Any) -> FieldType:
    """The row of a type hint. Raises TypeError for what messages cannot carry."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and inner[-1] is Ellipsis:
        return _array_of(field_type(inner[0]))
    if origin is tuple:
        return _fixed_array_of(tuple(map(field_type, inner)))
    if origin is dict and inner[0] is str:
        return _map_of(field_type(inner[1]))
    if origin is types.UnionType and types.NoneType in inner and len(inner) == 2:
        return _optional(field_type(next(part for part in inner if part is not types.NoneType)))
    raise TypeError(f"messages cannot carry {hint!r}")


# ---- heads: major type and number of an item -------------------------------------------------------------------


def head(major: int, number: int) -> bytes:
    """The first bytes of an item, as short as they can be."""
    major <<= 5
    if number < 24:
        return bytes((major | number,))
    if number < 1 << 8:
        return bytes((major | 24, number))
    if number < 1 << 16:
        return struct.pack(">BH", major | 25, number)
    return struct.pack(">BI", major | 26, number) if number < 1 << 32 else struct.pack(">BQ", major | 27, number)


def _short_heads(major: int) -> tuple[bytes, ...]:
    return tuple(head(major, number) for number in range(256))


_UINT, _BYTES, _TEXT, _ARRAY = map(_short_heads, (0, 2, 3, 4))
_WIDTH = {24: 1, 25: 2, 26: 4, 27: 8}  # bytes of the number, by the low five bits of the first byte


def _number(data: bytes, at: int, major: int) -> tuple[int, int]:
    """The number in the head at `at`, which has to be of this major type, and where the head ends."""
    low = data[at] - (major << 5)
    if 0 <= low < 24:
        return low, at + 1
    width = _WIDTH.get(low)
    end = at + 1 + (width or 0)
    if width is None or end > len(data):
        raise Unusual
    return int.from_bytes(data[at + 1 : end], "big"), end


# ---- plain values ----------------------------------------------------------------------------------------------


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} expected, got {type(value).__name__}")
    return value


def _write_bool(value: Any, add: Add) -> None:
    add(b"\xf5" if _exactly(bool, value) else b"\xf4")


def _read_bool(data: bytes, at: int) -> tuple[bool, int]:
    if data[at] not in (0xF4, 0xF5):
        raise Unusual
    return data[at] == 0xF5, at + 1


def _write_int(value: Any, add: Add) -> None:
    _check_int(value)
    if 0 <= value < 256:
        add(_UINT[value])
    else:
        add(head(0, value) if value >= 0 else head(1, -1 - value))


def _read_int(data: bytes, at: int) -> tuple[int, int]:
    low = data[at]
    if low < 24:
        return low, at + 1
    negative = low >= 0x20
    number, at = _number(data, at, 1 if negative else 0)
    if number >> 63:
        raise Unusual
    return (-1 - number if negative else number), at


def _check_int(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"int expected, got {type(value).__name__}")
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("an int of at most 64 bits expected")
    return value


_DOUBLE = struct.Struct(">Bd").pack
_READ_DOUBLE = struct.Struct(">d").unpack_from
_FINITE = math.isfinite


def _write_float(value: Any, add: Add) -> None:
    if not _FINITE(value):
        raise ValueError("a finite number expected")
    add(_DOUBLE(0xFB, value))


def _read_float(data: bytes, at: int) -> tuple[float, int]:
    if data[at] != 0xFB:
        raise Unusual
    (value,) = _READ_DOUBLE(data, at + 1)
    if not _FINITE(value):
        raise Unusual
    return value, at + 9


def _check_float(value: Any) -> float:
    if type(value) not in (float, int):  # an encoder may write 1.0 as 1
        raise TypeError(f"float expected, got {type(value).__name__}")
    if not _FINITE(value):
        raise ValueError("a finite number expected")
    return float(value)


def _write_text(value: Any, add: Add) -> None:
    data = value.encode()
    size = len(data)
    add(_TEXT[size] if size < 256 else head(3, size))
    add(data)


def _read_text(data: bytes, at: int) -> tuple[str, int]:
    size = data[at] - 0x60
    at += 1
    if not 0 <= size < 24:
        size, at = _number(data, at - 1, 3)
    end = at + size
    return data[at:end].decode(), end


# ---- byte strings and arrays of numbers ------------------------------------------------------------------------


def _write_bytes(tag: bytes, width: int, value: Any, add: Add) -> None:
    if not isinstance(value, bytes):
        raise TypeError(f"bytes expected, got {type(value).__name__}")
    size = len(value)
    if size % width:
        raise ValueError("a typed array is a byte string of whole numbers")
    add(tag + (_BYTES[size] if size < 256 else head(2, size)))
    add(value)


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = _number(data, at, 2)
    end = at + size
    return data[at:end], end


def _reader_of(kind: Callable[[bytes], bytes], tag: bytes, width: int) -> Read:
    def read(data: bytes, at: int) -> tuple[bytes, int]:
        if data[at : at + 2] != tag:
            raise Unusual
        size, at = _number(data, at + 2, 2)
        if size % width:
            raise Unusual
        end = at + size
        return kind(data[at:end]), end

    return read


def _numbers(kind: type[bytes], tag: int, width: int) -> FieldType:
    mark = head(6, tag)
    return FieldType(partial(_write_bytes, mark, width), _reader_of(kind, mark, width), partial(_exactly, kind))


_PLAIN: dict[Any, FieldType] = {
    bool: FieldType(_write_bool, _read_bool, partial(_exactly, bool)),
    int: FieldType(_write_int, _read_int, _check_int),
    float: FieldType(_write_float, _read_float, _check_float),
    str: FieldType(_write_text, _read_text, partial(_exactly, str)),
    bytes: FieldType(partial(_write_bytes, b"", 1), _read_bytes, partial(_exactly, bytes)),
    Float32Array: _numbers(Float32Array, FLOAT32_LE, 4),
    Uint8Array: _numbers(Uint8Array, UINT8, 1),
}


# ---- containers ------------------------------------------------------------------------------------------------


def _items(value: Any) -> Any:
    if type(value) is not tuple and type(value) is not list:
        raise TypeError(f"tuple expected, got {type(value).__name__}")
    return value


def _array_of(inner: FieldType) -> FieldType:
    write_item, read_item, check_item = inner.write, inner.read, inner.check

    def write(value: Any, add: Add) -> None:
        size = len(_items(value))
        add(_ARRAY[size] if size < 256 else head(4, size))
        for item in value:
            write_item(item, add)

    def read(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        left, at = _number(data, at, 4)
        items = []
        while left:
            item, at = read_item(data, at)
            items.append(item)
            left -= 1
        return tuple(items), at

    def check(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise TypeError(f"array expected, got {type(value).__name__}")
        return tuple(map(check_item, value))

    return FieldType(write, read, check)


def _fixed_array_of(inner: tuple[FieldType, ...]) -> FieldType:
    def write(value: Any, add: Add) -> None:
        add(head(4, len(inner)))
        for item, part in zip(inner, _items(value), strict=True):
            item.write(part, add)

    def read(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        size, at = _number(data, at, 4)
        if size != len(inner):
            raise Unusual
        parts = []
        for item in inner:
            part, at = item.read(data, at)
            parts.append(part)
        return tuple(parts), at

    def check(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(inner):
            raise TypeError(f"array of {len(inner)} expected")
        return tuple(item.check(part) for item, part in zip(inner, value, strict=True))

    return FieldType(write, read, check)


def _map_of(inner: FieldType) -> FieldType:
    def write(value: Any, add: Add) -> None:
        add(head(5, len(_exactly(dict, value))))
        for key, item in value.items():
            _write_text(key, add)
            inner.write(item, add)

    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        size, at = _number(data, at, 5)
        made: dict[str, Any] = {}
        for _ in range(size):
            key, at = _read_text(data, at)
            made[key], at = inner.read(data, at)
        if len(made) != size:  # a key came twice
            raise Unusual
        return made, at

    def check(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise TypeError(f"map expected, got {type(value).__name__}")
        return {_exactly(str, key): inner.check(item) for key, item in value.items()}

    return FieldType(write, read, check)


def _optional(inner: FieldType) -> FieldType:
    def write(value: Any, add: Add) -> None:
        if value is None:
            add(b"\xf6")
        else:
            inner.write(value, add)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        return (None, at + 1) if data[at] == 0xF6 else inner.read(data, at)

    def check(value: Any) -> Any:
        return None if value is None else inner.check(value)

    return FieldType(write, read, check)
