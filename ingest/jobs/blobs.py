"""What devices offered in chunks is asked for, put together and checked."""

from __future__ import annotations

from .job import Job, Site


def run(site: Site) -> str:
    from ..blobs.assembly import work  # noqa: PLC0415  only this process needs it

    return str(work(site))


JOB = Job("blobs", "what devices offer in chunks is asked for, put together and checked", 2.0, run)
