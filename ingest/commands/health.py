"""`tinyml ingest health`: whether the process beside this one is at work."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import IngestError
from ..heartbeat import age_s
from ..settings import IngestSettings

ABOUT = """\
Says whether a worker or `tinyml ingest maintain --watch` that was started with the same --heartbeat FILE is at work:
its loop touches the file every second, whatever goes on around it. While the database or the broker is away the loop
turns, and tries again; so this says whether the process has to be started anew, not whether all is well.
`tinyml/_ingest/state` on the broker and the API's /health tell that.

For containers: HEALTHCHECK CMD ["tinyml", "ingest", "health"]. Status 0: at work; 1: not.
"""
WITHIN_S = 60.0  # a transaction may take its time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.add_argument(
        "--within",
        type=float,
        default=WITHIN_S,
        metavar="S",
        help="how old the last beat may be; default %(default)g",
    )


def run(chosen: IngestSettings, arguments: argparse.Namespace) -> int:
    """Prints how long ago the last beat was."""
    if not chosen.heartbeat:
        raise IngestError("no heartbeat is set: start both with --heartbeat FILE, or TINYML_INGEST_HEARTBEAT")
    age = age_s(Path(chosen.heartbeat))
    if age is None:
        print(f"not at work: {chosen.heartbeat} is not there")
        return 1
    fresh = bool(age <= arguments.within)
    print(f"{'at work' if fresh else 'stuck'}: the last beat was {age:.1f} s ago")
    return 0 if fresh else 1
