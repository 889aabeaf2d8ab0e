"""The statements of this package by name."""

from __future__ import annotations

from psycopg import sql

from ..stores import queries


def query(name: str, **parts: sql.Composable) -> sql.Composed:
    """A statement of this package's `queries.sql`, its {braces} filled."""
    return queries.query(name, __package__, **parts)
