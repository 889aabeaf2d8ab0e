"""Thresholds keep what they promise, on the numbers for which they are derived."""

from __future__ import annotations

import numpy as np
import pytest

from edge_actors.algorithms.run_length import STEEPEST, cusum_threshold, ewma_threshold, exponent


@pytest.mark.parametrize("dimension", [1, 8, 64])
def test_an_average_passes_its_threshold_about_as_often_as_was_asked_for(dimension: int) -> None:
    chance, weight, wanted, streams = np.random.default_rng(0), 0.05, 1_000, 40
    limit = ewma_threshold(dimension, weight, wanted) * weight / (2 - weight)
    average, waited, alarms = np.zeros((streams, dimension)), 0, 0
    for _ in range(2_500):
        average = (1 - weight) * average + weight * chance.normal(size=(streams, dimension))
        over = (average * average).sum(axis=1) > limit
        alarms += int(over.sum())
        average[over] = 0
        waited += streams
    assert 0.7 * wanted < waited / alarms < 2.5 * wanted, "after an alarm it begins afresh, which takes a while"


def test_thresholds_grow_with_the_wanted_time_and_with_the_dimension() -> None:
    for kind in (lambda n: cusum_threshold(0.25, n), lambda n: ewma_threshold(16, 0.03, n)):
        levels = [kind(n) for n in (100, 10_000, 1_000_000)]
        assert levels == sorted(levels)
        assert levels[0] < levels[2]
    assert ewma_threshold(8, 0.03, 10_000) < ewma_threshold(64, 0.03, 10_000)


def test_the_exponent_of_normal_values_is_twice_the_reference_value() -> None:
    x = np.linspace(-8, 8, 2001)
    assert exponent(zip(x.tolist(), np.exp(-x * x / 2).tolist(), strict=True), 0.5) == pytest.approx(1.0, abs=1e-3)


def test_a_heavier_upper_tail_has_a_smaller_exponent() -> None:
    even, skew = [(-1.0, 1.0), (1.0, 1.0)], [(-0.5, 4.0), (2.0, 1.0)]
    assert exponent(skew, 0.5) < exponent(even, 0.5)


def test_values_that_never_pass_the_reference_value_have_the_steepest_exponent() -> None:
    assert exponent([(0.0, 10.0)], 0.5) == STEEPEST
