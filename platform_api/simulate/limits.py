"""File descriptors: one a device here, one a device in the broker."""

from __future__ import annotations

import resource

from ..errors import SimulateError

SPARE = 200


def make_room(devices: int) -> None:
    """Raises the soft limit of this process and its children. Raises SimulateError where the hard one is too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = devices + SPARE
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise SimulateError(
                f"{devices} devices need {needed} open files, and this user may have {hard} (ulimit -Hn); "
                "the broker needs as many, too"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
