"""Keeps readings quick to find without making it slow to store them, where TimescaleDB cuts them into chunks.

The chunk of today has an index of page ranges, which costs a write next to nothing; its newest pages have to be
summed up now and then. A chunk that is complete gets a tree. Plain PostgreSQL keeps a tree from the beginning.
"""

from __future__ import annotations

import time

import psycopg
from psycopg import sql

from ..stores.events import server_level
from ..stores.queries import query
from .job import Job, Site

RUN_S = 20.0  # of one run; a tree that was begun is finished


def run(site: Site) -> str:
    """Sums up what is new, and gives chunks that are complete a tree."""
    connection = site.database
    if server_level(connection) == "plain":
        return ""
    trees, until = 0, time.monotonic() + RUN_S
    for chunk, complete, unknown, ranges, broken in connection.execute(
        query("reading_chunks", __package__)
    ).fetchall():
        for index in broken:  # left by a run that was killed
            connection.execute(query("drop_index", __package__, index=_name(index)))
        if ranges:
            connection.execute(query("summarise_chunk", __package__), [ranges])
        if unknown:  # or the first questions would read all of it
            connection.execute(query("analyse_chunk", __package__, chunk=_name(chunk)))
        if complete and time.monotonic() < until:
            trees += _plant(connection, chunk)
    return f"{trees} chunks of readings got a tree" if trees else ""


def _plant(connection: psycopg.Connection, chunk: str) -> int:
    try:
        connection.execute(query("index_chunk", __package__, chunk=_name(chunk)))
    except psycopg.errors.UndefinedTable:  # its time was over
        return 0
    return 1


def _name(text: str) -> sql.SQL:
    # As PostgreSQL wrote it, with its schema and quoted where that is needed.
    return sql.SQL(text)


JOB = Job("readings", "indexes of what is new in readings, and of days that are complete", 20.0, run)
