"""A drift is over when its own direction is left, not when a few scenes look good or a new class explains them."""

from __future__ import annotations

import numpy as np
import pytest

from broker import codec
from edge_actors.algorithms.departure import ENOUGH, Departure
from edge_actors.algorithms.detector import Observation
from edge_actors.algorithms.ending import ADOPTED, BACK, USUAL_NOW, Ending
from edge_actors.algorithms.recovery import usual_shares
from edge_actors.runtime.states import plain

DIMENSION = 16
SHARES = usual_shares(np.random.default_rng(0).normal(0, 1, 400).clip(-2.5, 2.5).tolist())
MOVED = np.eye(DIMENSION, dtype=np.float32)[3] * 5  # where strange frames lie; their score says next to nothing


class World:
    def __init__(self, seed: int) -> None:
        self.chance = np.random.default_rng(seed)

    def frame(self, strange: float, label: str = "a", novel: str = "") -> Observation:
        """A scene of its own that is strange with this probability, and then perhaps taken for a novel class."""
        place = self.chance.normal(0, 1, DIMENSION).astype(np.float32)
        score = float(np.clip(self.chance.normal(), -2.5, 2.5))
        if self.chance.random() < strange:
            label, place = (novel or label), place + MOVED
        known = not label.startswith("novel-")
        numbers = np.append(place if known else np.zeros_like(place), np.float32(score))
        return Observation(label, 1.0, (1.0,), place, score, score, True, numbers, known)


def in_drift(world: World, share: float) -> Ending:
    ending = Ending(SHARES, DIMENSION)
    for _ in range(300):
        ending.watch(world.frame(0.0))
    for _ in range(40):
        ending.watch(world.frame(share))
    ending.begin(40)
    return ending


def ended(ending: Ending, world: World, share: float, most: int, novel: str = "") -> tuple[int, str]:
    for number in range(most):
        _, reason = ending.update(world.frame(share, novel=novel))
        if reason:
            return number, reason
    return most, ""


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_drift_that_scores_do_not_show_goes_on_as_long_as_it_lasts_and_is_over_soon_after(share: float) -> None:
    for seed in range(5):
        world = World(seed)
        ending = in_drift(world, share)
        assert ended(ending, world, share, 2000) == (2000, "")
        scenes, reason = ended(ending, world, 0.0, 200)
        assert scenes <= 80
        assert reason == BACK


def test_scenes_of_a_drift_lie_far_in_its_direction_and_usual_ones_do_not() -> None:
    world = World(1)
    ending = in_drift(world, 0.3)
    ended(ending, world, 0.3, 100)
    strange = [ending.update(world.frame(1.0))[0] for _ in range(20)]
    usual = [ending.update(world.frame(0.0))[0] for _ in range(15)]
    assert np.median(strange) > 3
    assert abs(np.median(usual)) < 1.5


def test_a_provisional_class_explains_frames_and_does_not_end_their_drift() -> None:
    world = World(2)
    ending = in_drift(world, 0.5)
    assert ended(ending, world, 0.5, ADOPTED - 200, novel="novel-1") == (ADOPTED - 200, "")
    scenes, reason = ended(ending, world, 0.0, 200, novel="novel-1")
    assert scenes < 60
    assert reason == BACK


def test_a_provisional_class_that_stays_for_long_is_adopted_and_no_drift_any_more() -> None:
    world = World(3)
    ending = in_drift(world, 0.5)
    scenes, reason = ended(ending, world, 0.5, 2 * ADOPTED, novel="novel-1")
    assert ADOPTED <= scenes < ADOPTED + 300
    assert reason == USUAL_NOW
    assert ending.adopted == {"novel-1"}
    ending.begin(1)
    scenes, reason = ended(ending, world, 0.5, 200, novel="novel-1")
    assert reason == BACK, "in a later drift it counts as any other class"


def test_a_drift_that_provisional_classes_do_not_explain_is_never_adopted() -> None:
    world = World(4)
    ending = in_drift(world, 0.5)
    assert ended(ending, world, 0.5, ADOPTED + 500) == (ADOPTED + 500, "")


def test_too_few_usual_scenes_leave_the_judgement_to_the_score() -> None:
    departure, world = Departure(DIMENSION), World(5)
    for _ in range(ENOUGH - 1):
        departure.watch(world.frame(0.0).values, True)
    departure.begin(1)
    assert departure.update(world.frame(1.0).values, True, False) is None


@pytest.mark.parametrize("stop", [10, 320, 400])
def test_a_restored_state_has_the_same_future_byte_for_byte(stop: int) -> None:
    def step(ending: Ending, number: int) -> object:
        seen = World(number).frame(0.6 if number > 290 else 0.0, novel="novel-1" if number % 5 == 0 else "")
        seen = seen._replace(opened=number % 3 > 0)
        if number < 330:
            return ending.watch(seen)
        if number == 330:
            return ending.begin(30)
        return ending.update(seen)

    ending, other = Ending(SHARES, DIMENSION), Ending(SHARES, DIMENSION)
    for number in range(stop):
        step(ending, number)
    other.restore(codec.unpack(codec.pack(plain(ending.state()))))
    for number in range(stop, 450):
        assert step(other, number) == step(ending, number)
    assert codec.pack(plain(other.state())) == codec.pack(plain(ending.state()))


def test_the_state_stays_small() -> None:
    world = World(6)
    ending = in_drift(world, 0.5)
    ended(ending, world, 0.5, 300)
    assert len(codec.pack(plain(ending.state()))) < 300 * (DIMENSION + 1) + 2000
