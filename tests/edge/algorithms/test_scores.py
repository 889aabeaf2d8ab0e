"""A score is how strange a frame is for what it is taken for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_actors.algorithms.calibration import Calibration, measure
from edge_actors.algorithms.neighbours import UNKNOWN
from edge_actors.algorithms.scores import (
    MOST_NEWCOMERS,
    NEWCOMER_KNOWN,
    NEWCOMER_SCENES,
    SHRINKAGE,
    ClassScores,
    Commissioning,
    Signals,
    signals,
    signals_of,
)

from ..learning import calibration, clouds, memory, statistics


def fitted(seed: int = 0) -> tuple[ClassScores, list[Signals], list[str]]:
    """Class a is loud: its residuals are larger and vary more."""
    chance = np.random.default_rng(seed)
    labels = ["a", "b"] * 100
    seen = [
        Signals(float(chance.normal(3, 2) if label == "a" else chance.normal(0, 1)), float(chance.normal(-1, 0.5)))
        for label in labels
    ]
    return ClassScores.fit(seen, labels), seen, labels


def test_scores_of_the_calibration_frames_are_standard_within_each_class() -> None:
    scores, seen, labels = fitted()
    found = np.array([scores.score(label, one) for label, one in zip(labels, seen, strict=True)])
    assert abs(found.mean()) < 0.03
    assert abs(found.std() - 1) < 0.05
    for label in "ab":
        assert abs(found[np.array(labels) == label].mean()) < 0.15


def test_what_is_usual_for_one_class_is_strange_for_another() -> None:
    scores, _, _ = fitted()
    loud = Signals(4.0, -1.0)
    assert scores.score("a", loud) < 0.6
    assert scores.score("b", loud) > 2


def test_statistics_of_a_class_are_shrunk_towards_those_of_all() -> None:
    seen = [Signals(0.0, 0.0), Signals(1.0, 0.0)] * 10 + [Signals(5.0, 0.0)] * 2
    scores = ClassScores.fit(seen, ["a"] * 20 + ["b"] * 2)
    values = np.array([one.residual for one in seen])
    mean = (2 * 5.0 + SHRINKAGE * values.mean()) / (2 + SHRINKAGE)
    spread = np.sqrt((2 * (5.0 - mean) ** 2 + SHRINKAGE * values.var()) / (2 + SHRINKAGE))
    assert scores.classes["b"][0] == pytest.approx((mean, spread))


def test_the_margin_compares_the_own_class_with_its_nearest_rival() -> None:
    clear = signals(1.0, "a", ["a"] * 3, [1.0, 2.0, 3.0], rival=10.0)
    close = signals(1.0, "a", ["b", "a", "a"], [2.0, 2.5, 3.0], rival=2.0)
    assert clear.margin == pytest.approx(np.log(0.1))
    assert close.margin == pytest.approx(np.log(1.25))
    assert signals(1.0, UNKNOWN, [], [], 0.0).margin is None
    assert signals(1.0, "a", ["a"], [1.0], rival=0.0).margin is None, "with one label there is nothing to compare"
    assert signals(1.0, "a", ["a"], [0.0], rival=1.0).margin is not None, "a picture that is in the memory is finite"


def test_an_unseen_class_scores_higher_than_the_known_ones() -> None:
    held, scores = memory(), statistics().scores()
    known, _ = clouds("abc", 30, seed=7)
    unseen, _ = clouds("d", 90, seed=7)

    def median(points: np.ndarray, residual: float) -> float:
        votes = [held.vote(x) for x in points]
        return float(np.median([scores.score(vote.label, signals_of(residual, vote)) for vote in votes]))

    assert median(unseen, 1.0) > median(known, 1.0) + 1, "the margin alone shows it"
    assert median(known, 1.6) > median(known, 1.0) + 1, "and so does the residual alone"


def test_a_class_that_calibration_did_not_know_becomes_usual_after_some_scenes() -> None:
    scores, _, _ = fitted()
    new = Signals(9.0, 0.5)
    for _ in range(NEWCOMER_KNOWN):
        assert scores.score("novel-1", new) == 0.0, "its first frames are evidence of nothing"
        scores.learn("novel-1", new)
    assert abs(scores.score("novel-1", new)) < 0.2
    assert scores.score("novel-1", Signals(15.0, 0.5)) > 1.5
    for _ in range(NEWCOMER_SCENES):
        scores.learn("novel-1", new)
    learned = scores.state()
    scores.learn("novel-1", Signals(99.0, 9.0))
    scores.learn("a", new)
    scores.learn(UNKNOWN, new)
    assert scores.state() == learned, "newcomers are learned once, calibrated classes never"


def test_of_many_new_classes_the_one_not_seen_for_longest_is_forgotten() -> None:
    scores, _, _ = fitted()
    for number in range(MOST_NEWCOMERS):
        scores.learn(f"novel-{number}", Signals(1.0, 0.0))
    scores.learn("novel-0", Signals(1.0, 0.0))
    scores.learn("novel-new", Signals(1.0, 0.0))
    kept = scores.state()["newcomers"]
    assert len(kept) == MOST_NEWCOMERS
    assert {"novel-0", "novel-new"} <= set(kept)
    assert "novel-1" not in kept


def test_commissioning_takes_a_common_shift_nearly_whole_and_a_rare_class_with_doubt() -> None:
    settling = Commissioning()
    for number in range(400):
        settling.add("ab"[number % 2], 0.7)
    settling.add("c", 2.0)
    offsets = settling.offsets()
    assert offsets["a"] == pytest.approx(0.7, abs=0.05)
    assert 0.6 < offsets["c"] < 0.8, "one scene of c says little about c"
    assert settling.scenes == 401


def test_an_offset_moves_the_score_of_its_class_alone() -> None:
    scores, _, _ = fitted()
    frame = Signals(1.0, -1.0)
    a, b = scores.score("a", frame), scores.score("b", frame)
    scores.offsets = {"a": 0.5}
    assert scores.score("a", frame) == pytest.approx(a - 0.5)
    assert scores.score("b", frame) == b


def test_a_state_brings_offsets_and_newcomers_back() -> None:
    scores, _, _ = fitted()
    other, _, _ = fitted()
    scores.offsets = {"a": 0.25}
    for residual in range(NEWCOMER_KNOWN):
        scores.learn("novel-1", Signals(float(residual), None))
    other.restore(scores.state())
    assert other.state() == scores.state()
    assert other.score("novel-1", Signals(2.5, 0.0)) == scores.score("novel-1", Signals(2.5, 0.0))


def test_one_calibration_gives_the_same_statistics_twice() -> None:
    one, other = statistics(), statistics()
    np.testing.assert_array_equal(one.places.whitening, other.places.whitening)
    assert replace(one, places=other.places) == other


def test_two_views_of_a_scene_widen_the_gate_only_where_they_lie_far_apart() -> None:
    narrow = measure(memory(), calibration())
    assert narrow.scene == pytest.approx(0.9 * narrow.nearest)
    assert measure(memory(), calibration(), same_scene=narrow.scene / 2).scene == narrow.scene
    assert measure(memory(), calibration(), same_scene=99.0).scene == 99.0


def test_accuracy_is_the_share_of_frames_recognised() -> None:
    values, names = clouds("abc", 10, seed=4)
    wrong = ["b", *names[1:]]
    found = Calibration(values, np.zeros(30, np.float32), tuple(wrong)).accuracy(memory())
    assert found == pytest.approx(29 / 30)
