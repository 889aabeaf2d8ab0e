"""How one dataclass becomes the bytes of a map and comes back, worked out once for each."""

from __future__ import annotations

import struct
import typing
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from .errors import DecodeError, EncodeError
from .fields import Add, Unusual, field_type, head


def text(value: str) -> bytes:
    """A text as an item."""
    data = value.encode()
    return head(3, len(data)) + data


class Plan:
    """The fields of a dataclass in their order, each with its key as bytes and its row of `fields`."""

    def __init__(self, kind: type) -> None:
        hints = typing.get_type_hints(kind)
        self.kind: Any = kind
        self.types = {field.name: field_type(hints[field.name]) for field in fields(kind)}
        self.opening = head(5, len(self.types))
        # Setting a slot past the frozen __setattr__ takes half the time of the dataclass's own __init__.
        slots: dict[str, Callable[[object, Any], None]] = {name: getattr(kind, name).__set__ for name in self.types}
        getters = {name: getattr(kind, name).__get__ for name in self.types}
        self.to_write = [(text(name), getters[name], row.write) for name, row in self.types.items()]
        self.to_read = [(text(name), len(text(name)), row.read, slots[name]) for name, row in self.types.items()]

    def write(self, message: object, add: Add) -> None:
        """Appends the map of all fields, in their order. Raises EncodeError."""
        add(self.opening)
        key = b""
        try:
            for key, get, write in self.to_write:
                add(key)
                write(get(message), add)
        except (TypeError, ValueError, AttributeError, OverflowError, struct.error) as error:
            where = f"{self.kind.__name__}.{key[1:].decode()}"
            raise EncodeError(f"{where} cannot be encoded: {error}") from None

    def read(self, data: bytes, at: int) -> tuple[Any, int]:
        """What `write` wrote at `at`, and where the next item begins. Raises one of UNUSUAL at anything else."""
        if not data.startswith(self.opening, at):
            raise Unusual
        made = object.__new__(self.kind)
        at += len(self.opening)
        for key, size, read, put in self.to_read:
            if not data.startswith(key, at):
                raise Unusual
            value, at = read(data, at + size)
            put(made, value)
        return made, at

    def from_map(self, tree: Any) -> Any:
        """The dataclass of a decoded map: unknown fields ignored, missing ones by default. Raises DecodeError."""
        where = self.kind.__name__
        if type(tree) is not dict:
            raise DecodeError(f"{where}: a map of fields is expected")
        if not all(type(name) is str for name in tree):
            raise DecodeError(f"{where}: the names of fields are text")
        values = {}
        for name, row in self.types.items():
            if name in tree:
                try:
                    values[name] = row.check(tree[name])
                except (TypeError, ValueError, OverflowError) as error:
                    raise DecodeError(f"{where}.{name}: {error}") from None
        return self.kind(**values)
