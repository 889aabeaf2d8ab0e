"""How one dataclass becomes a map that cbor2 writes, and comes back; worked out once for each.

A map with all fields in their order, which is what our own encoder writes, is read by a function that is made for its
dataclass, as `dataclasses` makes `__init__`: half the time of looking at one field after the other. Whatever it does
not take as it is goes the long way, which knows defaults, unknown fields and what to say about a wrong value.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any

from .errors import DecodeError, EncodeError
from .fields import FieldType, field_type


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

        self._names = tuple(self.types)
        self._quick = _quick_reader(kind, hints, self.types)

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
        if type(tree) is dict and tuple(tree) == self._names:
            made = self._quick(tree)
            if made is not None:
                return made
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


# What a value of a plain type has to be to be taken as it is.
_TAKEN = {
    bool: "type({0}) is bool",
    int: "type({0}) is int and LOWEST <= {0} <= HIGHEST",
    float: "type({0}) is float and -INFINITY < {0} < INFINITY",
    str: "type({0}) is str and {0}.isascii()",
    bytes: "type({0}) is bytes",
}


def _quick_reader(kind: type, hints: dict[str, Any], types: dict[str, FieldType]) -> Callable[[dict[str, Any]], Any]:
    """Makes the function that builds the dataclass of a map with all its fields; None for one it does not take."""
    known: dict[str, Any] = {"kind": kind, "new": object.__new__, "INFINITY": math.inf}
    known |= {"LOWEST": -(1 << 63), "HIGHEST": (1 << 63) - 1}
    names = list(types)
    plain = [name for name in names if hints[name] in _TAKEN]
    conditions = " and ".join(_TAKEN[hints[name]].format(f"v_{name}") for name in plain) or "True"
    lines = ["def quick(tree):"]
    if names:
        lines.append(f"  {', '.join(f'v_{name}' for name in names)}, = tree.values()")
    lines += [f"  if not ({conditions}): return None", "  made = new(kind)", "  try:", "    pass"]
    for name in names:
        known[f"put_{name}"], known[f"check_{name}"] = getattr(kind, name).__set__, types[name].check
        value = f"v_{name}" if name in plain else f"check_{name}(v_{name})"
        lines.append(f"    put_{name}(made, {value})")
    lines += ["  except (TypeError, ValueError, OverflowError): return None", "  return made"]
    exec("\n".join(lines), known)  # noqa: S102  it is made of nothing but the names of our own fields
    quick: Callable[[dict[str, Any]], Any] = known["quick"]
    return quick
