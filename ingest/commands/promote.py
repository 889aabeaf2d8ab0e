"""`tinyml ingest promote`: points an alias to a version."""

from __future__ import annotations

import argparse

from ..settings import IngestSettings
from ..stores.models import MlflowRegistry

ABOUT = """\
Points an alias to a version of a model. An alias points to one version; nothing else happens: which devices are to
run a bundle is told to them in their own documents, and no device follows an alias by itself.

  tinyml ingest promote digits 3                      digits version 3 becomes the champion
  tinyml ingest promote digits 4 --alias candidate
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.add_argument("model", help="name of the model, as `tinyml ingest models` lists it")
    parser.add_argument("version", type=int, help="number of the version")
    parser.add_argument("--alias", default="champion", help="the alias; default %(default)s")


def run(chosen: IngestSettings, arguments: argparse.Namespace) -> int:
    """Prints the version, and which one had the alias before."""
    registry = MlflowRegistry(chosen.registry)
    before = registry.by_alias(arguments.model, arguments.alias)
    version = registry.promote(arguments.model, arguments.version, arguments.alias)
    instead = f", which was version {before.version}" if before and before.version != version.version else ""
    print(f"{version.model} version {version.version} is {arguments.alias}{instead}")
    return 0
