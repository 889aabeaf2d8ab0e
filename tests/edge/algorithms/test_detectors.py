"""What holds for every drift detector, so that one can stand in another's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from broker import codec
from edge_actors.algorithms import detectors
from edge_actors.algorithms.detector import Detector, Observation
from edge_actors.algorithms.mewma import Places
from edge_actors.algorithms.page_hinkley import Printed
from edge_actors.algorithms.placing import Placing
from edge_actors.runtime.states import plain
from edge_actors.settings import DETECTORS

from ..learning import DIMENSION, calibration, centre, memory, statistics

USUAL = detectors.Usual(statistics(), calibration(), memory, printed=Printed(adaptive=True, reference=True))
every_detector = pytest.mark.parametrize("name", DETECTORS)
all_that_hear_frames = pytest.mark.parametrize("name", [name for name in DETECTORS if name != "error-rate"])


def make(name: str) -> Detector:
    (made,) = detectors.build([name], USUAL)
    return made


class World:
    """Frames of the known classes; `shift` moves everything that any detector watches, in spreads."""

    def __init__(self, seed: int, classes: str = "abc") -> None:
        self.chance, self.classes = np.random.default_rng(seed), classes
        self.placing = Placing(USUAL.statistics.places)
        self.frames = 0

    def frame(self, shift: float = 0.0, label: str = "", opened: bool = True) -> Observation:
        self.frames += 1
        mix = [1.0] * (len(self.classes) - 1) + [1 + 10 * max(shift, 0.0)]  # a drift brings more of the last class
        label = label or str(self.chance.choice(list(self.classes), p=np.array(mix) / sum(mix)))
        values = (centre(label) + self.chance.normal(0, 1, DIMENSION) + shift).astype(np.float32)
        confidence = 1 - self.chance.binomial(4, min(0.05 + 0.25 * max(shift, 0.0), 0.9)) / 5
        distances = (3 + self.chance.normal(0, 0.3, 5) + 0.5 * shift).tolist()
        score = float(np.clip(self.chance.normal(shift, 1), -2.5, 2.5))
        place, known = self.placing.place(label, values, score), self.placing.knows(label)
        at = self.frames / 20
        return Observation(label, confidence, distances, values, score, score, opened, place, known, at)

    def tell(self, detector: Detector, shift: float) -> None:
        """A person's label: wrong once in ten times, more often after a shift."""
        detector.told(bool(self.chance.random() > min(0.1 + 0.4 * max(shift, 0.0), 0.9)))


def play(detector: Detector, world: World, shifts: Sequence[float]) -> list[float]:
    """The statistic in thresholds."""
    told = []
    for shift in shifts:
        world.tell(detector, shift)
        told.append(detector.update(world.frame(shift)) / detector.threshold)
    return told


def commissioned(name: str, world: World, scenes: int = 300) -> Detector:
    detector = make(name)
    for _ in range(scenes):
        world.tell(detector, 0)
        detector.learn(world.frame())
    detector.settle()
    return detector


def copy_of(detector: Detector) -> Detector:
    other = make(detector.name)
    other.restore(codec.unpack(codec.pack(plain(detector.state()))))
    return other


def test_every_name_of_the_settings_is_a_detector_and_the_other_way_round() -> None:
    assert tuple(detectors.MAKERS) == DETECTORS
    assert [one.name for one in detectors.build(DETECTORS, USUAL)] == list(DETECTORS)
    assert all(one.watches for one in detectors.build(DETECTORS, USUAL))


@every_detector
def test_is_silent_while_nothing_changes(name: str) -> None:
    """One false alarm in 200,000 scenes is what was asked for; in 3,000 there should be none."""
    world = World(1)
    assert max(play(commissioned(name, world), world, [0.0] * 3000)) <= 1


@every_detector
def test_speaks_soon_after_a_large_change_of_what_it_watches(name: str) -> None:
    for seed in range(3):
        world = World(seed)
        detector = commissioned(name, world)
        assert max(play(detector, world, [0.0] * 100)) <= 1
        told = play(detector, world, [2.0] * 150)
        assert max(told) > 1
        assert 1 <= detector.onset() <= 450


@pytest.mark.parametrize("name", [name for name in DETECTORS if name not in ("page-hinkley", "error-rate")])
def test_a_scene_counts_once_however_long_it_is_held(name: str) -> None:
    world = World(2)
    detector = commissioned(name, world)
    shown = world.frame(shift=2.0, label="a")
    held = [detector.update(shown._replace(opened=number == 0)) for number in range(2000)]
    assert max(held) <= detector.threshold


@every_detector
def test_the_same_frames_give_the_same_statistic(name: str) -> None:
    shifts = [0.0] * 200 + [1.0] * 200
    one, other = World(3), World(3)
    assert play(commissioned(name, one), one, shifts) == play(commissioned(name, other), other, shifts)


@every_detector
@pytest.mark.parametrize("stop", [0, 20, 60, 90])
def test_a_restored_state_has_the_same_future_byte_for_byte(name: str, stop: int) -> None:
    def told_from(detector: Detector, frames: range) -> list[float]:
        told = []
        for number in frames:
            world = World(1000 + number)
            seen = world.frame(shift=float(number > 60), opened=number % 3 > 0)
            world.tell(detector, float(number > 60))
            if number < 40:
                detector.learn(seen)
            elif number == 40:
                detector.settle()
            else:
                told.append(detector.update(seen))
        return told

    detector = make(name)
    told_from(detector, range(stop))
    other = copy_of(detector)
    assert told_from(other, range(stop, 120)) == told_from(detector, range(stop, 120))
    assert codec.pack(plain(other.state())) == codec.pack(plain(detector.state()))


