"""Who fell silent, who was heard again."""

from __future__ import annotations

from ..knowledge import presence
from .job import Job, Site


def _run(site: Site) -> str:
    return presence.watch(site.database)


JOB = Job("presence", "notes which devices fell silent or were heard again", 10.0, _run)
