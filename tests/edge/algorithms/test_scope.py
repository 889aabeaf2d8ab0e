"""Something new among the usual and a change of everything are told apart, whichever share of the stream is new."""

from __future__ import annotations

import numpy as np
import pytest

from edge_actors.algorithms.scope import WhatMoved
from edge_actors.arrays import Floats

from ..learning import DIMENSION, clouds, statistics


def judged(values: Floats, labels: list[str], scores: list[float], dwell: int = 1) -> WhatMoved:
    """What is thought of a drift after a usual time before it."""
    moved = WhatMoved(statistics().places, DIMENSION)
    for row, label in zip(*clouds("abc", 80, seed=20), strict=True):
        moved.accept(row, label, 0.0)
    moved.begin()
    for number in range(len(labels) * dwell):
        at = number // dwell
        if moved.update(values[at], labels[at], scores[at], number % dwell == 0):
            break
    return moved


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("dwell", [1, 8])
def test_an_unseen_class_is_something_new_however_frequent(share: float, dwell: int) -> None:
    chance = np.random.default_rng(5)
    usual, names = clouds("abc", 40, seed=21)
    strange, _ = clouds("d", 120, seed=22)
    new = chance.random(120) < share
    values = np.where(new[:, None], strange, usual)
    scores = np.where(new, chance.normal(2.0, 0.4, 120), chance.normal(0.0, 1.0, 120)).tolist()
    labels = [chance.choice(["a", "b"]) if one else own for one, own in zip(new, names, strict=True)]
    moved = judged(values, labels, scores, dwell)
    assert moved.scope == "novel"
    assert moved.statistic < moved.threshold


def test_a_displaced_stream_is_a_change_of_everything_though_its_scores_are_not_extreme() -> None:
    values, names = clouds("abc", 40, seed=21)
    scores = np.random.default_rng(5).normal(0.5, 1.0, 120).tolist()
    assert judged(values + np.float32(2.5), names, scores).scope == "global"


def test_noise_on_every_frame_is_a_change_of_everything_though_nothing_is_displaced() -> None:
    values, names = clouds("abc", 40, seed=21)
    assert judged(values, names, [1.5] * 120).scope == "global"


def test_nothing_is_said_of_a_drift_that_was_short() -> None:
    values, names = clouds("abc", 30, seed=21)
    assert judged(values, names, [2.0] * 90).scope == ""


def test_a_state_goes_on_as_it_would_have() -> None:
    values, names = clouds("abc", 30, seed=21)
    one = judged(values, names, [2.0] * 90)
    other = WhatMoved(statistics().places, DIMENSION)
    other.restore(one.state())
    for moved in (one, other):
        for row, label in zip(*clouds("abc", 20, seed=23), strict=True):
            moved.update(row, label, 2.0, True)
    assert other.state() == one.state()
    assert one.scope
