"""Fleets of simulated devices against real parts, each a process: whatever happens, every record is one row."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from benchmarks.ingest import numbers
from benchmarks.ingest.place import Place
from broker.embedded import find_mosquitto
from platform_api.demo.process import tinyml
from platform_api.simulate import accounting
from platform_api.simulate.fleet import Fleet
from platform_api.simulate.report import Report, broken, report
from platform_api.simulate.settings import SimulateSettings
from tests.support import missing

HOURS = 72
UNORDERED = """
SELECT count(*) FROM (
    SELECT at, lag(at) OVER (PARTITION BY device, boot ORDER BY seq) AS before
    FROM (
        SELECT device, boot, seq, at FROM drift_event UNION ALL SELECT device, boot, seq, at FROM telemetry
        UNION ALL SELECT device, boot, seq, at FROM prediction UNION ALL SELECT device, boot, seq, at FROM snapshot
        UNION ALL SELECT device, boot, seq, at FROM sample UNION ALL SELECT device, boot, seq, at FROM label_request
        UNION ALL SELECT device, boot, seq, at FROM adaptation
    ) record
    WHERE device LIKE %s
) neighbour
WHERE at <= before
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if find_mosquitto() is None:
        missing("mosquitto")
    with Place(tmp_path_factory.mktemp("fleets")) as made:
        yield made


def settings(place: Place, **more: Any) -> SimulateSettings:
    usual: dict[str, Any] = {"broker": place.broker.url, "database": place.database.url, "progress": 0.0}
    return SimulateSettings(**{**usual, "confirm_timeout_s": 3.0, "reconnect_s": 1.0, **more})


def play(fleet: Fleet) -> Report:
    asyncio.run(fleet.run())
    return account(fleet)


def account(fleet: Fleet) -> Report:
    """What has become of the records of a fleet that has finished."""
    return report(fleet, 0.0, 0.0, accounting.count(fleet.settings.database, fleet.devices), 0)


def ask(place: Place, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(place.database.url) as connection:
        return connection.execute(statement.encode(), values or None).fetchall()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_workers_brokers_and_databases_are_killed_and_every_record_is_one_row(place: Place) -> None:
    told = numbers.kills(place, events=6000, workers=3, brokers=2, databases=2, seed=4)
    assert told["kills"] == 7
    assert told["made"] > 4000
    assert (told["lost"], told["duplicated"]) == (0, 0)
    assert told["stored"] == told["made"]
    assert told["sent_again"] > 0  # the kills did hit something


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_three_days_of_outage_come_in_complete_and_in_order_and_overwrite_nothing(place: Place) -> None:
    with place.workers():
        fleet = Fleet(
            settings(
                place,
                name="away",
                devices=12,
                rate=60.0,
                duration=8.0,
                outage_h=float(HOURS),
                backlog=250,
                spool=1000,
            )
        )
        fleet.devices[0].synced = False  # for three days it did not know what year it is
        told = play(fleet)
        assert broken(told) == []
        assert told["made"] >= 12 * 250
        assert (told["skipped"], told["not_confirmed"]) == (0, 0)
        assert not any(device.spool for device in fleet.devices)
        maintain = tinyml("ingest", "maintain", "--database", place.database.url, "--broker", place.broker.url)
        subprocess.run([*maintain, "--only", "retime"], check=True, capture_output=True, timeout=60)

        assert broken(account(fleet)) == []  # moved to its right time, every record is still one row
        assert ask(place, UNORDERED, "away-%") == [(0,)]
        spans = ask(
            place,
            "SELECT device, extract(epoch FROM now() - min(at)) / 3600, bool_or(clock = 'retimed') "
            "FROM prediction WHERE device LIKE 'away-%' GROUP BY device ORDER BY device",
        )
        assert len(spans) == 12
        assert all(0.8 * HOURS < hours < HOURS + 0.1 for _, hours, _ in spans)
        assert [device for device, _, retimed in spans if retimed] == ["away-00000"]
        states = ask(
            place,
            "SELECT state, bool_and(heard_at > now() - interval '2 minutes'), "
            "bool_and(state_at > now() - interval '2 minutes') FROM device WHERE device LIKE 'away-%' GROUP BY state",
        )
        assert states == [("stopped", True, True)]  # what devices said last, not what came last


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_five_hundred_devices_lose_their_links_at_once_and_come_back(place: Place) -> None:
    with place.workers(2):
        told = play(Fleet(settings(place, name="storm", devices=500, rate=400.0, duration=9.0, storm=3.0)))
    assert broken(told) == []
    assert told["most_connected"] == 500
    assert told["storms"] >= 2
    assert told["reconnects"] > 500
    assert told["reboots"] > 0
    assert told["links_dropped"] == 0  # but those that the storms took


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_records_sent_twice_and_out_of_order_are_one_row_each(place: Place) -> None:
    with place.workers(2):
        for seed in (1, 2, 3):
            more = {"duplicate": 0.5, "reorder": 0.7, "window": 40, "outage_h": 1.0, "backlog": 60, "seed": seed}
            told = play(Fleet(settings(place, name=f"twice{seed}", devices=10, rate=200.0, duration=2.0, **more)))
            assert broken(told) == []
            assert told["sent_twice_on_purpose"] > told["made"] / 4
