"""`tinyml ingest register`: puts a bundle into the model registry."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..bundles import bundle_key, read_bundle
from ..settings import IngestSettings
from ..stores.models import MlflowRegistry
from ..stores.objects import open_objects
from ..training_report import read_report

ABOUT = """\
Puts a bundle into the model registry as a version of a model: the file, its parts beside it where MLflow's pages show
them, and as tags its digest, dimension, runtime and lineage (which samples of which labels it was made of). The same
bundle is registered once; to give it an alias later, say it again or use `tinyml ingest promote`.

  tinyml ingest register mine.bundle --alias candidate
  tinyml ingest register mine.bundle --report mine.report.json   with the training that `tinyml train` reports
  tinyml ingest register mine.bundle --upload                    and into the object store, for devices to fetch
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.add_argument("bundle", type=Path, help="the bundle file")
    parser.add_argument("--model", help="name of the model; default: the file's name without its suffix")
    parser.add_argument("--alias", default="", help="champion, candidate, ...: points to this version from now on")
    parser.add_argument(
        "--report", type=Path, metavar="X.report.json", help="what `tinyml train` wrote of its training"
    )

    parser.add_argument(
        "--upload",
        action="store_true",
        help="put the file into the object store too, under its digest: GET /bundles/DIGEST of the API serves it",
    )


def run(chosen: IngestSettings, arguments: argparse.Namespace) -> int:
    """Prints which version it is, and what is known of it."""
    path: Path = arguments.bundle
    bundle = read_bundle(path)
    report = read_report(arguments.report, bundle) if arguments.report else None
    registry = MlflowRegistry(chosen.registry)
    model = arguments.model or path.stem
    version = registry.register(path, model, bundle.tags, arguments.alias, parts=bundle.parts, about=bundle.about)
    registry.note_making(version, bundle.parameters, bundle.accuracy, report)
    print(f"{version.model} version {version.version} {' '.join(version.aliases)}".rstrip())
    print(f"  {bundle.digest}")
    print(f"  {bundle.about}")
    print(f"  {len(bundle.parts)} parts beside the file: {', '.join(sorted(bundle.parts))}")
    if arguments.upload:
        key = bundle_key(bundle.digest)
        open_objects(chosen.objects).put(key, path.read_bytes())
        print(f"  is {key} in the object store; the API serves it as /bundles/{bundle.digest}")
    if report is not None:
        print(f"  trained in {len(report.passes)} passes: {report.about}")
    return 0
