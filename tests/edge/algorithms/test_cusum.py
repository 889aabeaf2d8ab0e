"""Thresholds follow from the wanted time between false alarms, and a scene counts once."""

from __future__ import annotations

import numpy as np
import pytest

from edge_actors.algorithms.cusum import ALLOWANCE, Cusum, SceneCusum, threshold_for
from edge_actors.algorithms.detector import Detector, Observation
from edge_actors.algorithms.run_length import run_length

NOWHERE = np.zeros(2, np.float32)


def scene(score: float, opened: bool = True) -> Observation:
    return Observation("a", 1.0, (1.0,), NOWHERE, score, score, opened, NOWHERE)


@pytest.mark.parametrize(("k", "h"), [(0.25, 26.4), (0.75, 7.9)])
def test_thresholds_for_200_000_scenes_are_those_of_the_design(k: float, h: float) -> None:
    assert threshold_for(k, 200_000) == pytest.approx(h, abs=0.05)


def test_a_person_who_wants_fewer_alarms_gets_a_higher_threshold() -> None:
    thresholds = [threshold_for(0.25, scenes) for scenes in (100, 10_000, 1_000_000)]
    assert thresholds == sorted(thresholds)
    assert run_length(thresholds[1], 0.25 - ALLOWANCE) == pytest.approx(10_000, rel=1e-6)


def test_false_alarms_come_as_rarely_as_was_asked_for() -> None:
    chance = np.random.default_rng(4)
    k, wanted = 0.5, 400
    one = Cusum(k, threshold_for(k + ALLOWANCE, wanted))  # without the allowance, as the scores are exactly standard
    alarms, scenes = 0, 100_000
    for score in chance.normal(size=scenes).tolist():
        if one.update(score, opened=True) > one.threshold:
            alarms += 1
            one.reset()
    assert scenes / alarms == pytest.approx(wanted, rel=0.2)


def test_a_scene_counts_once_however_long_it_is_held() -> None:
    held, moved = Cusum(0.25, 5.0), Cusum(0.25, 5.0)
    for _ in range(1000):
        held.update(2.0, opened=False)
    moved.update(2.0, opened=True)
    assert held.value == moved.value == 1.75


def test_the_running_mean_of_a_scene_replaces_what_it_gave_before() -> None:
    one = Cusum(0.25, 5.0)
    one.update(1.25, opened=True)
    one.update(3.0, opened=True)
    assert one.update(0.5, opened=False) == pytest.approx(1.0 + 0.25)


def test_raises_an_alarm_soon_after_scores_rise_and_says_since_when() -> None:
    detector: Detector = SceneCusum()
    chance = np.random.default_rng(1)
    for score in chance.normal(0, 1, 5000).tolist():
        assert detector.update(scene(score)) <= detector.threshold
    delay = 1
    while detector.update(scene(float(chance.normal(1.5, 1)))) <= detector.threshold:
        delay += 1
    assert delay < 25
    assert delay <= detector.onset() < delay + 40


def test_after_a_reset_the_evidence_is_gone() -> None:
    detector = SceneCusum()
    for _ in range(50):
        detector.update(scene(2.0))
    detector.reset()
    assert (detector.update(scene(0.0)), detector.onset()) == (0.0, 1)


def test_sums_stay_bounded_in_a_drift_without_end() -> None:
    detector = SceneCusum()
    assert max(detector.update(scene(2.5)) for _ in range(20_000)) == pytest.approx(10.0)


def test_a_state_goes_on_as_if_nothing_had_happened() -> None:
    chance = np.random.default_rng(2)
    detector, other = SceneCusum(), SceneCusum()
    for score in chance.normal(0.6, 1, 40).tolist():
        detector.update(scene(score))
    other.restore(detector.state())
    for score in chance.normal(0.6, 1, 40).tolist():
        opened = score > 0
        assert other.update(scene(score, opened)) == detector.update(scene(score, opened))
        assert other.onset() == detector.onset()
