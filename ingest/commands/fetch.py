"""`tinyml ingest fetch`: brings a bundle out of the registry."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from ..bundles import read_bundle
from ..errors import RegistryError
from ..settings import IngestSettings
from ..stores.models import MlflowRegistry

ABOUT = """\
Brings a bundle out of the model registry, once it is what was registered, byte for byte.

  tinyml ingest fetch digits@champion -o champion.bundle
  tinyml ingest fetch digits/3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.add_argument("reference", metavar="MODEL@ALIAS|MODEL/VERSION", help="which one")
    parser.add_argument("-o", "--output", type=Path, metavar="X.bundle", help="file to write; default MODEL.bundle")


def run(chosen: IngestSettings, arguments: argparse.Namespace) -> int:
    """Prints what was written; an interrupted one leaves nothing under the name."""
    registry = MlflowRegistry(chosen.registry)
    version = registry.find(arguments.reference)
    output: Path = arguments.output or Path(f"{version.model}.bundle")
    try:
        with TemporaryDirectory(prefix=".fetch-", dir=output.absolute().parent) as folder:
            fetched = registry.fetch(version, Path(folder))
            digest = read_bundle(fetched).digest
            if digest != version.digest:
                raise RegistryError(f"{version.model} version {version.version} holds {digest}, not {version.digest}")
            os.replace(fetched, output)
    except OSError as error:
        raise RegistryError(f"{output} cannot be written: {(error.strerror or str(error)).lower()}") from None
    print(f"{output}: {version.model} version {version.version}, {version.digest}")
    return 0
