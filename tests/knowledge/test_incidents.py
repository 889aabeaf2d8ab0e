"""The same on many devices is one incident, in whatever order and however late its records come."""

from __future__ import annotations

import random
from typing import Any

import psycopg
import pytest

from broker.messages import DriftDetected
from ingest.embedded import Postgres
from ingest.knowledge import incidents
from tests.knowledge.fleet import Fleet
from tests.postgres import fresh_database

PIS = [f"pi-{number}" for number in range(1, 6)]


def names(fleet: Fleet) -> list[str]:
    return [row[0] for row in fleet.rows("SELECT incident FROM v_incident ORDER BY begin_at, incident")]


def test_the_same_drift_on_three_devices_within_an_hour_is_one_incident(fleet: Fleet) -> None:
    fleet.appears(*PIS)
    for number, pi in enumerate(PIS[:3]):
        fleet.drifts(pi, ago_s=3000 - 1000 * number)
    fleet.works()
    assert fleet.incidents() == [("drift", "residual", "open", 3)]
    assert fleet.rows("SELECT severity, online, unresolved, restarted FROM v_incident") == [("critical", 5, 3, 0)]
    assert [row[0] for row in fleet.rows("SELECT device FROM v_incident_device ORDER BY 1")] == PIS[:3]


@pytest.mark.parametrize(
    "drifts",
    [
        [("pi-1", "e1", 100, "residual"), ("pi-1", "e2", 90, "residual"), ("pi-1", "e3", 80, "residual")],
        [("pi-1", "e1", 9000, "residual"), ("pi-2", "e2", 4000, "residual"), ("pi-3", "e3", 80, "residual")],
        [("pi-1", "e1", 100, "residual"), ("pi-2", "e2", 90, "feature"), ("pi-3", "e3", 80, "confidence")],
    ],
    ids=["one device", "spread over hours", "of different types"],
)
def test_is_no_incident(fleet: Fleet, drifts: list[tuple[str, str, float, str]]) -> None:
    fleet.appears(*PIS)
    for drift in drifts:
        fleet.drifts(*drift)
    fleet.works()
    assert fleet.incidents() == []


def test_drift_of_different_bundles_is_not_the_same(fleet: Fleet) -> None:
    fleet.appears("pi-1", "pi-2", bundle="b1")
    fleet.appears("pi-3", bundle="b2")
    for pi in PIS[:3]:
        fleet.drifts(pi)
    fleet.works()
    assert fleet.incidents() == []


def test_a_large_fleet_needs_a_share_of_those_online(fleet: Fleet) -> None:
    fleet.appears(*(f"pi-{number}" for number in range(1, 21)))
    fleet.works()
    for number in (1, 2, 3):
        fleet.drifts(f"pi-{number}")
    fleet.works()
    assert fleet.incidents() == []
    fleet.drifts("pi-4")
    fleet.works()
    assert fleet.incidents() == [("drift", "residual", "open", 4)]
    assert fleet.rows("SELECT severity, online FROM v_incident") == [("warning", 20)]


def test_how_large_the_fleet_was_before_anybody_counted_is_taken_from_the_first_count(fleet: Fleet) -> None:
    fleet.appears(*(f"pi-{number}" for number in range(1, 31)))
    for number in range(1, 6):
        fleet.drifts(f"pi-{number}", ago_s=100 * 86_400)
    fleet.works()
    assert fleet.incidents() == []
    fleet.drifts("pi-6", ago_s=100 * 86_400)
    fleet.passes(1000)
    fleet.works()
    assert ("drift", "residual", "open", 6) in fleet.incidents()


def test_an_incident_grows_and_closes_when_all_is_resolved(fleet: Fleet) -> None:
    fleet.appears(*PIS, report_s=1)
    for pi in PIS[:3]:
        fleet.drifts(pi, ago_s=100)
    fleet.works()
    first = names(fleet)
    fleet.drifts("pi-4", ago_s=50)
    fleet.works()
    assert (names(fleet), fleet.incidents()) == (first, [("drift", "residual", "open", 4)])
    for pi in PIS[:4]:
        fleet.recovers(pi)
        fleet.drifts(pi, "e2", drift_type="feature")  # another thing
    fleet.works()
    assert fleet.incidents() == [("drift", "residual", "closed", 4), ("drift", "feature", "open", 4)]


def test_late_records_join_the_incident_of_their_time(fleet: Fleet) -> None:
    fleet.appears(*PIS)
    for pi in PIS[:3]:
        fleet.drifts(pi, ago_s=80_000)
        fleet.recovers(pi, ago_s=79_000)
        fleet.drifts(pi, "e2", ago_s=70_000, drift_type="other")
        fleet.recovers(pi, "e2", ago_s=60_000)
    fleet.works()
    first = names(fleet)
    fleet.drifts("pi-4", ago_s=81_000)  # even before its first
    fleet.works()
    assert names(fleet) == first
    assert fleet.incidents()[0] == ("drift", "residual", "open", 4)


