"""Hypothesis strategies for messages of every kind, made from their type hints."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

from hypothesis import strategies as st

from broker.messages import KINDS, Float32Array, Header, Message, Uint8Array

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
numbers = st.floats(allow_nan=False, allow_infinity=False)
arrays = st.lists(st.floats(width=32), max_size=80).map(Float32Array.of)  # NaN stands for a reading that is missing
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(-(1 << 63), (1 << 63) - 1),
    float: numbers,
    str: texts,
    bytes: st.binary(max_size=400),
    Float32Array: arrays,
    Uint8Array: st.binary(max_size=300).map(Uint8Array),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values that a field of this type may hold."""
    if hint in PLAIN:
        return PLAIN[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and inner[-1] is Ellipsis:
        return st.lists(values(inner[0]), max_size=30).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, inner))
    if origin is dict:
        return st.dictionaries(texts, values(inner[1]), max_size=30)
    assert origin is types.UnionType
    return st.one_of([st.none() if part is types.NoneType else values(part) for part in inner])


def instances(kind: type) -> st.SearchStrategy[Any]:
    """Instances of a dataclass of the contract; any field may be left at its default."""
    hints = typing.get_type_hints(kind)
    fields = {item.name: values(hints[item.name]) for item in dataclasses.fields(kind)}
    return st.fixed_dictionaries({}, optional=fields).map(lambda chosen: kind(**chosen))


messages: st.SearchStrategy[Message] = st.sampled_from(list(KINDS.values())).flatmap(instances)
headers: st.SearchStrategy[Header] = instances(Header).map(lambda header: dataclasses.replace(header, version=1))


def is_same(one: object, other: object) -> bool:
    """Equal, and of the same types down to the leaves: 1 is not 1.0, and bytes are not an array."""
    if type(one) is not type(other):
        return False
    if dataclasses.is_dataclass(one):
        return all(is_same(getattr(one, item.name), getattr(other, item.name)) for item in dataclasses.fields(one))
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(is_same(one[key], other[key]) for key in one)
    return one == other


def head(major: int, number: int) -> bytes:
    """The first bytes of an item, as a test writes them by hand: the number in eight bytes where it is large."""
    if number < 24:
        return bytes((major << 5 | number,))
    return bytes((major << 5 | 27,)) + number.to_bytes(8, "big")
