"""contract.cddl: every message as CDDL (RFC 8610), rendered from the dataclasses."""

from __future__ import annotations

import types
import typing
from typing import Any

from .messages import KINDS, SCHEMA_VERSION, Float32Array, Header, Uint8Array
from .source import Documented, documented

HEAD = f"""; The messages of the bus, schema version {SCHEMA_VERSION}; rendered by `tinyml contract render`
;
; A message is [kind, fields]; what leaves a device has its header as a third element. Every field may be missing and
; has a default then (CONTRACT.md lists them); unknown fields are allowed and ignored. What CDDL cannot say: integers
; have 64 bits and a sign, floating point numbers outside of typed arrays are finite, lengths are definite, keys are
; unique, an item has at most 1 MiB, and there are no tags but 64 and 85.
"""

TYPES = """
real = float / int               ; an encoder may write 1.0 as 1
float32-le = #6.85(bstr)         ; RFC 8746: float32 numbers, little-endian, one after the other
uint8-array = #6.64(bstr)        ; RFC 8746: unsigned bytes that are numbers
"""

_PLAIN = {
    bool: "bool",
    int: "int",
    float: "real",
    str: "tstr",
    bytes: "bstr",
    Float32Array: "float32-le",
    Uint8Array: "uint8-array",
}


def schema() -> str:
    """The whole file."""
    parts = [
        HEAD,
        "message = " + " /\n          ".join(KINDS) + "\n",
        TYPES.lstrip(),
        _group("header", documented(Header)),
    ]
    for kind in KINDS.values():
        fields = f"{kind.__name__}-fields"
        parts.append(
            f'{kind.__name__} = ["{kind.__name__}", {fields}] / ["{kind.__name__}", {fields}, header]\n'
            + _group(fields, documented(kind))
        )
    return "\n".join(parts)


def _group(name: str, kind: Documented) -> str:
    rows = [(f'? "{item.name}": {cddl(item.hint)},', item.meaning) for item in kind.fields]
    width = max(len(row) for row, _ in rows)
    lines = [f"  {row:<{width}}  ; {meaning}" if meaning else f"  {row}" for row, meaning in rows]
    return f"; {kind.meaning}\n{name} = {{\n" + "\n".join(lines) + "\n  * tstr => any\n}\n"


def cddl(hint: Any) -> str:
    """A type hint of a message as a CDDL type."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and inner[-1] is Ellipsis:
        return f"[* {cddl(inner[0])}]"
    if origin is tuple:
        return f"[{', '.join(map(cddl, inner))}]"
    if origin is dict:
        return f"{{* tstr => {cddl(inner[1])}}}"
    if origin is types.UnionType:
        return " / ".join("null" if part is types.NoneType else cddl(part) for part in inner)
    raise TypeError(f"messages cannot carry {hint!r}")
