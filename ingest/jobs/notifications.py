"""What people should know."""

from __future__ import annotations

from ..knowledge.notifications import Patience, judge
from .job import Job, Site


def _run(site: Site) -> str:
    from ..knowledge.delivery import Delivery  # noqa: PLC0415  loads mail and HTTP, which a worker does not need

    settings = site.settings
    patience = Patience(
        hold_s=settings.notify_hold_s,
        drift_s=settings.notify_drift_s,
        offline_s=settings.notify_offline_s,
        waiting_s=settings.notify_waiting_s,
        per_hour=settings.notify_per_hour,
    )
    return judge(site.database, patience, Delivery(settings).channels, settings.notify_mute)


JOB = Job("notifications", "tells what needs a person", 30.0, _run)
