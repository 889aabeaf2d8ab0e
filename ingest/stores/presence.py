"""Which of two things said about a device is the newer one, whatever the order they arrive in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from broker.messages import Birth, ConfigReported, Header, ModelReported, Status

from ..deployments import bundles
from ..knowledge.presence import note
from .batch import Batch, wall_time
from .queries import query


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a status or a birth stands in the life of a device."""

    boot: str
    session: int
    mono_us: int = 0
    will: bool = False  # said by the broker for a device that is gone


def of_status(header: Header, status: Status) -> Standing:
    return Standing(header.boot, status.session, header.mono_us, will=status.state == "offline")


def of_birth(header: Header, birth: Birth) -> Standing:
    return Standing(header.boot, birth.session)


def of_report(header: Header) -> Standing:
    return Standing(header.boot, 0, header.mono_us)


def overrules(
    new: Standing, old: Standing | None, live: bool = True, heard_later: Callable[[str, str], bool] = lambda *_: True
) -> bool:
    """Whether `new` replaces `old`; anything replaces nothing.

    Within one installation the later boot, then the later session wins; within a session its will is the last word,
    and before that message time decides. Boots of two installations are compared by when this server heard of them
    first; but a will only ends a session of its own installation, and what a person brought (not `live`) may be of
    any age, so it replaces nothing of another one.
    """
    if old is None:
        return True
    if _installation(new.boot) != _installation(old.boot):
        return live and not new.will and heard_later(new.boot, old.boot)
    return _order(new) > _order(old)


def settle(cursor: psycopg.Cursor[Any], batch: Batch) -> None:
    """Writes what the batch says of devices where it is newer than what is known, device by device."""
    said: list[Header] = [header for header, _ in (*batch.statuses, *batch.births)]
    said += [header for _, header, _ in batch.reports]
    if said and batch.live:
        boots = list(dict.fromkeys((header.device, header.boot) for header in said))
        cursor.execute(query("note_boots"), [[device for device, _ in boots], [boot for _, boot in boots]])
    for device in sorted({header.device for header in said}):
        _settle_device(cursor, device, batch)
    bundles.note(cursor, batch)


def _settle_device(cursor: psycopg.Cursor[Any], device: str, batch: Batch) -> None:
    def newer(one: Standing, other: Standing | None) -> bool:
        return overrules(one, other, batch.live, lambda new, old: _heard_later(cursor, device, new, old))

    state, born = _known(cursor, device, batch.live)
    for header, birth in batch.births:
        if header.device == device and newer(of_birth(header, birth), born):
            born = of_birth(header, birth)
            cursor.execute(query("write_birth"), {**_birth_values(header, birth), "live": batch.live})
    for header, status in batch.statuses:
        if header.device == device and newer(of_status(header, status), state):
            state = of_status(header, status)
            cursor.execute(query("write_status"), {**_status_values(header, status), "live": batch.live})
            if batch.live:
                note(cursor, device)
    for what, header, report in batch.reports:
        if header.device == device and newer(of_report(header), _reported(cursor, device, what)):
            cursor.execute(query("write_report"), _report_values(what, header, report))


def _heard_later(cursor: psycopg.Cursor[Any], device: str, new: str, old: str) -> bool:
    row = cursor.execute(query("heard_later"), {"device": device, "new": new, "old": old}).fetchone()
    return bool(row and row[0])


def _known(cursor: psycopg.Cursor[Any], device: str, live: bool) -> tuple[Standing | None, Standing | None]:
    """What the device's status and birth stand for; the device's row stays locked until the transaction ends."""
    cursor.execute(query("ensure_device"), {"device": device, "live": live})
    row: tuple[Any, ...] = cursor.execute(query("read_standing"), [device]).fetchone() or (None,) * 6
    boot, session, mono_us, state, birth_boot, birth_session = row
    return (
        Standing(boot, session, mono_us, state == "offline") if boot is not None else None,
        Standing(birth_boot, birth_session) if birth_boot is not None else None,
    )


def _reported(cursor: psycopg.Cursor[Any], device: str, what: str) -> Standing | None:
    row = cursor.execute(query("read_report"), [device, what]).fetchone()
    return Standing(row[0], 0, row[1]) if row else None


def _installation(boot: str) -> str:
    return boot.rpartition("-")[0]


def _order(standing: Standing) -> tuple[int, int, bool, int]:
    count = standing.boot.rpartition("-")[2]
    return int(count) if count.isdecimal() else 0, standing.session, standing.will, standing.mono_us


def _status_values(header: Header, status: Status) -> dict[str, object]:
    return {
        "device": header.device,
        "boot": header.boot,
        "at": wall_time(header),
        "mono_us": header.mono_us,
        "session": status.session,
        "state": status.state,
        "reason": status.reason,
        "faults": list(status.faults),
    }


def _birth_values(header: Header, birth: Birth) -> dict[str, object]:
    said: dict[str, object] = {field.name: getattr(birth, field.name) for field in fields(birth)}
    return {
        **said,
        "device": header.device,
        "boot": header.boot,
        "at": wall_time(header),
        "versions": Jsonb(birth.versions),
        "actors": list(birth.actors),
        "detectors": list(birth.detectors),
    }


def _report_values(what: str, header: Header, report: ConfigReported | ModelReported) -> dict[str, object]:
    return {
        "device": header.device,
        "what": what,
        "boot": header.boot,
        "mono_us": header.mono_us,
        "at": wall_time(header),
        "revision": report.revision,
        "document": Jsonb({item.name: getattr(report, item.name) for item in fields(report)}),
    }
