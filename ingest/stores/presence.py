"""Which of two things said about a device is the newer one, whatever the order they arrive in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, TypeVar

import psycopg
from psycopg.types.json import Jsonb

from broker.messages import Birth, ConfigReported, Header, Message, ModelReported, Status

from ..deployments import bundles
from ..knowledge.presence import note
from .batch import Batch, wall_time
from .queries import query

M = TypeVar("M", bound=Message)


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
    """Writes what the batch says of devices where it is newer than what is known.

    When a broker comes back, all devices speak at once: what is known is read in one go, and what is written goes to
    the server without waiting for each answer.
    """
    said: list[Header] = [header for header, _ in (*batch.statuses, *batch.births)]
    said += [header for _, header, _ in batch.reports]
    if not said:
        return
    if batch.live:
        boots = list(dict.fromkeys((header.device, header.boot) for header in said))
        cursor.execute(query("note_boots"), [[device for device, _ in boots], [boot for _, boot in boots]])
    devices = sorted({header.device for header in said})
    cursor.execute(query("ensure_devices"), {"devices": devices, "live": batch.live})
    writes = [*_news(cursor, devices, batch), *_reports(cursor, devices, batch)]
    with cursor.connection.pipeline():
        for write in writes:
            write(cursor)
    bundles.note(cursor, batch)


Write = Callable[[psycopg.Cursor[Any]], object]


def _news(cursor: psycopg.Cursor[Any], devices: list[str], batch: Batch) -> list[Write]:
    """The births and statuses that count, device by device in the order in which they came."""
    known = {device: (state, born) for device, state, born in _standings(cursor, devices)}
    births, statuses = _by_device(batch.births), _by_device(batch.statuses)
    writes: list[Write] = []
    for device in devices:
        newer = partial(_newer, cursor, device, batch.live)
        state, born = known[device]
        for header, birth in births.get(device, ()):
            if newer(of_birth(header, birth), born):
                born = of_birth(header, birth)
                writes.append(partial(_write_birth, header, birth, batch.live))
        for header, status in statuses.get(device, ()):
            if newer(of_status(header, status), state):
                state = of_status(header, status)
                writes.append(partial(_write_status, header, status, batch.live))
    return writes


def _reports(cursor: psycopg.Cursor[Any], devices: list[str], batch: Batch) -> list[Write]:
    if not batch.reports:
        return []
    rows = cursor.execute(query("read_reports"), [devices]).fetchall()
    known = {(device, what): Standing(boot, 0, mono_us) for device, what, boot, mono_us in rows}
    writes: list[Write] = []
    for what, header, report in batch.reports:
        if _newer(cursor, header.device, batch.live, of_report(header), known.get((header.device, what))):
            known[header.device, what] = of_report(header)
            writes.append(partial(_write_report, what, header, report))
    return writes


def _newer(cursor: psycopg.Cursor[Any], device: str, live: bool, one: Standing, other: Standing | None) -> bool:
    def heard_later(new: str, old: str) -> bool:
        row = cursor.execute(query("heard_later"), {"device": device, "new": new, "old": old}).fetchone()
        return bool(row and row[0])

    return overrules(one, other, live, heard_later)


def _standings(
    cursor: psycopg.Cursor[Any], devices: list[str]
) -> Iterator[tuple[str, Standing | None, Standing | None]]:
    """What the devices' statuses and births stand for; their rows stay locked until the transaction ends."""
    for row in cursor.execute(query("read_standings"), [devices]).fetchall():
        device, boot, session, mono_us, state, birth_boot, birth_session = row
        yield (
            device,
            Standing(boot, session, mono_us, state == "offline") if boot is not None else None,
            Standing(birth_boot, birth_session) if birth_boot is not None else None,
        )


def _by_device(said: Iterable[tuple[Header, M]]) -> dict[str, list[tuple[Header, M]]]:
    found: dict[str, list[tuple[Header, M]]] = {}
    for header, message in said:
        found.setdefault(header.device, []).append((header, message))
    return found


def _write_birth(header: Header, birth: Birth, live: bool, cursor: psycopg.Cursor[Any]) -> None:
    cursor.execute(query("write_birth"), {**_birth_values(header, birth), "live": live})


def _write_status(header: Header, status: Status, live: bool, cursor: psycopg.Cursor[Any]) -> None:
    cursor.execute(query("write_status"), {**_status_values(header, status), "live": live})
    if live:
        note(cursor, header.device)


def _write_report(
    what: str, header: Header, report: ConfigReported | ModelReported, cursor: psycopg.Cursor[Any]
) -> None:
    cursor.execute(query("write_report"), _report_values(what, header, report))


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