@every_detector
def test_a_reset_forgets_the_evidence_and_nothing_that_was_learned(name: str) -> None:
    world = World(4)
    detector = commissioned(name, world)
    fresh, threshold = copy_of(detector), detector.threshold
    told = play(detector, world, [2.0] * 150)
    assert max(told) > 1
    detector.reset()
    assert not detector.holds()
    assert detector.update(world.frame()) <= 0.5 * detector.threshold
    if name != "page-hinkley":  # whose mean takes every frame in, as printed
        assert detector.threshold == threshold == fresh.threshold
    assert max(play(detector, world, [2.0] * 400)) > 1, "and it can speak again"


@every_detector
def test_the_statistic_stays_finite_and_bounded_in_a_drift_without_end(name: str) -> None:
    world = World(5)
    detector = commissioned(name, world)
    told = play(detector, world, [2.5] * 1500)
    assert np.isfinite(told).all()
    if name != "page-hinkley":  # whose sum has no bound, as printed
        assert max(told[800:]) <= 12


@all_that_hear_frames
def test_is_calm_again_soon_after_a_strong_drift_or_says_that_it_does_not_know(name: str) -> None:
    world = World(6)
    detector = commissioned(name, world)
    play(detector, world, [2.5] * 300)
    for _ in range(120):
        detector.update(world.frame())
    assert not detector.holds()


@every_detector
def test_constant_or_extreme_numbers_have_a_finite_outcome(name: str) -> None:
    still = np.zeros(DIMENSION, np.float32)
    for values in (still, still + 1e15):
        detector = make(name)
        seen = Observation("a", 1.0, (0.0,) * 5, values, 0.0, 0.0, True, np.append(values.clip(-3, 3), 0))
        for _ in range(100):
            detector.learn(seen)
        detector.settle()
        assert np.isfinite([detector.update(seen) for _ in range(100)]).all()


@every_detector
def test_a_memory_too_small_to_vote_is_no_drift(name: str) -> None:
    detector, world = commissioned(name, World(7)), World(8)
    silent = [
        world.frame()._replace(label="unknown", confidence=0.8, distances=(), score=0.0, scene_score=0.0, known=False)
        for _ in range(60)
    ]
    told = [detector.update(seen) for seen in silent]
    assert np.isfinite(told).all()
    if name not in ("distribution", "feature-ewma"):  # that there are other labels is what the first of these watches
        assert max(told) <= detector.threshold


@every_detector
def test_a_class_that_calibration_did_not_know_is_no_error(name: str) -> None:
    world = World(9)
    detector = commissioned(name, world)
    for _ in range(200):
        seen = world.frame(label="z")._replace(score=0.0, scene_score=0.0)
        assert not seen.known
        assert np.isfinite(detector.update(seen))


@every_detector
@pytest.mark.parametrize("classes", [2, 10_000])
def test_works_with_two_classes_and_with_ten_thousand(name: str, classes: int) -> None:
    labels = [str(number) for number in range(classes)]
    shares = dict.fromkeys(labels, 1 / classes)
    places = Places(
        dict.fromkeys(labels, np.zeros(DIMENSION, np.float32)), shares, np.eye(DIMENSION, dtype=np.float32)
    )
    usual = detectors.Usual(replace(USUAL.statistics, places=places), calibration(), memory)
    (detector,) = detectors.build([name], usual)
    chance, placing = np.random.default_rng(10), Placing(places)

    def frame() -> Observation:
        label, values = str(chance.integers(classes)), chance.normal(0, 1, DIMENSION).astype(np.float32)
        score = float(chance.normal())
        place = placing.place(label, values, score)
        return Observation(label, 1.0, (3.0,) * 5, values, score, score, True, place)

    for _ in range(300):
        detector.learn(frame())
    detector.settle()
    told = [detector.update(frame()) for _ in range(300)]
    assert max(told) <= detector.threshold or name == "page-hinkley"
    again = copy_with(detector, usual)
    seen = frame()
    assert again.update(seen) == detector.update(seen)


def copy_with(detector: Detector, usual: detectors.Usual) -> Detector:
    (other,) = detectors.build([detector.name], usual)
    other.restore(codec.unpack(codec.pack(plain(detector.state()))))
    return other


@pytest.mark.parametrize("name", [name for name in DETECTORS if name != "page-hinkley"])
def test_who_wants_fewer_false_alarms_gets_later_ones(name: str) -> None:
    def delay(scenes: float) -> int:
        usual = detectors.Usual(statistics(), calibration(), memory, scenes)
        (detector,) = detectors.build([name], usual)
        world = World(11)
        for _ in range(300):
            world.tell(detector, 0)
            detector.learn(world.frame())
        detector.settle()
        told = play(detector, world, [1.0] * 1000)
        return next(number for number, statistic in enumerate(told) if statistic > 1)

    delays = [delay(scenes) for scenes in (100, 10_000, 10_000_000)]
    assert delays == sorted(delays)
    assert delays[0] < delays[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scene-cusum", "confidence", "distribution", "feature-ewma", "error-rate"])
def test_false_alarms_are_no_more_frequent_than_was_asked_for(name: str) -> None:
    alarms, asked, scenes = 0, 2_000, 20_000
    usual = detectors.Usual(statistics(), calibration(), memory, asked)
    for seed in range(3):
        world = World(seed)
        (detector,) = detectors.build([name], usual)
        for _ in range(500):
            world.tell(detector, 0)
            detector.learn(world.frame())
        detector.settle()
        for _ in range(scenes):
            world.tell(detector, 0)
            if detector.update(world.frame()) > detector.threshold:
                alarms += 1
                detector.reset()
    assert alarms <= 2 * 3 * scenes / asked
