"""Roles that may read the views and nothing else, such as Grafana's."""

from __future__ import annotations

import re

import psycopg
from psycopg import sql

from ..errors import IngestError
from .queries import query

MARK = "tinyml: reads the views"  # the comment on a role that was made here
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
TOO_SHORT = 12


def make_reader(connection: psycopg.Connection, role: str, password: str) -> str:
    """Makes the role, or brings it to what it should be; said twice it changes nothing. Returns it in a sentence.

    Raises IngestError for a name that is none, a password that is none, or a role that somebody else made.
    """
    if not _NAME.fullmatch(role) or role.startswith("pg_"):
        raise IngestError(f"{role!r} is not a name for a role: lower-case letters, digits and underscores")
    if len(password) < TOO_SHORT:
        raise IngestError(
            f"the password of {role} has to have {TOO_SHORT} characters or more, and has {len(password)}"
        )
    name = sql.Identifier(role)
    with connection.transaction():
        known = connection.execute(query("role_mark"), [role]).fetchone()
        if known is not None and known[0] != MARK:
            raise IngestError(f"there is a role {role} that was not made by tinyml; choose another name")
        if known is None:
            connection.execute(query("create_reader", role=name))
        # The server gets the digest and never the password, which would stand in its log.
        digest = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        for statement in ("limit_reader", "calm_reader", "patient_reader"):
            connection.execute(query(statement, role=name))
        connection.execute(query("reader_password", role=name, digest=sql.Literal(digest)))
        connection.execute(query("mark_reader", role=name, mark=sql.Literal(MARK)))
        database = sql.Identifier(connection.info.dbname)
        connection.execute(query("let_in", role=name, database=database))
        views = _grant(connection, role)
    return f"role {role} may read {views} views"


def grant_readers(connection: psycopg.Connection) -> None:
    """Lets the readers of this database read views that came since; after a migration."""
    with connection.transaction():
        for (role,) in connection.execute(query("readers_here"), [MARK]).fetchall():
            _grant(connection, role)


def _grant(connection: psycopg.Connection, role: str) -> int:
    name = sql.Identifier(role)
    connection.execute(query("revoke_all", role=name))
    connection.execute(query("let_into_schema", role=name))
    views = [sql.Identifier(view) for (view,) in connection.execute(query("readable_views"))]
    connection.execute(query("let_read", role=name, views=sql.SQL(", ").join(views)))
    return len(views)
