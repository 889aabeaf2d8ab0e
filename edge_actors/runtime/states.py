"""Copies of actors' states: plain trees that share nothing with the actor and that a snapshot can carry."""

from __future__ import annotations

from typing import Any

from broker.messages import Float32Array, Uint8Array

from ..errors import StateTreeError

MAX_DEPTH = 10  # of a state; a snapshot and a journal put some levels around it
_ATOMS = frozenset({bytes, float, bool, type(None), Float32Array, Uint8Array})


def plain(tree: Any, where: str = "") -> Any:
    """A deep copy of a tree, tuples as lists, as it would come back from disk. Raises StateTreeError.

    Allowed are text, bytes, typed arrays, bool, None, float, int of 64 bits, lists, tuples and dicts with text keys.
    """
    kind = type(tree)
    if kind in _ATOMS:
        return tree
    if kind is str:
        return _text(tree, where)
    if kind is int:
        if not -(1 << 63) <= tree < 1 << 63:
            raise StateTreeError(where, "is an int of more than 64 bits")
        return tree
    if where.count("/") > MAX_DEPTH:
        raise StateTreeError(where, f"lies deeper than {MAX_DEPTH} levels")
    if kind is list or kind is tuple:
        return [plain(item, f"{where}/{at}") for at, item in enumerate(tree)]
    if kind is dict:
        return {_key(key, where): plain(item, f"{where}/{key}") for key, item in tree.items()}
    raise StateTreeError(where, f"is a {kind.__name__}, which is neither plain nor a typed array")


def _key(key: Any, where: str) -> str:
    if type(key) is not str:
        raise StateTreeError(where, f"has a key that is not text: {key!r}")
    return _text(key, where)


def _text(text: str, where: str) -> str:
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        raise StateTreeError(where, "is text that has no UTF-8") from None
    return text
