"""Episodes of drift, of camera faults and of absence: what they were, and whether they are resolved."""

from __future__ import annotations

from ..knowledge import episodes
from .job import Job, Site


def _run(site: Site) -> str:
    return episodes.refresh(site.database)


JOB = Job("episodes", "keeps the status of drift, camera faults and absences", 30.0, _run)
