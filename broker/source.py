"""What messages.py says about each message: docstring, fields, their defaults and the comments beside them."""

from __future__ import annotations

import ast
import inspect
import io
import tokenize
import typing
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any

from . import messages
from .messages import Float32Array


@dataclass(frozen=True, slots=True)
class DocumentedField:
    name: str
    hint: Any
    default: str  # as a person would write it; empty for an empty value
    meaning: str  # the comment beside it


@dataclass(frozen=True, slots=True)
class Documented:
    name: str
    meaning: str  # first paragraph of the docstring, in one line
    fields: tuple[DocumentedField, ...]


def documented(kind: type) -> Documented:
    """A message or the header with its comments."""
    hints, comments = typing.get_type_hints(kind), _comments()[kind.__name__]
    meaning = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    rows = tuple(
        DocumentedField(item.name, hints[item.name], _default(item), comments[item.name]) for item in fields(kind)
    )
    return Documented(kind.__name__, meaning, rows)


def _default(item: Any) -> str:
    value = item.default if item.default is not MISSING else item.default_factory()
    if value in ("", b"", (), {}, Float32Array()):
        return ""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


@cache
def _comments() -> dict[str, dict[str, str]]:
    """Class -> field -> the comments on the lines of its definition."""
    source = inspect.getsource(messages)
    lines: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0]] = token.string.lstrip("# ").strip()
    return {
        made.name: {
            part.target.id: " ".join(lines[n] for n in range(part.lineno, _end(part) + 1) if n in lines)
            for part in made.body
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
        }
        for made in ast.parse(source).body
        if isinstance(made, ast.ClassDef)
    }


def _end(part: ast.AnnAssign) -> int:
    return part.end_lineno or part.lineno
