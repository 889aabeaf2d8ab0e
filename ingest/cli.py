"""`tinyml ingest`: run a worker, migrate the database, register a bundle."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg

from broker import settings as common
from broker.address import BrokerAddress
from broker.connection import Options

from .bundles import facts_of
from .errors import StoreAway
from .filing import Filing
from .settings import PREFIX, IngestSettings
from .stores.events import PostgresEvents, connect, explained, server_level
from .stores.migrate import migrate
from .stores.models import MlflowRegistry
from .stores.objects import S3, open_objects
from .worker import Limits, Worker, client_id

ABOUT = """\
Takes what devices send from the broker, stores each record once, and tells the device that it is stored.

  tinyml ingest run       migrates the database and works until SIGTERM; run as many of these as you like
  tinyml ingest migrate   only brings the database to the present schema
  tinyml ingest register  puts a bundle into the model registry, the same one at most once
"""
COMMANDS = {"run": "store what devices send", "migrate": "migrate the database", "register": "register a bundle"}
RECONNECT_S = 5.0  # longest pause: workers are few, and a whole fleet waits for them


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tinyml ingest", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        common.add_arguments(command, IngestSettings, PREFIX)
        if name == "register":
            command.add_argument("bundle", type=Path, help="the bundle file")
            command.add_argument("--model", help="name of the model; default: the file's name without its suffix")
            command.add_argument(
                "--alias", default="", help="champion, candidate, ...: points to this version from now on"
            )
    arguments = parser.parse_args(argv)
    chosen = common.from_arguments(IngestSettings, arguments, PREFIX)
    logging.basicConfig(level=chosen.log_level.upper(), format="%(asctime)s %(name)s %(levelname)s %(message)s")
    if arguments.command == "run":
        return run(chosen)
    if arguments.command == "migrate":
        return bring_up_to_date(chosen)
    return register(chosen, arguments.bundle, arguments.model or arguments.bundle.stem, arguments.alias)


def run(chosen: IngestSettings) -> int:
    """Works until SIGTERM or Ctrl-C; returns the exit status."""
    address = BrokerAddress.of(
        chosen.broker,
        username=chosen.username,
        password=chosen.password,
        ca_file=Path(chosen.ca_file) if chosen.ca_file else None,
        cert_file=Path(chosen.cert_file) if chosen.cert_file else None,
        key_file=Path(chosen.key_file) if chosen.key_file else None,
    )
    objects = open_objects(chosen.objects)
    bring_up_to_date(chosen)
    if isinstance(objects, S3):
        objects.ensure_bucket()
    events = PostgresEvents(chosen.database)
    options = Options(
        address=address,
        client_id=client_id(),
        receive_maximum=chosen.receive_maximum,
        max_inflight=1000,
        backoff_cap_s=RECONNECT_S,
    )
    # Whatever the broker may have in flight to us has room.
    limits = Limits(batch=chosen.batch, room=2 * chosen.receive_maximum)
    worker = Worker(Filing(events, objects), options, root=chosen.root, limits=limits)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: worker.stop())
    try:
        return worker.run()
    finally:
        events.close()


def bring_up_to_date(chosen: IngestSettings) -> int:
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
    return 0


def register(chosen: IngestSettings, bundle: Path, model: str, alias: str) -> int:
    """Puts the bundle into the registry and prints which version it is."""
    version = MlflowRegistry(chosen.registry).register(bundle, model, facts_of(bundle), alias)
    print(f"{version.model} version {version.version} {' '.join(version.aliases)}".rstrip())
    return 0
