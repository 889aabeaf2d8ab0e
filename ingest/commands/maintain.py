"""`tinyml ingest maintain`: the jobs that are due, once or again and again."""

from __future__ import annotations

import argparse
import signal

from ..settings import IngestSettings
from ..upkeep import Upkeep
from ..wiring import JOBS
from .migrate import bring_up_to_date


def add_arguments(parser: argparse.ArgumentParser) -> None:
    width = max(len(job.name) for job in JOBS) if JOBS else 0
    parser.description = "Does what is to be done now and then, each job when it is due:\n\n" + "\n".join(
        f"  {job.name:{width}}  every {job.every_s:g} s  {job.what}" for job in JOBS
    )
    parser.add_argument("--watch", action="store_true", help="go on until SIGTERM instead of once")
    parser.add_argument("--only", nargs="+", default=[], metavar="JOB", help="these jobs, due or not")


def run(chosen: IngestSettings, arguments: argparse.Namespace) -> int:
    """Prints a line a job; status 1 where one failed."""
    bring_up_to_date(chosen)
    upkeep = Upkeep(chosen, JOBS)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: upkeep.stop())
    return upkeep.watch() if arguments.watch else upkeep.once(arguments.only)
