"""Presence and birth of devices; which one is the newer is decided where they are stored."""

from __future__ import annotations

from broker.messages import Birth, Header, Status

from ..errors import Poison
from ..stores.batch import Batch, wall_time

STATES = frozenset({"online", "offline", "stopped", "sleeping"})


def status(header: Header, m: Status, batch: Batch) -> None:
    if m.state not in STATES:
        raise Poison(f"state {m.state[:64]!r} is not one of {', '.join(sorted(STATES))}")
    wall_time(header)
    batch.statuses.append((header, m))


def birth(header: Header, m: Birth, batch: Batch) -> None:
    wall_time(header)
    batch.births.append((header, m))
