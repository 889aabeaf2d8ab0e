"""Episodes from the records, whatever order these come in, and the status each gets."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from broker.messages import Birth, DriftDetected, Status, Telemetry
from tests.knowledge.fleet import Fleet

OTHER_INSTALLATION = "ffffffff-000001"


def test_a_drift_is_open_until_it_ended_and_the_device_was_quiet_for_three_intervals(fleet: Fleet) -> None:
    fleet.appears("pi-1", report_s=10)
    fleet.drifts("pi-1")
    fleet.works()
    assert fleet.statuses() == [("pi-1", "e1", "open", "")]
    fleet.recovers("pi-1")
    fleet.works()
    assert fleet.statuses() == [("pi-1", "e1", "open", "")]
    fleet.passes(40)
    fleet.works()
    assert fleet.statuses()[0][2] == "open"  # silence is not quiet
    fleet.says("pi-1", Telemetry())
    fleet.works()
    assert fleet.rows("SELECT status, reason FROM episode_state WHERE kind = 'drift'") == [("resolved", "quiet")]
    assert fleet.rows("SELECT status, status_reason, status_by FROM v_drift_episode") == [
        ("resolved", "quiet", "system")
    ]


def test_the_end_may_arrive_before_the_beginning(fleet: Fleet) -> None:
    fleet.appears("pi-1")
    fleet.recovers("pi-1", ago_s=10)
    fleet.works()
    assert fleet.rows("SELECT begin_at, type FROM episode_state") == [(None, "")]
    fleet.drifts("pi-1", ago_s=100)
    fleet.works()
    assert fleet.rows("SELECT type, extract(epoch FROM end_at - begin_at)::int FROM episode_state") == [
        ("residual", 90)
    ]


def test_a_drift_that_another_follows_is_resolved_at_once(fleet: Fleet) -> None:
    fleet.appears("pi-1")
    fleet.drifts("pi-1", "e1", ago_s=100)
    fleet.recovers("pi-1", "e1", ago_s=50)
    fleet.drifts("pi-1", "e2", ago_s=20)
    fleet.works()
    assert fleet.statuses() == [("pi-1", "e1", "resolved", "followed"), ("pi-1", "e2", "open", "")]


def test_another_bundle_resolves_what_drifted_with_the_old_one(fleet: Fleet) -> None:
    fleet.appears("pi-1", bundle="b1")
    fleet.drifts("pi-1")
    fleet.works()
    fleet.appears("pi-1", bundle="b2", session=2)
    fleet.works()
    assert fleet.statuses() == [("pi-1", "e1", "resolved", "other-bundle")]


def test_a_device_that_was_set_up_anew_knows_nothing_of_its_drift(fleet: Fleet) -> None:
    fleet.appears("pi-1")
    fleet.drifts("pi-1")
    fleet.works()
    fleet.says("pi-1", Birth(session=1, bundle="b1"), boot=OTHER_INSTALLATION)
    fleet.works()
    assert fleet.statuses() == [("pi-1", "e1", "resolved", "set-up-anew")]


def test_what_nothing_was_heard_of_for_a_month_is_lost_and_open_again_when_it_is_heard_of(fleet: Fleet) -> None:
    fleet.appears("pi-1")
    fleet.drifts("pi-1", ago_s=60)
    fleet.works()
    fleet.passes(31 * 86_400)
    fleet.works()
    lost = "SELECT status, reason FROM episode_state WHERE kind = 'drift'"
    assert fleet.rows(lost) == [("resolved", "lost")]
    fleet.quarantines("pi-1", "s1")
    fleet.drifts("pi-1")
    fleet.works()
    assert fleet.rows(lost) == [("open", "")]


def test_what_a_person_said_of_an_episode_stays(fleet: Fleet) -> None:
    fleet.appears("pi-1", report_s=1)
    fleet.drifts("pi-1")
    fleet.works()
    fleet.database.execute("UPDATE episode_state SET status = 'dismissed', reason = 'a fly', by = 'ada'")
    fleet.recovers("pi-1")
    fleet.passes(30)
    fleet.says("pi-1", Telemetry())
    fleet.works()
    assert ("pi-1", "e1", "dismissed", "a fly") in fleet.statuses()
    with pytest.raises(psycopg.errors.CheckViolation):
        fleet.database.execute("UPDATE episode_state SET status = 'gone'")


def test_faults_of_cameras_and_absences_are_over_when_they_end(fleet: Fleet) -> None:
    fleet.appears("pi-1", "pi-2")
    fleet.blinds("pi-1", "frozen")
    fleet.breaks_off("pi-2")
    fleet.works()
    kinds = "SELECT kind, type, detector, status FROM episode_state ORDER BY kind"
    assert fleet.rows(kinds) == [("away", "away", "will", "open"), ("camera", "frozen", "", "open")]
    fleet.sees("pi-1", "frozen")
    fleet.appears("pi-2", session=2)
    fleet.works()
    assert [row[3] for row in fleet.rows(kinds)] == ["resolved", "resolved"]


def test_who_says_that_it_stops_is_not_away(fleet: Fleet) -> None:
    fleet.appears("pi-1")
    fleet.says("pi-1", Status(state="stopped", session=1), mono_us=9)
    fleet.works()
    assert fleet.statuses() == []


def test_silence_and_a_will_are_one_absence_that_began_when_the_device_was_last_heard(fleet: Fleet) -> None:
    fleet.appears("pi-1", report_s=1)
    fleet.passes(60)
    fleet.works()
    fleet.breaks_off("pi-1")
    fleet.works()
    ((age, how, status),) = fleet.rows(
        "SELECT extract(epoch FROM now() - begin_at), detector, status FROM episode_state"
    )
    assert (60 <= age < 70, how, status) == (True, "silence", "open")


def test_statistics_count_what_devices_and_people_did(fleet: Fleet) -> None:
    fleet.appears("pi-1")
    for number, seconds in enumerate((10, 20, 90)):
        fleet.drifts("pi-1", f"e{number}", ago_s=1000 - number * 100)
        fleet.recovers("pi-1", f"e{number}", ago_s=1000 - number * 100 - seconds)
    fleet.works()
    fleet.quarantines("pi-1", "s1", "s2", episode="e1")
    fleet.acknowledges("pi-1", "s1")
    for outcome in ("applied", "applied", "rolled-back"):
        fleet.adapts("pi-1", outcome, episode="e1")
    fleet.works()
    columns = "episodes, open, median_s, p90_s, samples, labels, applied, rolled_back, rejected, followed"
    if fleet.rows("SELECT count(DISTINCT day) FROM v_drift_statistics") == [(1,)]:  # not around midnight
        assert fleet.rows(f"SELECT {columns} FROM v_drift_statistics") == [(3, 1, 20.0, 76.0, 2, 1, 2, 1, 0, 2)]
    assert fleet.rows("SELECT device, episodes, per_week FROM v_drift_rate") == [("pi-1", 3, 3.0)]


def test_a_second_look_changes_nothing(fleet: Fleet) -> None:
    fleet.appears("pi-1")
    fleet.drifts("pi-1")
    fleet.quarantines("pi-1", "s1")
    fleet.works()
    before = fleet.rows("SELECT xmin, * FROM episode_state")
    fleet.works()
    assert fleet.rows("SELECT xmin, * FROM episode_state") == before


def test_what_was_received_long_ago_and_never_looked_at_is_found(fleet: Fleet) -> None:
    fleet.drifts("pi-1", "e1")
    fleet.passes(3 * 86_400)
    fleet.drifts("pi-2", "e2")
    fleet.works()
    assert [row[:2] for row in fleet.statuses()] == [("pi-1", "e1"), ("pi-2", "e2")]


def test_a_begin_by_a_clock_that_was_wrong_is_read_again_until_it_is_right(fleet: Fleet) -> None:
    fleet.appears("pi-1")
    begun = DriftDetected(episode="e1", drift_type="residual")
    fleet.says("pi-1", begun, ago_s=10_000, clock="unsynced")
    fleet.works()
    assert fleet.rows("SELECT clock FROM episode_state") == [("unsynced",)]
    fleet.passes(3600)
    fleet.works()
    fleet.database.execute("UPDATE drift_event SET at = at + interval '1 hour', clock = 'retimed'")
    fleet.works()
    ((clock, at),) = fleet.rows("SELECT clock, begin_at FROM episode_state WHERE kind = 'drift'")
    assert (clock, at) == ("synced", fleet.now - timedelta(seconds=10_000))


def test_records_of_last_month_that_come_now_are_found_a_little_later(fleet: Fleet) -> None:
    fleet.appears("pi-1")
    fleet.works()
    fleet.drifts("pi-1", ago_s=30 * 86_400)
    fleet.passes(1000)
    fleet.works()
    assert ("pi-1", "e1", "open", "") in fleet.statuses()


def test_a_drift_belongs_to_the_bundle_of_its_boot_however_late_it_comes(fleet: Fleet) -> None:
    old, new = "a" * 64, "b" * 64
    fleet.appears("pi-1", bundle=old)
    fleet.appears("pi-1", bundle=new, boot="0a1b2c3d-000002")
    fleet.drifts("pi-1", "e1", ago_s=9000)
    fleet.drifts("pi-1", "e2", boot="0a1b2c3d-000002")
    fleet.works()
    bundles = "SELECT episode, bundle, status, reason FROM episode_state ORDER BY episode"
    assert fleet.rows(bundles) == [("e1", old, "resolved", "other-bundle"), ("e2", new, "open", "")]
