"""A database that was made on plain PostgreSQL gets hypertables once its server has TimescaleDB."""

from __future__ import annotations

from ..keeping.levels import level_up
from .job import Job, Site


def run(site: Site) -> str:
    """Does what the server can do and the database does not have yet."""
    return level_up(site.database, site.settings.late(), site.settings.kept())


JOB = Job("levels", "hypertables, aggregates, compression and policies where the server has TimescaleDB", 3600.0, run)
