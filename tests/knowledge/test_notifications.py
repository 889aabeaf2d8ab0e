"""People are told few things, once, and nothing that heals by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.messages import DeadLetter, DriftContinued, Status, Telemetry
from ingest.knowledge.notifications import Patience, judge
from ingest.knowledge.rules import FAULTS, RULES
from tests.knowledge.fleet import Fleet

PIS = ("pi-1", "pi-2", "pi-3")
PATIENCE = Patience(per_hour=3)


def works(fleet: Fleet, *mute: str, patience: Patience = PATIENCE) -> None:
    fleet.works()
    judge(fleet.database, patience, ("webhook",), mute)


def told(fleet: Fleet) -> list[tuple[object, ...]]:
    return fleet.rows("SELECT kind, coalesce(device, ''), active FROM v_notification ORDER BY id")


def incident(fleet: Fleet, *, episode: str = "e1") -> None:
    fleet.appears(*PIS, report_s=1)
    for pi in PIS:
        fleet.drifts(pi, episode, ago_s=10)


def test_an_incident_is_told_once_and_once_when_it_is_over(fleet: Fleet) -> None:
    incident(fleet)
    for _ in range(3):
        works(fleet)
    assert told(fleet) == [("incident", "", True)]
    ((title, text, action, link),) = fleet.rows("SELECT title, text, action, link FROM v_notification")
    assert title == "Incident: residual drift on 3 of 3 devices"
    assert "began on 3 of 3 devices with bundle b1" in text
    assert action.startswith("Label samples")
    assert link == f"/incidents/{fleet.rows('SELECT incident FROM incident')[0][0]}"
    for pi in PIS:
        fleet.recovers(pi)
    fleet.works()
    fleet.passes(30)
    for pi in PIS:
        fleet.says(pi, Telemetry())
    for _ in range(3):
        works(fleet)
    assert told(fleet) == [("incident", "", False), ("incident-closed", "", True)]
    fleet.passes(2 * 86_400)
    works(fleet)
    assert told(fleet)[1] == ("incident-closed", "", False)


def test_what_closed_before_anybody_was_told_is_not_told_when_it_is_over(fleet: Fleet) -> None:
    incident(fleet)
    fleet.works()
    for pi in PIS:
        fleet.recovers(pi)
        fleet.drifts(pi, "e2", drift_type="x")
    works(fleet)
    assert [row[0] for row in told(fleet)] == ["incident"]  # of e2
    assert "x drift" in fleet.rows("SELECT title FROM v_notification")[0][0]


def test_an_incident_that_gets_graver_is_told_again(fleet: Fleet) -> None:
    fleet.appears(*(f"pi-{number}" for number in range(1, 11)))
    for number in range(1, 10):
        fleet.drifts(f"pi-{number}")
        if number in (4, 9):
            works(fleet)
    severities = fleet.rows("SELECT severity, active FROM v_notification ORDER BY id")
    assert severities == [("warning", False), ("critical", True)]


def test_a_broken_link_that_is_back_soon_is_not_told(fleet: Fleet) -> None:
    fleet.appears(*PIS)
    fleet.breaks_off(*PIS)
    works(fleet)
    fleet.passes(500)
    fleet.appears(*PIS, session=2)
    works(fleet)
    assert told(fleet) == []
    fleet.breaks_off(*PIS, session=2)
    works(fleet)
    fleet.passes(700)
    works(fleet)
    assert [row[0] for row in told(fleet)] == ["incident"]
    fleet.passes(7200)
    works(fleet)
    assert [row[0] for row in told(fleet)] == ["incident"]  # and none for each device


def test_a_device_that_is_away_for_long_is_told_and_one_that_said_so_is_not(fleet: Fleet) -> None:
    fleet.appears("pi-1", "pi-2", "pi-3")
    fleet.breaks_off("pi-1")
    fleet.says("pi-2", Status(state="stopped", session=1), mono_us=9)
    fleet.says("pi-3", Status(state="sleeping", session=1), mono_us=9)
    works(fleet)
    fleet.passes(3500)
    works(fleet)
    assert told(fleet) == []
    fleet.passes(200)
    works(fleet)
    assert told(fleet) == [("device-offline", "pi-1", True)]
    fleet.appears("pi-1", session=2)
    works(fleet)
    assert told(fleet) == [("device-offline", "pi-1", False)]


def test_what_comes_back_within_the_hour_is_the_same_notification(fleet: Fleet) -> None:
    quick = replace(PATIENCE, offline_s=0)
    for session in (1, 3, 5):
        fleet.appears("pi-1", session=session)
        works(fleet, patience=quick)
        fleet.breaks_off("pi-1", session=session)
        works(fleet, patience=quick)
    assert fleet.rows("SELECT times, active FROM v_notification") == [(3, True)]
    assert fleet.rows("SELECT count(*) FROM notification_delivery") == [(1,)]
    fleet.appears("pi-1", session=7)
    works(fleet, patience=quick)
    fleet.passes(4000)
    fleet.appears("pi-1", session=8)
    fleet.breaks_off("pi-1", session=8)
    works(fleet, patience=quick)
    assert told(fleet) == [("device-offline", "pi-1", False), ("device-offline", "pi-1", True)]


def test_a_device_that_drifts_for_long_is_told_only_while_samples_wait_for_a_person(fleet: Fleet) -> None:
    fleet.appears("pi-1", "pi-2")
    fleet.drifts("pi-1", ago_s=60)
    fleet.drifts("pi-2", ago_s=60)
    fleet.quarantines("pi-1", "s1", "s2")
    works(fleet)
    assert told(fleet) == []
    fleet.passes(4 * 3600)
    fleet.appears("pi-1", "pi-2", session=2)
    works(fleet)
    assert told(fleet) == [("drift-waits", "pi-1", True)]
    assert "2 of its samples wait" in fleet.rows("SELECT text FROM v_notification")[0][0]
    assert fleet.rows("SELECT link FROM v_notification") == [("/samples?device=pi-1&episode=e1&pending=true",)]
    for sample in ("s1", "s2"):
        fleet.database.execute(
            "INSERT INTO label (device, sample, revision, verdict, by, features, bundle)"
            " VALUES ('pi-1', %s, 1, 'unknown', 'ada', '', 'b1')",
            [sample],
        )
    works(fleet)
    assert told(fleet) == [("drift-waits", "pi-1", False)]


def test_faults_are_told_when_a_person_has_to_mend_them_and_they_last(fleet: Fleet) -> None:
    fleet.appears("pi-1")
    faults = ("camera_black", "clock_unsynced", "disk_full", "hot")
    fleet.says("pi-1", Status(state="online", session=1, faults=faults), mono_us=5)
    works(fleet)
    assert told(fleet) == []
    fleet.passes(700)
    fleet.says("pi-1", Telemetry())
    works(fleet)
    assert fleet.rows("SELECT kind, title, action FROM v_notification") == [
        ("device-fault", "pi-1: disk_full", FAULTS["disk_full"])
    ]
    fleet.says("pi-1", Status(state="online", session=1), mono_us=6)
    works(fleet)
    assert told(fleet) == [("device-fault", "pi-1", False)]


def test_a_fault_that_went_before_it_was_told_leaves_nothing(fleet: Fleet) -> None:
    fleet.appears("pi-1")
    fleet.says("pi-1", Status(state="online", session=1, faults=("disk_full",)), mono_us=5)
    works(fleet)
    fleet.says("pi-1", Status(state="online", session=1), mono_us=6)
    works(fleet)
    assert fleet.rows("SELECT * FROM notification") == []


def test_dead_letters_rejected_labels_waiting_objects_and_failing_jobs_are_told(fleet: Fleet) -> None:
    fleet.says("pi-1", DeadLetter(where="knn", kind="LabelAssigned", reason="no features", payload=b"x"))
    fleet.database.execute(
        "INSERT INTO label (device, sample, revision, verdict, by, features, bundle, state, reason, answered_at)"
        " VALUES ('pi-1', 's1', 1, 'is', 'ada', '', 'b1', 'rejected', 'another bundle', now())"
    )
    fleet.database.execute(
        "INSERT INTO waiting_object (key, type, data, since, reason)"
        " VALUES ('pictures/aa/bb', 'image/png', 'x', now() - interval '2 hours', 'connection refused')"
    )
    fleet.database.execute("INSERT INTO job (name, done, said) VALUES ('rollups', false, 'the disk is full')")
    works(fleet)
    assert sorted(row[0] for row in told(fleet)) == ["dead-letters", "label-rejected", "objects-wait"]  # type: ignore[type-var]
    fleet.passes(700)
    works(fleet)
    texts = "\n".join(row[0] for row in fleet.rows("SELECT text FROM v_notification ORDER BY kind"))
    for words in ("1 messages of 1 devices", "rollups", "the disk is full", "another bundle", "connection refused"):
        assert words in texts
    fleet.database.execute("UPDATE job SET done = true")
    fleet.database.execute("DELETE FROM waiting_object")
    fleet.passes(8 * 86_400)
    works(fleet)
    assert {row[2] for row in told(fleet)} == {False}


def test_of_many_of_a_kind_a_few_and_one_word_about_the_rest_leave_the_house(fleet: Fleet) -> None:
    for number in range(8):
        fleet.database.execute(
            "INSERT INTO label (device, sample, revision, verdict, by, features, bundle, state, answered_at)"
            " VALUES (%s, 's1', 1, 'is', 'ada', '', 'b1', 'rejected', now())",
            [f"pi-{number}"],
        )
        if number > 4:
            works(fleet)
    kinds = [row[0] for row in told(fleet)]
    assert (kinds.count("label-rejected"), kinds.count("more:label-rejected")) == (8, 1)
    sent = fleet.rows(
        "SELECT n.kind, count(*) FROM notification_delivery JOIN notification n ON n.id = notification"
        " GROUP BY 1 ORDER BY 1"
    )
    assert sent == [("label-rejected", 3), ("more:label-rejected", 1)]


def test_what_nobody_wants_is_not_even_stored(fleet: Fleet) -> None:
    incident(fleet)
    works(fleet, "incident")
    assert told(fleet) == []


def test_what_a_device_says_cannot_break_a_notification(fleet: Fleet) -> None:
    incident(fleet, episode="{device} %s \\' <b>")
    fleet.says("pi-1", DriftContinued(episode="{device} %s \\' <b>"))
    works(fleet)
    assert [row[0] for row in told(fleet)] == ["incident"]


@pytest.mark.parametrize("kind", RULES)
def test_every_rule_says_what_to_do(kind: str) -> None:
    facts = {
        "kind": "drift",
        "type": "residual",
        "bundle": "b1",
        "devices": 3,
        "online": 5,
        "restarted": 2,
        "status": "closed",
        "waiting": 2,
        "how": "will",
        "heard_at": "2026-11-23T12:00:00Z",
        "fault": "disk_full",
        "letters": 2,
        "labels": 1,
        "reason": "",
        "job": "rollups",
        "objects": 3,
        "severity": 1.0,
    }
    rule = RULES[kind]
    for words in (rule.title(facts, "pi-1"), rule.text(facts, "pi-1"), rule.action(facts)):
        assert words
        assert "{" not in words
    assert len(rule.title(facts, "pi-1")) < 80
