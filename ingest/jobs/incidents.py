"""What many devices have at once."""

from __future__ import annotations

from ..knowledge import incidents
from .job import Job, Site


def _run(site: Site) -> str:
    measure = incidents.Measure(site.settings.incident_devices, site.settings.incident_share)
    return incidents.gather(site.database, measure)


JOB = Job("incidents", "makes one incident of the same on many devices", 30.0, _run)
