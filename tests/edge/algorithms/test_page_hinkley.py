"""The seed's detector does what the seed printed, and its open ends are settings."""

from __future__ import annotations

import numpy as np
import pytest

from edge_actors.algorithms.detector import Observation
from edge_actors.algorithms.page_hinkley import PageHinkley, Printed

NOWHERE = np.zeros(2, np.float32)


def frame(distance: float, at: float = 0.0) -> Observation:
    return Observation("a", 1.0, (distance,) * 5, NOWHERE, 0.0, 0.0, True, NOWHERE, True, at)


class Listing:
    """Chapter 5.2.3, line by line, with the running mean that `_update_statistics` leaves open."""

    def __init__(self, threshold: float = 50.0, alpha: float = 0.005, exit_factor: float = 1.2) -> None:
        self.threshold, self.alpha, self.exit_factor = threshold, alpha, exit_factor
        self.ph_sum = self.ph_min = self.mean = 0.0
        self.seen, self.is_in_drift = 0, False

    def update(self, distance: float) -> tuple[float, bool]:
        self.seen += 1
        self.mean += (distance - self.mean) / self.seen
        self.ph_sum += distance - self.mean - self.alpha
        self.ph_min = min(self.ph_min, self.ph_sum)
        statistic = self.ph_sum - self.ph_min
        if not self.is_in_drift:
            self.is_in_drift = statistic > self.threshold
        elif distance < self.mean * self.exit_factor:
            self.is_in_drift, self.ph_sum, self.ph_min = False, 0.0, 0.0
        return statistic, self.is_in_drift


def test_gives_the_numbers_of_the_listing() -> None:
    chance = np.random.default_rng(0)
    distances = [*chance.normal(20, 4, 1500), *chance.normal(30, 4, 300), *chance.normal(20, 4, 700)]
    ours, listing = PageHinkley(), Listing()
    states = []
    for distance in map(float, distances):
        statistic = ours.update(frame(distance))
        expected, in_drift = listing.update(distance)
        assert statistic == pytest.approx(expected)
        assert ours.in_drift == in_drift
        states.append(in_drift)
    assert True in states
    assert not states[-1]


def test_mean_and_variance_are_those_of_all_frames_so_far() -> None:
    distances = np.random.default_rng(1).normal(10, 2, 500)
    test = PageHinkley()
    for distance in distances.tolist():
        test.learn(frame(distance))
    assert test.mean == pytest.approx(distances.mean())
    assert test.variance == pytest.approx(distances.var())


def test_begins_with_the_reference_statistics_where_that_is_set() -> None:
    given = (300, 12.0, 4.0)
    assert PageHinkley(Printed(reference=True), given).mean == 12.0
    assert PageHinkley(Printed(reference=False), given).mean == 0.0


def test_thresholds_adapt_to_the_learned_spread_where_that_is_set() -> None:
    tests = [PageHinkley(Printed(adaptive=True)) for _ in range(2)]
    for test, spread in zip(tests, (1.0, 3.0), strict=True):
        for distance in np.random.default_rng(2).normal(10, spread, 2000).tolist():
            test.learn(frame(distance))
    assert tests[1].threshold == pytest.approx(3 * tests[0].threshold, rel=0.02)
    assert PageHinkley().threshold == 50.0


def alarms(test: PageHinkley, distances: list[float]) -> list[int]:
    """Frames, one a second, at which a drift begins."""
    begins = []
    for number, distance in enumerate(distances):
        before = test.in_drift
        test.update(frame(distance, float(number)))
        if test.in_drift and not before:
            begins.append(number)
    return begins


def test_is_quiet_during_the_cooldown() -> None:
    up_and_down = [10.0] * 100 + ([25.0] * 20 + [10.0] * 5) * 8
    often = alarms(PageHinkley(), up_and_down)
    seldom = alarms(PageHinkley(Printed(cooldown_s=120.0)), up_and_down)
    assert len(often) > len(seldom) >= 1
    assert min(np.diff(seldom), default=120) >= 120


def test_begins_at_a_far_frame_only_where_an_entry_factor_is_set() -> None:
    slow = [10.0] * 100 + [12.0] * 200
    assert alarms(PageHinkley(), slow)
    assert not alarms(PageHinkley(Printed(entry_factor=1.5)), slow)
