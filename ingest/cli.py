"""`tinyml ingest`: table of subcommand -> module of `commands`, imported on use."""

from __future__ import annotations

import argparse
import importlib
import keyword
import logging
from collections.abc import Sequence
from typing import Any

from broker import settings as common

from .settings import PREFIX, IngestSettings

ABOUT = """\
Takes what devices send from the broker, stores each record once, and tells the device that it is stored.

  tinyml ingest run       migrates the database and works until SIGTERM; run as many of these as you like
  tinyml ingest maintain  does what is to be done now and then; with --watch it goes on until SIGTERM
"""
# name -> what it does; its module has `add_arguments(parser)` and `run(settings, arguments) -> status`.
COMMANDS = {
    "run": "store what devices send",
    "migrate": "bring the database to the present schema",
    "import": "take files that a person carried here from devices without a link",
    "maintain": "retention, re-timing, notifications ...: what is to be done now and then",
    "notify": "show what people were told lately; --test tries webhook and mail",
    "register": "put a bundle into the model registry, the same one at most once",
    "models": "list what is in the model registry, and which devices run it",
    "promote": "point an alias such as champion to a version of a model",
    "health": "whether a worker or maintain --watch is at work, for containers",
    "fetch": "bring a bundle out of the model registry",
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
        if name in argv[:1]:
            _module(name).add_arguments(command)
    arguments = parser.parse_args(argv)
    chosen = common.from_arguments(IngestSettings, arguments, PREFIX)
    logging.basicConfig(level=chosen.log_level.upper(), format="%(asctime)s %(name)s %(levelname)s %(message)s")
    status: int = _module(arguments.command).run(chosen, arguments)
    return status


def _module(command: str) -> Any:
    """The module of a command; one whose name is a word of Python has an underscore behind it."""
    name = f"{command}_" if keyword.iskeyword(command) else command
    return importlib.import_module(f".commands.{name}", __package__)
