"""Keyset pagination: a page names its last row, and the next page begins after it.

Rows that arrive meanwhile neither repeat nor hide others, however long a client takes between two pages.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import Query

from .errors import InvalidRequestError

Row = Mapping[str, Any]
T = TypeVar("T")
Key = str | int | datetime

After = Annotated[
    str | None, Query(max_length=512, description="`next` of the page before; without it the first page")
]
Limit = Annotated[int, Query(ge=1, le=500, description="how many at most")]


def cursor(values: Sequence[Key]) -> str:
    """The key of a row as an opaque word that fits a URL."""
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps(plain, separators=(",", ":")).encode()).decode().rstrip("=")


def read(after: str | None, kinds: Mapping[str, type[Key]]) -> dict[str, Key | None]:
    """The key in a cursor, named for a query; all None for the first page. Raises InvalidRequestError."""
    if after is None:
        return dict.fromkeys(kinds)
    try:
        plain = json.loads(base64.b64decode(after + "=" * (-len(after) % 4), altchars=b"-_", validate=True))
        if type(plain) is not list:
            raise ValueError("a list is expected")
        return {name: _value(kind, value) for (name, kind), value in zip(kinds.items(), plain, strict=True)}
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise InvalidRequestError("query.after: this is not the `next` of a page of this list") from None


def page(
    rows: Sequence[Row], limit: int, kinds: Mapping[str, type[Key]], item: Callable[[Row], T]
) -> tuple[list[T], str | None]:
    """Items of a page and the cursor to the next one; `rows` holds one more than `limit` where there is a next."""
    shown = rows[:limit]
    more = len(rows) > limit
    return [item(row) for row in shown], cursor([shown[-1][name] for name in kinds]) if more else None


def _value(kind: type[Key], value: object) -> Key:
    if kind is datetime and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("a time zone is expected")
        return moment
    if kind is int and type(value) is int and abs(value) < 1 << 63:
        return value
    if kind is str and isinstance(value, str) and "\x00" not in value and value.isprintable():
        return value
    raise TypeError(f"{kind.__name__} expected")
