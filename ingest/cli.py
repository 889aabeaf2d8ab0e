"""`tinyml ingest`: table of subcommand -> module of `commands`, imported on use."""

from __future__ import annotations

import argparse
import importlib
import logging
from collections.abc import Sequence

from broker import settings as common

from .settings import PREFIX, IngestSettings

ABOUT = """\
Takes what devices send from the broker, stores each record once, and tells the device that it is stored.

  tinyml ingest run       migrates the database and works until SIGTERM; run as many of these as you like
  tinyml ingest maintain  does what is to be done now and then; with --watch it goes on until SIGTERM
"""
# name -> what it does; the module of this name has `add_arguments(parser)` and `run(settings, arguments) -> status`.
COMMANDS = {
    "run": "store what devices send",
    "migrate": "bring the database to the present schema",
    "maintain": "retention, re-timing, notifications ...: what is to be done now and then",
    "register": "put a bundle into the model registry, the same one at most once",
}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tinyml ingest", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in COMMANDS.items():
        command = commands.add_parser(
            name, help=what, description=what, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        common.add_arguments(command, IngestSettings, PREFIX)
        module = importlib.import_module(f".commands.{name}", __package__) if name in argv[:1] else None
        if module is not None:
            module.add_arguments(command)
    arguments = parser.parse_args(argv)
    chosen = common.from_arguments(IngestSettings, arguments, PREFIX)
    logging.basicConfig(level=chosen.log_level.upper(), format="%(asctime)s %(name)s %(levelname)s %(message)s")
    status: int = importlib.import_module(f".commands.{arguments.command}", __package__).run(chosen, arguments)
    return status
