"""`tinyml ingest register`: puts a bundle into the model registry."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..bundles import facts_of
from ..settings import IngestSettings
from ..stores.models import MlflowRegistry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, help="the bundle file")
    parser.add_argument("--model", help="name of the model; default: the file's name without its suffix")
    parser.add_argument("--alias", default="", help="champion, candidate, ...: points to this version from now on")


def run(chosen: IngestSettings, arguments: argparse.Namespace) -> int:
    """Prints which version it is."""
    bundle: Path = arguments.bundle
    model = arguments.model or bundle.stem
    version = MlflowRegistry(chosen.registry).register(bundle, model, facts_of(bundle), arguments.alias)
    print(f"{version.model} version {version.version} {' '.join(version.aliases)}".rstrip())
    return 0
