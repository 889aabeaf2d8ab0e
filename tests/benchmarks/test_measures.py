"""Figures of hand-made outcomes, counted on fingers."""

from __future__ import annotations

from math import inf, isnan

import numpy as np
import pytest

from benchmarks.drift import measures
from benchmarks.drift.measures import Outcome
from benchmarks.drift.streams import Spec, Stream

DRIFT = ((1000, 3000),)


def outcome(*, group: str = "unseen-30", drifts: tuple[tuple[int, int], ...] = DRIFT, **rest: object) -> Outcome:
    return Outcome("ours", Spec(group, "elm"), 3000, drifts, **rest)  # type: ignore[arg-type]


def test_false_alarms_count_from_the_end_of_commissioning() -> None:
    quiet = outcome(drifts=())
    loud = outcome(drifts=(), begins=(100, 499, 500, 2000), ends=(120, 499, 900))
    assert measures.alarms_of([quiet, loud]) == (2, 5000)
    assert measures.false_alarms([quiet, loud]) == pytest.approx(4.0)
    assert isnan(measures.false_alarms([]))


@pytest.mark.parametrize(
    ("begins", "ends", "expected"),
    [
        ((1040,), (), 40),
        ((700, 1040), (800,), 40),  # a false alarm before is another matter
        ((900,), (), 0),  # an episode that is open already
        ((900,), (1000,), inf),  # ... but not one that ends as the drift begins
        ((1999,), (), 999),
        ((2000,), (), inf),
        ((), (), inf),
    ],
)
def test_a_delay_runs_from_the_onset_to_the_first_frame_in_drift(
    begins: tuple[int, ...], ends: tuple[int, ...], expected: float
) -> None:
    assert measures.delay(outcome(begins=begins, ends=ends)) == expected


def test_what_comes_slowly_may_be_seen_later_and_what_goes_must_be_seen_before() -> None:
    assert measures.delay(outcome(group="unseen-gradual", begins=(2400,))) == 1400
    recurring = ((1000, 1300), (1600, 1900))
    assert measures.delay(outcome(group="unseen-recurring", drifts=recurring, begins=(1610,))) == inf


def test_a_miss_is_an_infinite_delay() -> None:
    found = measures.delays([*(outcome(begins=(1000 + delay,)) for delay in (10, 20, 30)), outcome()])
    assert (found.median, found.p90, found.missed) == (20, inf, 0.25)


def test_wrong_exits_are_ends_during_a_seen_drift() -> None:
    left = outcome(begins=(1010, 1200), ends=(1100, 1300))
    stayed = outcome(begins=(1010,))
    missed = outcome(begins=(900,), ends=(950,))
    ended = outcome(drifts=((1000, 1800),), begins=(1010,), ends=(1800,))
    assert measures.wrong_exits([left, stayed, missed, ended]) == pytest.approx(2 / 3)


def test_recovery_is_counted_where_drift_was_said_until_the_end() -> None:
    over = ((1000, 1800),)
    streams = [
        outcome(drifts=over, begins=(1010,), ends=(1825,)),
        outcome(drifts=over, begins=(1010,)),
        outcome(drifts=over, begins=(1010,), ends=(1700,)),  # a wrong exit, and no recovery
    ]
    assert measures.recoveries(streams).values == (25, inf)
    again = outcome(drifts=over, begins=(1010, 1900), ends=(1825,))
    assert measures.alarms_after([streams[0], again]) == 0.5


def test_harm_is_the_share_of_wrong_pseudo_labels() -> None:
    assert measures.harm([outcome(harm=(1, 10)), outcome(harm=(0, 30))]) == pytest.approx(1 / 40)
    assert isnan(measures.harm([outcome()]))


def stream_of(labels: list[str]) -> Stream:
    none = np.zeros(len(labels), np.int64)
    return Stream(Spec("unseen-30", "elm"), none, none, none, np.array(labels), none)


def test_accuracy_is_that_of_all_known_and_unseen_frames() -> None:
    stream = stream_of(["ash"] * 300 + ["ash"] * 400 + ["elm"] * 100)
    predicted = ["elm"] * 300 + ["ash"] * 300 + ["novel-1"] * 200
    assert measures.accuracies(predicted, stream, {"novel-1": "elm"}) == {
        "last": pytest.approx(0.8),
        "known": pytest.approx(0.75),
        "unseen": 1.0,
    }
