"""Brings notifications to webhook and mail."""

from __future__ import annotations

from .job import Job, Site


def _run(site: Site) -> str:
    from ..knowledge.delivery import Delivery  # noqa: PLC0415  loads mail and HTTP, which a worker does not need

    return Delivery(site.settings).run(site.database)


JOB = Job("delivery", "sends notifications by webhook and mail", 5.0, _run)
