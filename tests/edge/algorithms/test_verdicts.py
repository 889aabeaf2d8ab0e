"""What a person's label says about recognition, and what does not follow from it."""

from __future__ import annotations

import pytest

from edge_actors.algorithms.error_rate import FIRST_LABELS, ErrorRate
from edge_actors.algorithms.verdicts import REMEMBERED, Verdicts


@pytest.mark.parametrize(
    ("verdict", "label", "right"),
    [
        ("is", "apple", True),
        ("is", "pear", False),
        ("is-not", "apple", False),
        ("is-not", "pear", None),
        ("unknown", "", None),
        ("retract", "apple", None),
    ],
)
def test_right_or_wrong_follows_from_some_verdicts_only(verdict: str, label: str, right: bool | None) -> None:
    verdicts = Verdicts()
    verdicts.note("s-1", "apple")
    assert verdicts.right("s-1", verdict, label) is right


def test_a_sample_counts_once_and_one_that_nobody_knows_does_not() -> None:
    verdicts = Verdicts()
    verdicts.note("s-1", "apple")
    assert verdicts.right("s-1", "is", "pear") is False
    assert verdicts.right("s-1", "is", "apple") is None
    assert verdicts.right("s-2", "is", "apple") is None


def test_a_provisional_or_missing_label_is_no_recognition() -> None:
    verdicts = Verdicts()
    verdicts.note("s-1", "novel-1")
    verdicts.note("s-2", "unknown")
    assert verdicts.state() == {}


def test_the_oldest_samples_are_forgotten() -> None:
    verdicts = Verdicts()
    for number in range(REMEMBERED + 10):
        verdicts.note(f"s-{number}", "apple")
    assert len(verdicts.state()) == REMEMBERED
    assert verdicts.right("s-9", "is", "apple") is None
    assert verdicts.right("s-10", "is", "apple") is True


def test_the_error_rate_is_judged_after_the_first_labels_and_forgives_when_the_device_is_right_again() -> None:
    detector = ErrorRate(0.05)
    for _ in range(FIRST_LABELS):
        detector.told(right=True)
        assert not detector.holds()
    wrong = 0
    while detector.state()["value"] <= detector.threshold:
        detector.told(right=False)
        wrong += 1
    assert wrong < 15
    right = 0
    while not detector.ended():
        detector.told(right=True)
        right += 1
    assert right < 200