def test_two_incidents_between_which_the_missing_link_arrives_become_one(fleet: Fleet) -> None:
    fleet.appears(*PIS)
    for ago_s, pis in ((20_000, PIS[:3]), (14_000, PIS[2:5])):
        for number, pi in enumerate(pis):
            fleet.drifts(pi, f"{pi}-{ago_s}", ago_s=ago_s - number)
    fleet.works()
    older = fleet.rows("SELECT incident FROM incident ORDER BY opened_at, incident LIMIT 1")[0][0]
    assert [row[3] for row in fleet.incidents()] == [3, 3]
    for pi in ("pi-4", "pi-5"):
        fleet.drifts(pi, f"{pi}-late", ago_s=17_000)
    fleet.works()
    rows = fleet.rows("SELECT incident, status, devices, merged_into FROM incident ORDER BY status DESC")
    assert [row[1:3] for row in rows] == [("open", 5), ("merged", 3)]
    assert (rows[0][0], rows[1][3]) == (older, older)
    assert fleet.rows("SELECT count(*), count(DISTINCT incident) FROM incident_device") == [(8, 1)]


def test_clocks_that_cannot_be_trusted_make_no_incident_until_they_are_mended(fleet: Fleet) -> None:
    fleet.appears(*PIS)
    for pi in PIS[:3]:
        begun = DriftDetected(episode="e1", drift_type="residual")
        fleet.says(pi, begun, ago_s=1000, clock="unsynced")
    fleet.works()
    assert fleet.incidents() == []
    fleet.database.execute("UPDATE drift_event SET clock = 'retimed'")
    fleet.works()
    assert fleet.incidents() == [("drift", "residual", "open", 3)]


def test_an_incident_that_re_timing_takes_apart_is_dissolved(fleet: Fleet) -> None:
    fleet.appears(*PIS)
    for pi in PIS[:3]:
        fleet.drifts(pi, ago_s=1000)
    fleet.works()
    fleet.database.execute("UPDATE drift_event SET at = at - interval '1 day' WHERE device = 'pi-1'")
    fleet.works()
    assert fleet.incidents() == [("drift", "residual", "dissolved", 3)]
    assert fleet.rows("SELECT count(*) FROM incident_device") == [(0,)]


def test_cameras_and_broken_links_make_incidents_of_their_own(fleet: Fleet) -> None:
    fleet.appears(*PIS)
    for pi in PIS[:3]:
        fleet.blinds(pi, "black", ago_s=5)
    fleet.breaks_off(*PIS[2:])
    fleet.works()
    assert fleet.incidents() == [("camera", "black", "open", 3), ("away", "away", "open", 3)]
    assert fleet.rows("SELECT kind, severity FROM incident ORDER BY 1") == [("away", "critical"), ("camera", "info")]
    fleet.appears(*PIS, session=2)
    fleet.works()
    assert fleet.incidents() == [("camera", "black", "open", 3), ("away", "away", "closed", 3)]


def test_says_how_many_had_just_started(fleet: Fleet) -> None:
    fleet.appears(*PIS)
    fleet.passes(7200)
    fleet.breaks_off("pi-1", "pi-2")
    fleet.appears("pi-1", boot="0a1b2c3d-000002", mono_us=1)  # a power cut
    fleet.appears("pi-2", session=2)  # only the link
    fleet.passes(60)
    for pi in PIS[:3]:
        fleet.drifts(pi, ago_s=10)
    fleet.works()
    assert fleet.rows("SELECT restarted FROM incident WHERE kind = 'drift'") == [(1,)]


# ---- replay -----------------------------------------------------------------------------------------------------


def members(fleet: Fleet) -> set[frozenset[tuple[Any, ...]]]:
    found: dict[str, set[tuple[Any, ...]]] = {}
    for incident, device, episode in fleet.rows("SELECT incident, device, episode FROM incident_device"):
        found.setdefault(incident, set()).add((device, episode))
    return {frozenset(group) for group in found.values()}


@pytest.mark.parametrize("seed", range(3))
def test_replay_in_another_order_gives_the_same_incidents(embedded_server: Postgres, seed: int) -> None:
    chance = random.Random(seed)
    told = [
        (chance.choice(PIS), f"e{number}", float(chance.randrange(80_000)), chance.choice(("residual", "feature")))
        for number in range(70)
    ]
    outcomes: list[set[frozenset[tuple[Any, ...]]]] = []
    now = None
    for shuffled in (False, True):
        for url in fresh_database(embedded_server):
            with Fleet(url) as fleet:
                now = fleet.now = now or fleet.now
                fleet.appears(*PIS)
                order = chance.sample(told, len(told)) if shuffled else told
                for start in range(0, len(order), 13 if shuffled else len(order)):
                    for device, episode, ago_s, drift_type in order[start : start + 13 if shuffled else None]:
                        fleet.drifts(device, episode, ago_s, drift_type)
                    fleet.works()
                outcomes.append(members(fleet))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) > 1


def test_a_run_that_is_killed_leaves_nothing_half_done(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.appears(*PIS)
    for pi in PIS[:3]:
        fleet.drifts(pi)

    def dies(*_: object) -> None:
        raise psycopg.OperationalError("the server closed the connection")

    with monkeypatch.context() as patched:
        patched.setattr(incidents, "_write_one", dies)
        with pytest.raises(psycopg.OperationalError):
            fleet.works()
    assert fleet.incidents() == []
    fleet.works()
    assert fleet.incidents() == [("drift", "residual", "open", 3)]
