"""Rows that are older than they are to be kept go, and so do pictures that no row points to any more."""

from __future__ import annotations

from ..keeping import retention
from ..keeping.spent import remove_spent
from ..stores.events import server_level
from .job import Job, Site

RUN_S = 20.0


def run(site: Site) -> str:
    """Says what went. Raises StoreAway; objects that could not be removed are removed next time."""
    said = retention.start(site.database, RUN_S, server_level(site.database)).give_up(site.settings.kept())
    words = [f"{table}: {what}" for table, what in said.items()]
    if removed := remove_spent(site.database, site.objects):
        words.append(f"{removed} objects")
    return "; ".join(words)


JOB = Job("retention", "rows older than --retention says go, and pictures of samples that are gone", 3600.0, run)
