"""Readings leave in batches; a fault is said when it begins and when it ends."""

from __future__ import annotations

import math

from broker import codec
from broker.messages import LogRecord, Telemetry, Tick, Vitals
from edge_actors.health import MAX_READINGS, Health
from edge_actors.runtime.states import plain


def feed(health: Health, *messages: Vitals | Tick) -> list[Telemetry | LogRecord]:
    return [said for message in messages for said in health.receive(message)]


def test_sends_a_batch_an_interval_with_a_row_a_reading() -> None:
    health = Health(report_s=60.0)
    assert feed(health, Tick(at=100.0), Vitals(at=105.0, metrics={"fps": 5.0, "rss_mb": 60.0})) == []
    assert feed(health, Vitals(at=110.0, metrics={"fps": 4.0, "disk_mb": 7.0}), Tick(at=159.0)) == []
    (batch,) = feed(health, Tick(at=160.0))
    assert isinstance(batch, Telemetry)
    assert batch.names == ("disk_mb", "fps", "rss_mb")
    assert batch.ages.numbers() == [55.0, 50.0]
    first, second = batch.values.numbers()[:3], batch.values.numbers()[3:]
    assert math.isnan(first[0])
    assert first[1:] == [5.0, 60.0]
    assert second[:2] == [7.0, 4.0]
    assert math.isnan(second[2])
    assert feed(health, Tick(at=220.0)) == [], "nothing was read, so there is nothing to send"


def test_says_when_a_fault_begins_and_when_it_ends_and_nothing_between() -> None:
    health = Health()
    said = feed(
        health,
        Vitals(at=1.0),
        Vitals(at=2.0, faults=("disk_full", "camera_stalled")),
        Vitals(at=3.0, faults=("disk_full",)),
        Vitals(at=4.0, faults=("disk_full",)),
        Vitals(at=5.0),
    )
    assert [(log.at, log.level, log.text) for log in said if isinstance(log, LogRecord)] == [
        (2.0, "warning", "camera_stalled began"),
        (2.0, "warning", "disk_full began"),
        (3.0, "info", "camera_stalled ended"),
        (5.0, "info", "disk_full ended"),
    ]


def test_a_batch_names_every_fault_there_was_in_it() -> None:
    health = Health(report_s=10.0)
    said = feed(health, Tick(), Vitals(at=1.0, faults=("disk_full",)), Vitals(at=2.0), Tick(at=10.0))
    assert [batch.faults for batch in said if isinstance(batch, Telemetry)] == [("disk_full",)]


def test_the_last_tick_sends_what_was_read() -> None:
    (batch,) = feed(Health(), Tick(), Vitals(at=1.0, metrics={"fps": 1.0}), Tick(at=2.0, last=True))
    assert isinstance(batch, Telemetry)


def test_a_batch_ends_early_rather_than_grow_without_bound() -> None:
    health = Health(report_s=1e9)
    said = feed(health, *[Vitals(at=float(n), metrics={"fps": 1.0}) for n in range(MAX_READINGS + 1)])
    assert len(said) == 1
    assert len(health.readings) == 1


def test_goes_on_from_its_state_as_if_nothing_had_happened() -> None:
    whole, first, second = Health(), Health(), Health()
    readings = [Vitals(at=float(n), metrics={"fps": n / 3, f"only_{n % 2}": 1.0}, faults=("hot",)) for n in range(6)]
    feed(first, *readings[:4])
    second.restore(codec.unpack(codec.pack(plain(first.state()))))
    feed(whole, *readings[:4])
    assert feed(second, *readings[4:], Tick(at=60.0)) == feed(whole, *readings[4:], Tick(at=60.0)) != []


def test_does_not_report_readings_again_after_a_restart_or_from_an_old_state() -> None:
    health = Health(report_s=60.0)
    feed(health, Vitals(at=10.0, metrics={"fps": 1.0}))
    state = plain(health.state())
    assert len(feed(health, Tick(at=70.0))) == 1
    health.restore(state)
    assert feed(health, Tick(at=300.0), Tick(at=360.0)) == [], "an old state, after a failure"
    health.restore(state)
    health.restarted()
    assert feed(health, Tick(at=20.0), Tick(at=90.0)) == []
