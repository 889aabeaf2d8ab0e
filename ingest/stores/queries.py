"""The statements of a package's `queries.sql` by name."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import LiteralString, cast

from psycopg import sql

_NAME = re.compile(r"^-- :name (\w+)$", re.MULTILINE)


@cache
def statements(package: str = __package__) -> dict[str, LiteralString]:
    """Every named statement of a package, without its terminating semicolon."""
    text = resources.files(package).joinpath("queries.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    # The file is part of this program, so its text is as trusted as a literal.
    return {
        name: cast(LiteralString, body.strip().rstrip(";"))
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


def query(name: str, package: str = __package__, **parts: sql.Composable) -> sql.Composed:
    """A statement, its {braces} filled with identifiers."""
    return sql.SQL(statements(package)[name]).format(**parts)
