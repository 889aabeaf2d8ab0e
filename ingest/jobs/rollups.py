"""Rows are summed up into hours, so that the rows can be given up and the hours stay."""

from __future__ import annotations

import time

from ..keeping import rollups
from .job import Job, Site

RUN_S = 20.0


def run(site: Site) -> str:
    """Sums up what has arrived since the last run, also for hours long ago."""
    hours = rollups.sum_up(site.database, time.monotonic() + RUN_S)
    return f"{hours} hours of devices summed up" if hours else ""


JOB = Job("rollups", "rows are summed up into hours; late rows count too", 300.0, run)
