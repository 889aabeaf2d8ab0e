"""`tinyml ingest migrate`: brings the database to the present schema."""

from __future__ import annotations

import argparse
import os
import sys
import time

import psycopg

from ..errors import StoreAway
from ..keeping.readers import grant_readers, make_reader
from ..settings import IngestSettings
from ..stores.events import connect, explained, server_level
from ..stores.migrate import migrate

VARIABLE = "TINYML_GRAFANA_PASSWORD"  # it names where the password is


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--grafana-role",
        metavar="NAME",
        help="also make a database role that may read the views (v_...) and nothing else, or bring it up to date; "
        f"its password is taken from {VARIABLE}",
    )


def run(chosen: IngestSettings, arguments: argparse.Namespace) -> int:
    bring_up_to_date(chosen)
    if arguments.grafana_role:
        try:
            with connect(chosen.database) as connection:
                said = make_reader(connection, arguments.grafana_role, os.environ.get(VARIABLE, ""))
        except psycopg.Error as error:
            raise explained(error) from error
        print(said, file=sys.stderr)
    return 0


def bring_up_to_date(chosen: IngestSettings) -> None:
    """Migrates, waiting for a database that is just starting. Raises StoreAway when the patience is over."""
    give_up_at = time.monotonic() + chosen.patience_s
    while True:
        try:
            with connect(chosen.database) as connection:
                applied = migrate(connection)
                if applied:
                    grant_readers(connection)
                level = server_level(connection)
            break
        except psycopg.Error as error:
            sentence = explained(error)
            if not isinstance(sentence, StoreAway) or sentence.final or time.monotonic() > give_up_at:
                raise sentence from None
            time.sleep(0.2)
    done = f"applied {', '.join(applied)}" if applied else "is up to date"
    print(f"the database {done} ({level})", file=sys.stderr)
