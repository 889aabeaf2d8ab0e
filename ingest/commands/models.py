"""`tinyml ingest models`: what is in the registry, and what of it runs where."""

from __future__ import annotations

import argparse
import json
import sys
from typing import NamedTuple

import psycopg

from ..settings import IngestSettings
from ..stores.events import connect, explained
from ..stores.models import MlflowRegistry
from ..stores.ports import ModelVersion
from ..stores.queries import query

ABOUT = """\
Lists every version of every model in the registry, by model and newest first: its aliases, the first digits of its
digest, when it was registered, how many of its calibration frames it recognises, and which devices said last that
they run it.
"""


class Running(NamedTuple):
    """How many devices run a bundle, and some of their names."""

    devices: int
    some: list[str]


NOBODY = Running(0, [])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.add_argument("--json", action="store_true", help="print them as JSON, with all tags")


def run(chosen: IngestSettings, arguments: argparse.Namespace) -> int:
    """Prints them; where the database is away, without the devices, and says so."""
    versions = MlflowRegistry(chosen.registry).versions()
    try:
        running = _running(chosen.database)
    except psycopg.Error as error:
        print(f"which devices run them is not known: {explained(error)}", file=sys.stderr)
        running = None
    if arguments.json:
        print(json.dumps([_whole(version, running) for version in versions], indent=2, ensure_ascii=False))
        return 0
    _print(versions, running)
    strangers = set(running or ()) - {version.digest for version in versions}
    for digest in sorted(strangers):
        print(f"not registered: {digest[:12]} on {_devices(running, digest)}")
    return 0


def _running(database: str) -> dict[str, Running]:
    with connect(database) as connection:
        rows = connection.execute(query("devices_of_bundles", "ingest.deployments")).fetchall()
    return {digest: Running(count, some) for digest, count, some in rows}


def _print(versions: list[ModelVersion], running: dict[str, Running] | None) -> None:
    titles = ("model", "version", "aliases", "digest", "registered", "accuracy", "devices")
    lines = [titles, *(_line(version, running) for version in versions)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    if not versions:
        print("the registry is empty; tinyml ingest register X.bundle puts something into it", file=sys.stderr)


def _line(version: ModelVersion, running: dict[str, Running] | None) -> tuple[str, ...]:
    return (
        version.model,
        str(version.version),
        " ".join(version.aliases) or "-",
        version.digest[:12],
        f"{version.made_at:%Y-%m-%d %H:%M}" if version.made_at else "-",
        version.tags.get("accuracy", "-"),
        _devices(running, version.digest),
    )


def _devices(running: dict[str, Running] | None, digest: str) -> str:
    if running is None:
        return "?"
    count, some = running.get(digest, NOBODY)
    return f"{count}: {', '.join(some)}{' ...' if count > len(some) else ''}" if count else "-"


def _whole(version: ModelVersion, running: dict[str, Running] | None) -> dict[str, object]:
    return {
        "model": version.model,
        "version": version.version,
        "aliases": list(version.aliases),
        "digest": version.digest,
        "registered": version.made_at.isoformat() if version.made_at else None,
        "tags": dict(version.tags),
        "devices": None if running is None else running.get(version.digest, NOBODY).devices,
    }
