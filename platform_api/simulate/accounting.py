"""What the database holds of the records that simulated devices made: exactly once, or how far from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg

from ingest.stores.events import connect, explained
from ingest.stores.queries import query

from .device import Device
from .tally import Counted


def count(database: str, devices: Sequence[Device]) -> Counted:
    """Compares the devices' numbers with the rows of their boots. Raises IngestError where it cannot ask."""
    produced = {(device.name, boot): last for device in devices for boot, last in device.produced.items()}
    boots = sorted({boot for _, boot in produced})
    try:
        with connect(database, "tinyml-simulate") as connection:
            found = connection.execute(query("count_records", package=__package__), [boots]).fetchall()
            times = connection.execute(query("time_to_row", package=__package__), [boots]).fetchone()
            labels = connection.execute(query("count_labels", package=__package__), [boots]).fetchone()
    except psycopg.Error as error:
        raise explained(error) from error
    rows = {(device, boot): (records, numbers, last) for device, boot, records, numbers, last in found}
    return compare(produced, rows, _told(times), labels[0] if labels else 0)


def compare(
    produced: Mapping[tuple[str, str], int],
    rows: Mapping[tuple[str, str], tuple[int, int, int]],
    device_to_row: dict[str, float] | None,
    labels_applied: int,
) -> Counted:
    """By device and boot: the highest number that was made; and rows, different numbers and the highest one."""
    lost = twice = foreign = 0
    for key, last in produced.items():
        records, numbers, highest = rows.get(key, (0, 0, 0))
        beyond = max(0, highest - last)
        lost += max(0, last - numbers + beyond)
        twice += records - numbers
        foreign += beyond
    foreign += sum(records for key, (records, _, _) in rows.items() if key not in produced)
    return Counted(
        rows=sum(records for records, _, _ in rows.values()),
        lost=lost,
        twice=twice,
        foreign=foreign,
        device_to_row=device_to_row,
        labels_applied=labels_applied,
    )


def _told(row: tuple[int, list[float] | None, float | None] | None) -> dict[str, float] | None:
    if row is None or not row[1] or row[2] is None:
        return None
    count, percentiles, longest = row[0], row[1], row[2]
    p50, p95, p99 = percentiles
    told = {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "max_ms": longest}
    return {"count": count, **{name: round(seconds * 1e3, 2) for name, seconds in told.items()}}
