"""Presence is judged by each device's own interval, and its history by what counted."""

from __future__ import annotations

from broker.messages import Birth, Status, Telemetry
from ingest.stores.batch import Batch
from tests.knowledge.fleet import Fleet
from tests.records import header

CASES = [  # state, seconds since it was heard, its interval
    ("online", 100, 60, "online"),
    ("online", 200, 60, "idle"),
    ("online", 200, 300, "online"),
    ("online", 1790, 60, "idle"),
    ("online", 1810, 60, "offline"),
    ("online", 60, 1, "idle"),
    ("online", 890, 1, "idle"),
    ("online", 910, 1, "offline"),
    ("offline", 0, 60, "offline"),
    ("stopped", 0, 60, "offline"),
    ("sleeping", 80_000, 60, "idle"),
    ("sleeping", 90_000, 60, "offline"),
    ("unknown", 10, 60, "online"),
    ("unknown", 1e9, 60, "unknown"),
    ("online", 3, 0, "online"),
    ("online", 1e6, 1e300, "idle"),
    ("online", 1e5, float("nan"), "online"),
]


def test_presence_follows_the_last_status_and_the_devices_own_interval(fleet: Fleet) -> None:
    statement = "SELECT presence_of(%s, now() - make_interval(secs => %s), %s, now())"
    for state, silent_s, report_s, presence in CASES:
        row = fleet.database.execute(statement, [state, silent_s, report_s]).fetchone()
        assert row == (presence,), (state, silent_s, report_s)


def history(fleet: Fleet, device: str = "pi-1") -> list[tuple[str, str]]:
    return fleet.rows(f"SELECT presence, source FROM v_presence_event WHERE device = '{device}' ORDER BY at")


def test_what_a_status_changes_is_noted_with_it_and_nothing_else(fleet: Fleet) -> None:
    fleet.appears("pi-1")
    fleet.says("pi-1", Status(state="online", session=1, faults=("hot",)), mono_us=5)
    fleet.breaks_off("pi-1")
    fleet.appears("pi-1", session=2)
    fleet.breaks_off("pi-1", session=1)  # a late will
    fleet.says("pi-1", Status(state="sleeping", session=2), mono_us=9)
    fleet.says("pi-1", Status(state="stopped", session=2), mono_us=10)
    assert history(fleet) == [
        ("online", "status"),
        ("offline", "will"),
        ("online", "status"),
        ("idle", "status"),
        ("offline", "status"),
    ]


def test_what_a_person_brings_is_no_sign_of_life(fleet: Fleet) -> None:
    status = (header(0, "pi-1"), Status(state="online", session=1))
    fleet.events.store(Batch(live=False, statuses=[status]))
    fleet.events.store(Batch(live=False, births=[(header(0, "pi-2"), Birth(session=1))]))
    fleet.works()
    assert fleet.rows("SELECT device, presence FROM v_device ORDER BY 1") == [
        ("pi-1", "offline"),
        ("pi-2", "unknown"),
    ]
    assert history(fleet, "pi-2") == []


def test_silence_is_dated_to_when_it_was_long_enough_and_ends_with_a_record(fleet: Fleet) -> None:
    fleet.appears("pi-1", "pi-2", report_s=10)
    fleet.passes(40)
    fleet.says("pi-2", Telemetry())
    fleet.works()
    fleet.works()
    assert history(fleet) == [("online", "status"), ("idle", "silence")]
    assert history(fleet, "pi-2") == [("online", "status")]
    fleet.passes(1000)
    fleet.works()
    (seconds,) = (
        row[0]
        for row in fleet.rows("SELECT seconds FROM v_presence_event WHERE presence = 'idle' AND device = 'pi-1'")
    )
    assert 864 < seconds < 866.5  # idle from 35 s of silence on, offline from 900 on
    fleet.says("pi-1", Telemetry())
    fleet.works()
    assert history(fleet)[2:] == [("offline", "silence"), ("online", "records")]


def test_a_device_view_shows_presence(fleet: Fleet) -> None:
    fleet.appears("pi-1", "pi-2", report_s=10)
    fleet.passes(60)
    fleet.says("pi-2", Telemetry())
    assert fleet.rows("SELECT device, presence FROM v_device ORDER BY device") == [
        ("pi-1", "idle"),
        ("pi-2", "online"),
    ]


def test_availability_is_the_share_of_each_day_that_a_device_was_online(fleet: Fleet) -> None:
    for at, presence in (
        ("2026-03-01 12:00Z", "online"),
        ("2026-03-02 06:00Z", "offline"),
        ("2026-03-02 18:00Z", "online"),
        ("2026-03-03 00:00Z", "idle"),
        ("2026-03-03 06:00Z", "unknown"),
    ):
        fleet.database.execute(
            "INSERT INTO presence_event (device, at, presence, reason, source, heard_at)"
            " VALUES ('pi-1', %s, %s, '', 'status', now())",
            [at, presence],
        )
    shares = fleet.rows("SELECT day::text, online_s::int, online_share::real FROM v_availability ORDER BY day")
    assert shares == [("2026-03-01", 43_200, 1.0), ("2026-03-02", 43_200, 0.5), ("2026-03-03", 0, 0.0)]


def test_how_many_were_online_is_kept_by_the_hour(fleet: Fleet) -> None:
    fleet.appears("pi-1", "pi-2")
    fleet.appears("pi-3", bundle="b2")
    fleet.works()
    fleet.breaks_off("pi-1", "pi-3")
    fleet.works()
    assert fleet.rows("SELECT bundle, max(online) FROM fleet_hour GROUP BY bundle ORDER BY 1") == [
        ("*", 3),
        ("b1", 2),
        ("b2", 1),
    ]
