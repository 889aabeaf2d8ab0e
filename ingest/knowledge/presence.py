"""The history of presence: what statuses say is noted with them, silence by a job."""

from __future__ import annotations

from typing import Any

import psycopg

from ..stores.queries import query


def note(cursor: psycopg.Cursor[Any], device: str) -> None:
    """Notes the presence of a device whose status was just written, where it changed."""
    cursor.execute(query("note_presence", __package__), [device])


def watch(database: psycopg.Connection) -> str:
    """Notes who fell silent or was heard again, and how many are online."""
    changed = database.execute(query("note_silence", __package__)).rowcount
    database.execute(query("note_fleet", __package__))
    return f"{changed} devices came or went" if changed else ""
