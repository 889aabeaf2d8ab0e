"""`tinyml ingest migrate`: brings the database to the present schema."""

from __future__ import annotations

import argparse
import sys
import time

import psycopg

from ..errors import StoreAway
from ..settings import IngestSettings
from ..stores.events import connect, explained, server_level
from ..stores.migrate import migrate


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Nothing but the settings."""


def run(chosen: IngestSettings, _arguments: argparse.Namespace) -> int:
    bring_up_to_date(chosen)
    return 0


def bring_up_to_date(chosen: IngestSettings) -> None:
    """Migrates, waiting for a database that is just starting. Raises StoreAway when the patience is over."""
    give_up_at = time.monotonic() + chosen.patience_s
    while True:
        try:
            with connect(chosen.database) as connection:
                applied = migrate(connection)
                level = server_level(connection)
            break
        except psycopg.Error as error:
            sentence = explained(error)
            if not isinstance(sentence, StoreAway) or sentence.final or time.monotonic() > give_up_at:
                raise sentence from None
            time.sleep(0.2)
    done = f"applied {', '.join(applied)}" if applied else "is up to date"
    print(f"the database {done} ({level})", file=sys.stderr)
