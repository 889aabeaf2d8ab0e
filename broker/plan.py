"""How one dataclass becomes a map that cbor2 writes, and comes back; worked out once for each."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any

from .errors import DecodeError, EncodeError
from .fields import field_type


class Plan:
    """The fields of a dataclass in their order, each with its row of `fields`."""

    def __init__(self, kind: type) -> None:
        hints = typing.get_type_hints(kind)
        self.kind: Any = kind
        self.types = {field.name: field_type(hints[field.name]) for field in fields(kind)}
        # Setting a slot past the frozen __setattr__ takes half the time of the dataclass's own __init__.
        slots: dict[str, Any] = {name: getattr(kind, name) for name in self.types}
        self._to_write = [(name, slots[name].__get__, row.write) for name, row in self.types.items()]
        self._to_read = [
            (field.name, slots[field.name].__set__, self.types[field.name].check, _default(field))
            for field in fields(kind)
        ]

    def to_map(self, message: object) -> dict[str, Any]:
        """All fields, in their order. Raises EncodeError."""
        written, name = {}, ""
        try:
            for name, get, write in self._to_write:
                written[name] = write(get(message))
        except (TypeError, ValueError, OverflowError) as error:
            raise EncodeError(f"{self.kind.__name__}.{name} cannot be encoded: {error}") from None
        return written

    def from_map(self, tree: Any) -> Any:
        """The dataclass of a decoded map: unknown fields ignored, missing ones by default. Raises DecodeError."""
        if type(tree) is not dict:
            raise DecodeError(f"{self.kind.__name__}: a map of fields is expected")
        if not all(type(key) is str for key in tree):
            raise DecodeError(f"{self.kind.__name__}: the names of fields are text")
        made, name = object.__new__(self.kind), ""
        try:
            for name, put, check, default in self._to_read:
                put(made, check(tree[name]) if name in tree else default())
        except (TypeError, ValueError, OverflowError) as error:
            raise DecodeError(f"{self.kind.__name__}.{name}: {error}") from None
        return made


def _default(field: Field[Any]) -> Callable[[], Any]:
    if field.default_factory is not MISSING:
        return field.default_factory
    return lambda: field.default
