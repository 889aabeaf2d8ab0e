"""What holds for every drift detector, so that one can stand in another's place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from broker import codec
from edge_actors.algorithms.cusum import SceneCusum
from edge_actors.algorithms.detector import Detector, Observation
from edge_actors.algorithms.mewma import Places, SceneMewma
from edge_actors.arrays import Floats
from edge_actors.runtime.states import plain

from ..learning import DIMENSION, centre, clouds, statistics


def cusum() -> SceneCusum:
    return SceneCusum()


def mewma() -> SceneMewma:
    return SceneMewma(statistics().places)


every_detector = pytest.mark.parametrize("make", [cusum, mewma])
Make = Callable[[], Detector]


class World:
    """Frames of the known classes; a shift moves features and scores alike."""

    def __init__(self, seed: int) -> None:
        self.chance = np.random.default_rng(seed)

    def frame(self, shift: float = 0.0, label: str = "", opened: bool = True) -> Observation:
        label = label or str(self.chance.choice(list("abc")))
        place = centre(label) + self.chance.normal(0, 1, DIMENSION)
        place[0] += shift
        score = float(self.chance.normal(shift, 1))
        return Observation(label, 1.0, (1.0,), place.astype(np.float32), score, score, opened)


def delay(detector: Detector, world: World, shift: float, most: int = 2000) -> int:
    return next((n for n in range(1, most) if detector.update(world.frame(shift)) > detector.threshold), most)


@every_detector
def test_is_silent_while_nothing_changes(make: Make) -> None:
    detector, world = make(), World(1)
    assert max(detector.update(world.frame()) for _ in range(5000)) <= detector.threshold


@every_detector
def test_speaks_soon_after_a_change(make: Make) -> None:
    for seed in range(5):
        detector, world = make(), World(seed)
        for _ in range(300):
            detector.update(world.frame())
        assert delay(detector, world, shift=2.0) <= 40
        assert 1 <= detector.onset() <= 60


@every_detector
def test_a_scene_counts_once_however_long_it_is_held(make: Make) -> None:
    detector, world = make(), World(2)
    for _ in range(300):
        detector.update(world.frame())
    shown = world.frame(shift=2.0, label="a")
    held = max(detector.update(shown._replace(opened=number == 0)) for number in range(2000))
    assert held <= detector.threshold


@every_detector
def test_after_a_reset_the_evidence_is_gone_and_it_can_speak_again(make: Make) -> None:
    detector, world = make(), World(3)
    assert delay(detector, world, shift=2.0) < 2000
    detector.reset()
    assert not detector.holds()
    assert detector.update(world.frame()) < 0.5 * detector.threshold
    assert delay(detector, world, shift=2.0) > 1


@every_detector
def test_the_statistic_stays_bounded_in_a_drift_without_end(make: Make) -> None:
    detector, world = make(), World(4)
    statistics = [detector.update(world.frame(shift=2.5)) for _ in range(5000)]
    assert max(statistics[2500:]) <= 12 * detector.threshold
    assert np.isfinite(statistics).all()


@every_detector
def test_a_class_that_calibration_did_not_know_is_evidence_of_nothing_by_itself(make: Make) -> None:
    detector, world = make(), World(5)
    for _ in range(500):
        frame = world.frame(label="z")
        assert detector.update(frame._replace(score=0.0, scene_score=0.0)) <= detector.threshold


@every_detector
@pytest.mark.parametrize("stop", [0, 20, 60, 90])
def test_a_restored_state_has_the_same_future(make: Make, stop: int) -> None:
    def play(detector: Detector, frames: range) -> list[float]:
        told = []
        for number in frames:
            world = World(1000 + number)
            seen = world.frame(shift=float(number > 60), opened=number % 3 > 0)
            if number < 40:
                detector.learn(seen)
            elif number == 40:
                detector.settle()
            else:
                told.append(detector.update(seen))
        return told

    detector, other = make(), make()
    play(detector, range(stop))
    other.restore(codec.unpack(codec.pack(plain(detector.state()))))
    assert play(other, range(stop, 120)) == play(detector, range(stop, 120))
    assert codec.pack(other.state()) == codec.pack(detector.state())


# ---- the moving average alone ------------------------------------------------------------------------------------


def at(label: str, place: Floats) -> Observation:
    return Observation(label, 1.0, (1.0,), place.astype(np.float32), 0.0, 0.0, True)


def test_a_class_that_becomes_frequent_is_no_drift() -> None:
    detector, world = mewma(), World(6)
    rare = [world.frame(label="a") for _ in range(3000)]
    assert max(map(detector.update, rare)) <= detector.threshold


def test_what_commissioning_saw_of_a_class_is_usual() -> None:
    told = []
    for settled in (False, True):
        detector, world = mewma(), World(7)
        moved = [world.frame(shift=1.0, label="a") for _ in range(600)]
        if settled:
            for seen in moved[:300]:
                detector.learn(seen)
            detector.settle()
        told.append(max(map(detector.update, moved[300:])) > detector.threshold)
    assert told == [True, False]


def test_it_is_calm_again_soon_after_the_strongest_drift() -> None:
    detector, world = mewma(), World(8)
    for _ in range(500):
        detector.update(world.frame(shift=50.0))
    assert detector.holds()
    scenes = 0
    while detector.holds():
        scenes += 1
        detector.update(world.frame())
    assert scenes <= 40


@pytest.mark.parametrize(("dimension", "threshold"), [(64, 3.3), (16, 5.6), (256, 2.15)])
def test_the_threshold_is_that_of_the_design_and_follows_the_dimension(dimension: int, threshold: float) -> None:
    detector = SceneMewma(Places({}, {}, np.eye(dimension, dtype=np.float32)))
    assert detector.threshold == pytest.approx(threshold, abs=0.01)


def test_one_wild_frame_alone_is_no_drift() -> None:
    detector, world = mewma(), World(9)
    for _ in range(100):
        detector.update(world.frame())
    assert detector.update(at("a", centre("a") + 1e6)) <= detector.threshold


def test_places_within_a_class_are_standard_and_independent() -> None:
    values, names = clouds("abc", 400, seed=11)
    mixing = np.random.default_rng(12).normal(size=(DIMENSION, DIMENSION))
    mixed = (values @ mixing).astype(np.float32)
    held = {label: mixed[[name == label for name in names]].mean(axis=0) for label in "abc"}
    places = Places.fit(mixed, names, held)
    white = np.array([places.whitening @ (row - places.means[name]) for row, name in zip(mixed, names, strict=True)])
    covariance = np.cov(white.T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.35, (
        "a fifth of the diagonal is kept on purpose"
    )
    assert 0.5 < np.diag(covariance).min() < np.diag(covariance).max() < 1.5
    assert places.shares == {"a": pytest.approx(1 / 3), "b": pytest.approx(1 / 3), "c": pytest.approx(1 / 3)}


def test_more_dimensions_than_frames_still_give_finite_places() -> None:
    values = np.random.default_rng(13).normal(size=(6, 40)).astype(np.float32)
    values[:, 7] = 0.0
    places = Places.fit(values, list("ababab"), {"a": values[0], "b": values[1]})
    assert np.isfinite(places.whitening).all()
    assert np.abs(places.whitening @ (values[2] - places.means["a"])).max() < 1e3
