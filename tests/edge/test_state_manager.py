"""The state is saved when it is worth it, and a label is acknowledged only when a snapshot holds it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from broker import codec
from broker.messages import (
    DriftCleared,
    DriftDetected,
    LabelAcknowledged,
    LabelApplied,
    LogRecord,
    MemoryChanged,
    Message,
    SnapshotRequested,
    SnapshotSaved,
    SnapshotTaken,
    Tick,
    Vitals,
)
from edge_actors.runtime.states import plain
from edge_actors.state_manager import LONGEST_RETRY_S, PATIENCE_S, SPARING, Inbox, StateManager

BOOT = "0badcafe-000003"


def feed(manager: StateManager, *messages: Inbox) -> list[Message]:
    return [said for message in messages for said in manager.receive(message)]


def settled(at: float = 300.0) -> StateManager:
    """A manager whose first snapshot is on disk; the next ones are s2, s3 ..."""
    manager = StateManager(BOOT)
    (asked,) = feed(manager, Tick(at=at))
    assert isinstance(asked, SnapshotRequested)
    feed(manager, saved("s1", at))
    return manager


def applied(sample: str, at: float, revision: int = 1, outcome: str = "applied", reason: str = "") -> LabelApplied:
    return LabelApplied(at=at, sample=sample, revision=revision, outcome=outcome, reason=reason)


def saved(name: str, at: float, error: str = "") -> SnapshotSaved:
    return SnapshotSaved(at=at, snapshot=f"{BOOT}-{name}", digest="" if error else "d1", size=5, error=error)


def requested(name: str, at: float, reason: str) -> SnapshotRequested:
    return SnapshotRequested(at=at, snapshot=f"{BOOT}-{name}", reason=reason)


def acknowledged(sample: str, at: float, name: str, revision: int = 1) -> LabelAcknowledged:
    return LabelAcknowledged(
        at=at, sample=sample, revision=revision, outcome="applied", snapshot=f"{BOOT}-{name}" if name else ""
    )


def test_a_new_device_saves_its_first_state_after_the_interval() -> None:
    manager = StateManager(BOOT, interval_s=300.0)
    assert feed(manager, Tick(at=1.0), Tick(at=299.0)) == []
    assert feed(manager, Tick(at=300.0)) == [requested("s1", 300.0, "start")]


def test_the_beginning_and_the_end_of_a_drift_are_saved_within_the_interval() -> None:
    manager = settled()
    assert feed(manager, DriftDetected(at=400.0), Tick(at=401.0), DriftCleared(at=500.0), Tick(at=599.0)) == []
    assert feed(manager, Tick(at=600.0)) == [requested("s2", 600.0, "drift")]


def test_a_quiet_device_saves_seldom_and_says_nothing_of_it() -> None:
    manager = settled()
    assert feed(manager, *(Tick(at=300.0 + second) for second in range(3600))) == []
    assert feed(manager, Tick(at=3900.0)) == [requested("s2", 3900.0, "periodic")]
    assert feed(manager, saved("s2", 3901.0)) == []
    assert feed(manager, Tick(at=4300.0)) == []


def test_a_device_that_writes_more_than_it_may_saves_seldom_but_labels_at_once() -> None:
    manager = settled()
    assert feed(manager, Vitals(at=310.0, faults=("write_budget",)), DriftDetected(at=400.0)) == []
    assert feed(manager, Tick(at=600.0), Tick(at=299.0 + SPARING * 300)) == []
    assert feed(manager, applied("a", 2150.0)) == [requested("s2", 2150.0, "label")]
    feed(manager, saved("s2", 2151.0))
    assert feed(manager, Tick(at=2150.0 + 3600.0), Tick(at=2149.0 + SPARING * 3600.0)) == []
    assert feed(manager, Vitals(at=2149.5 + SPARING * 3600.0)) == [
        requested("s3", 2149.5 + SPARING * 3600.0, "periodic")
    ]


def test_a_snapshot_that_holds_something_new_is_told_of() -> None:
    manager = settled()
    feed(manager, MemoryChanged(at=310.0, applied=True))
    assert feed(manager, saved("s2", 311.0)) == [
        SnapshotTaken(at=311.0, snapshot=f"{BOOT}-s2", reason="adaptation", digest="d1", size=5)
    ]


def test_an_adaptation_that_stays_is_saved_at_once_and_one_that_was_taken_back_is_not() -> None:
    manager = settled()
    assert feed(manager, MemoryChanged(at=310.0, applied=False)) == []
    assert feed(manager, MemoryChanged(at=311.0, applied=True)) == [requested("s2", 311.0, "adaptation")]


def test_a_label_is_saved_at_once_and_acknowledged_when_the_disk_holds_it() -> None:
    manager = settled()
    assert feed(manager, applied("a", 310.0)) == [requested("s2", 310.0, "label")]
    assert feed(manager, Tick(at=311.0)) == []
    taken, acknowledgement = feed(manager, saved("s2", 311.5))
    assert isinstance(taken, SnapshotTaken)
    assert acknowledgement == acknowledged("a", 311.5, "s2")


def test_labels_that_come_while_a_snapshot_is_written_wait_for_the_next_one() -> None:
    manager = settled()
    feed(manager, applied("a", 310.0))
    assert feed(manager, applied("b", 310.1), applied("c", 310.2)) == []
    _, first, again = feed(manager, saved("s2", 311.0))
    assert (first, again) == (acknowledged("a", 311.0, "s2"), requested("s3", 311.0, "label"))
    _, *both = feed(manager, saved("s3", 312.0))
    assert both == [acknowledged("b", 312.0, "s3"), acknowledged("c", 312.0, "s3")]


def test_a_label_that_cannot_be_applied_is_answered_at_once() -> None:
    manager = settled()
    assert feed(manager, applied("a", 310.0, outcome="rejected", reason="no such sample")) == [
        LabelAcknowledged(at=310.0, sample="a", revision=1, outcome="rejected", reason="no such sample")
    ]


def test_a_label_that_comes_twice_is_acknowledged_once_and_not_before_it_is_safe() -> None:
    manager = settled()
    feed(manager, applied("a", 310.0))
    assert feed(manager, applied("a", 310.1, outcome="duplicate")) == []
    assert feed(manager, saved("s2", 311.0))[1:] == [acknowledged("a", 311.0, "s2")]


def test_a_label_that_was_acknowledged_before_is_acknowledged_again_when_it_comes_again() -> None:
    manager = settled()
    feed(manager, applied("a", 310.0), saved("s2", 311.0))
    assert feed(manager, applied("a", 320.0, outcome="duplicate")) == [requested("s3", 320.0, "label")]
    (_, again) = feed(manager, saved("s3", 321.0))
    assert isinstance(again, LabelAcknowledged)
    assert (again.outcome, again.snapshot) == ("duplicate", f"{BOOT}-s3")


def test_of_two_revisions_the_newer_waits_in_the_place_of_the_older() -> None:
    manager = settled()
    feed(manager, applied("a", 310.0), applied("b", 310.1), applied("b", 310.2, revision=2))
    feed(manager, saved("s2", 311.0))
    assert feed(manager, saved("s3", 312.0))[1:] == [acknowledged("b", 312.0, "s3", revision=2)]


def test_a_disk_that_refuses_keeps_labels_unacknowledged_until_it_takes_them() -> None:
    manager = settled()
    feed(manager, applied("a", 310.0))
    (told,) = feed(manager, saved("s2", 311.0, error="the disk does not take it: no space left on device"))
    assert isinstance(told, LogRecord)
    assert "no space left on device" in told.text
    assert feed(manager, applied("b", 312.0), Tick(at=315.9)) == []
    assert feed(manager, Tick(at=316.0)) == [requested("s3", 316.0, "label")]
    _, *both = feed(manager, saved("s3", 317.0))
    assert both == [acknowledged("a", 317.0, "s3"), acknowledged("b", 317.0, "s3")]


def test_a_disk_that_stays_full_is_tried_and_told_of_less_and_less_often() -> None:
    manager = settled()
    tries, told = [], 0
    said = feed(manager, applied("a", 310.0))
    for second in range(310, 310 + 86_400):
        said += feed(manager, Tick(at=float(second)))
        while said:
            message = said.pop(0)
            told += isinstance(message, LogRecord)
            if isinstance(message, SnapshotRequested):
                tries.append(message.at)
                said += feed(manager, SnapshotSaved(at=message.at, snapshot=message.snapshot, error="full"))
    waits = [after - before for before, after in pairwise(tries)]
    assert waits[:6] == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0]
    assert set(waits[6:]) == {LONGEST_RETRY_S}
    assert told < 12


def test_a_disk_that_never_answers_is_asked_again() -> None:
    manager = settled()
    feed(manager, applied("a", 310.0))
    assert feed(manager, Tick(at=310.0 + PATIENCE_S)) == []
    (told,) = feed(manager, Tick(at=311.0 + PATIENCE_S))
    assert isinstance(told, LogRecord)
    assert feed(manager, Tick(at=320.0 + PATIENCE_S)) == [requested("s3", 320.0 + PATIENCE_S, "label")]
    assert feed(manager, saved("s2", 321.0 + PATIENCE_S)) == [], "too late: it may be older than the labels"
    assert feed(manager, saved("s3", 322.0 + PATIENCE_S))[1:] == [acknowledged("a", 322.0 + PATIENCE_S, "s3")]


def test_an_answer_to_the_last_snapshot_of_another_process_acknowledges_nothing() -> None:
    manager = settled()
    feed(manager, applied("a", 310.0))
    assert feed(manager, SnapshotSaved(at=311.0, snapshot=f"{BOOT}-stop")) == []


def restored(manager: StateManager, boot: str) -> StateManager:
    other = StateManager(boot)
    other.restore(codec.unpack(codec.pack(plain(manager.state()))))
    return other


@pytest.mark.parametrize("messages", [(), (applied("a", 310.0),), (applied("a", 310.0), applied("b", 311.0))])
def test_one_that_is_rebuilt_goes_on_exactly_where_it_was(messages: tuple[Inbox, ...]) -> None:
    manager = settled()
    feed(manager, *messages)
    other = restored(manager, BOOT)
    then: list[Inbox] = [Tick(at=320.0), saved("s2", 330.0), applied("c", 331.0), saved("s3", 340.0), Tick(at=9999.0)]
    assert feed(other, *then) == feed(manager, *then)


def test_after_a_restart_labels_without_an_acknowledgement_are_saved_again_and_acknowledged() -> None:
    manager = settled()
    feed(manager, applied("a", 310.0), applied("b", 311.0))
    other = restored(manager, "0badcafe-000004")
    other.restarted()
    (asked,) = feed(other, Tick(at=311.0))
    assert asked == SnapshotRequested(at=311.0, snapshot="0badcafe-000004-s1", reason="label")
    _, *both = feed(other, SnapshotSaved(at=312.0, snapshot="0badcafe-000004-s1"))
    assert [ack.sample for ack in both if isinstance(ack, LabelAcknowledged)] == ["a", "b"]


def test_after_a_restart_without_labels_nothing_is_saved_before_its_time() -> None:
    other = restored(settled(), "0badcafe-000004")
    other.restarted()
    assert feed(other, Tick(at=300.0), Tick(at=600.0)) == []


def test_a_state_that_is_taken_knows_nothing_of_what_comes_after() -> None:
    manager = settled()
    feed(manager, applied("a", 310.0))
    state = plain(manager.state())
    before = codec.pack(state)
    feed(manager, applied("b", 311.0), saved("s2", 312.0))
    assert codec.pack(state) == before
