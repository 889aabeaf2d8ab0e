"""A drift is over when the stream is in distribution again, not when a few frames look good."""

from __future__ import annotations

import numpy as np

from edge_actors.algorithms.recovery import RECENT, Recovery, usual_shares

CHANCE = np.random.default_rng(0)
USUAL = usual_shares(CHANCE.normal(0, 1, 400).clip(-2.5, 2.5).tolist())


def stream(n: int, unseen: float, seed: int) -> list[float]:
    """Scores of scenes, a share of which shows something unseen."""
    chance = np.random.default_rng(seed)
    strange = chance.random(n) < unseen
    return np.where(strange, chance.normal(2.2, 0.7, n), chance.normal(0, 1, n)).clip(-2.5, 2.5).tolist()


def in_drift(unseen: float, seed: int) -> Recovery:
    """A recovery rule whose drift has just begun, with 40 scenes of evidence."""
    rule = Recovery(USUAL)
    for score in stream(40, unseen, seed):
        rule.watch(score, opened=True)
    rule.begin(scenes=40)
    return rule


def exit_after(rule: Recovery, scores: list[float]) -> int | None:
    return next((n for n, score in enumerate(scores, 1) if rule.update(score, True) > rule.threshold), None)


def test_stays_through_a_long_drift_in_which_most_frames_look_good() -> None:
    wrong = [seed for seed in range(20) if exit_after(in_drift(0.4, seed), stream(1000, 0.4, 100 + seed))]
    assert len(wrong) <= 1


def test_leaves_soon_after_a_mixed_drift_ends() -> None:
    delays = []
    for seed in range(20):
        rule = in_drift(0.4, seed)
        for score in stream(300, 0.4, 200 + seed):
            rule.update(score, True)
        delays.append(exit_after(rule, stream(400, 0.0, 300 + seed)))
    assert None not in delays
    assert np.median([delay for delay in delays if delay]) < 60


def test_leaves_within_a_few_scenes_when_every_frame_was_strange() -> None:
    rule = in_drift(1.0, 1)
    for score in stream(300, 1.0, 2):
        rule.update(score, True)
    assert (exit_after(rule, stream(100, 0.0, 3)) or 999) < 12


def test_a_scene_that_is_held_long_does_not_end_a_drift() -> None:
    rule = in_drift(0.5, 5)
    rule.update(-1.0, opened=True)
    assert all(rule.update(-1.0, opened=False) < rule.threshold for _ in range(1000))


def test_recovery_does_not_teach_it_that_the_drift_looks_usual() -> None:
    rule = in_drift(0.4, 6)
    rule.update(-0.5, opened=True)  # ends the scene of the alarm, which still belongs to the drift
    learned = rule.state()["counts"]
    for score in [-0.5] * 25:
        rule.update(score, True)
    assert rule.state()["counts"] == learned


def test_only_the_evidence_of_the_alarm_shows_what_the_drift_is_like() -> None:
    rule = Recovery(USUAL)
    for score in [-1.0] * (RECENT + 50) + [2.2] * 5:
        rule.watch(score, opened=True)
    rule.begin(scenes=5)
    assert rule.state()["counts"] == [0, 0, 0, 4], "and the fifth is the scene that goes on"
    rule.begin(scenes=1)
    assert rule.state()["counts"] == [0, 0, 0, 0]


def test_shares_are_never_zero_and_add_up() -> None:
    shares = usual_shares([0.0] * 50)
    assert min(shares) > 0
    assert abs(sum(shares) - 1) < 1e-9


def test_a_state_goes_on_as_if_nothing_had_happened() -> None:
    rule, other = in_drift(0.4, 7), Recovery(USUAL)
    for score in stream(57, 0.3, 8):
        rule.update(score, True)
    other.restore(rule.state())
    for number, score in enumerate(stream(80, 0.1, 9)):
        assert other.update(score, number % 3 > 0) == rule.update(score, number % 3 > 0)
