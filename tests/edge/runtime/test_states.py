"""A state that was taken shares nothing with the actor and comes back from disk as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import codec
from broker.messages import Float32Array, Uint8Array
from edge_actors.errors import StateTreeError
from edge_actors.runtime.states import plain

atoms = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.binary().map(lambda data: Float32Array(data * 4))
    | st.binary().map(Uint8Array)
)
trees = st.recursive(
    atoms, lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner) | st.tuples(inner), max_leaves=20
)


@given(trees)
def test_is_as_it_would_come_back_from_disk(tree: Any) -> None:
    assert codec.unpack(codec.pack(plain(tree))) == plain(tree)


def test_shares_no_part_that_can_change() -> None:
    tree = {"list": [1, [2]], "map": {"inner": {}}}
    copy = plain(tree)
    tree["list"][1].append(3)  # type: ignore[index]
    tree["map"]["inner"]["new"] = 1  # type: ignore[index]
    assert copy == {"list": [1, [2]], "map": {"inner": {}}}


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({"a": [1, {2}]}, "/a/1 is a set"),
        ({"a": np.zeros(3)}, "/a is a ndarray"),
        ({"a": np.float64(1)}, "/a is a float64"),
        ({"a": bytearray(3)}, "/a is a bytearray"),
        ({"a": 1 << 63}, "/a is an int of more than 64 bits"),
        ({"a": {1: 2}}, "/a has a key that is not text: 1"),
        ({"a": "\ud800"}, "/a is text that has no UTF-8"),
    ],
)
def test_says_where_something_stands_that_a_snapshot_cannot_carry(tree: Any, sentence: str) -> None:
    with pytest.raises(StateTreeError, match=f"the state cannot be saved: {sentence}"):
        plain(tree)


def test_refuses_to_go_deeper_than_can_be_read_again() -> None:
    deep: list[Any] = []
    for _ in range(50):
        deep = [deep]
    with pytest.raises(StateTreeError, match="deeper"):
        plain(deep)
