"""A displaced stream is brought back by a map that was judged on other frames; any other stream is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from edge_actors.algorithms.recentring import Correction, fit
from edge_actors.arrays import Floats

from ..learning import DIMENSION, calibration, clouds, memory

SHIFT = np.linspace(-8, 8, DIMENSION).astype(np.float32)


def stream(labels: str = "abc", each: int = 40, seed: int = 9) -> tuple[Floats, list[str]]:
    return clouds(labels, each, seed)


def accuracy(values: Floats, names: list[str]) -> float:
    return float(np.mean([vote == name for vote, name in zip(memory().votes(values), names, strict=True)]))


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_a_displaced_and_narrowed_stream_is_recognised_again(scale: float) -> None:
    values, _ = stream()
    moved = values * np.float32(scale) + SHIFT
    found = fit(moved, memory(), calibration())
    assert found.reason == ""
    assert found.statistic > found.threshold
    later, truth = stream(seed=10)
    assert accuracy(found.correction(later * np.float32(scale) + SHIFT), truth) > 0.97


def test_a_stream_that_is_not_displaced_is_left_as_it_is() -> None:
    found = fit(stream()[0], memory(), calibration())
    assert found.reason == "no map makes the classes clearer than they are"


def test_a_class_that_is_merely_frequent_does_not_move_the_others() -> None:
    values, _ = stream("aaaaaaabc", each=12)
    found = fit(values, memory(), calibration())
    later, truth = stream(seed=10)
    assert found.reason
    assert accuracy(found.correction(later), truth) > 0.97, "even if it were used"


def test_a_map_in_use_is_not_replaced_by_one_that_is_no_better() -> None:
    moved = stream()[0] + SHIFT
    first = fit(moved, memory(), calibration())
    assert first.reason == ""
    assert fit(stream(seed=10)[0] + SHIFT, memory(), calibration(), first.correction).statistic < first.statistic


def test_one_frame_and_many_are_mapped_alike_and_a_state_brings_the_map_back() -> None:
    made = Correction(np.full(DIMENSION, 2.0, np.float32), SHIFT)
    many = stream()[0]
    np.testing.assert_array_equal(made(many)[3], made(many[3]))
    np.testing.assert_array_equal(Correction.of(made.state())(many), made(many))
