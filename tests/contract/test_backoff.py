"""Pauses grow with every attempt, differ between devices, and begin anew only after a stable link."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from broker.backoff import Backoff

seeds = st.integers(0, 1 << 32)
lives = st.lists(st.floats(0, 59.9), min_size=1, max_size=60)  # seconds that each link held


@given(seeds, lives, st.floats(0.01, 2), st.floats(2, 100))
def test_each_pause_is_drawn_between_the_base_and_three_times_the_last(
    seed: int, lasted: list[float], base: float, cap: float
) -> None:
    backoff, last = Backoff(random.Random(seed), base, cap), base
    for lasted_s in lasted:
        pause = backoff.pause(lasted_s)
        assert base <= pause <= min(cap, 3 * last)
        last = pause


@given(seeds, lives)
def test_links_that_hold_for_a_moment_do_not_shorten_the_pauses(seed: int, lasted: list[float]) -> None:
    flapping, dead = Backoff(random.Random(seed)), Backoff(random.Random(seed))
    assert [flapping.pause(lasted_s) for lasted_s in lasted] == [dead.pause() for _ in lasted]


@given(seeds, st.floats(60, 1e6))
def test_a_stable_link_begins_anew(seed: int, lasted_s: float) -> None:
    backoff = Backoff(random.Random(seed))
    for _ in range(20):
        backoff.pause()
    assert 0.5 <= backoff.pause(lasted_s) <= 1.5


@given(seeds)
def test_a_refusal_waits_near_the_cap(seed: int) -> None:
    backoff = Backoff(random.Random(seed))
    assert all(45 <= backoff.refused() <= 60 for _ in range(10))


def test_devices_do_not_come_back_together() -> None:
    fleet = [Backoff(random.Random(seed)) for seed in range(200)]
    for backoff in fleet:
        for _ in range(9):
            backoff.pause()
    tenth = sorted(backoff.pause() for backoff in fleet)
    assert tenth[150] - tenth[50] > 5
    assert len({round(pause, 3) for pause in tenth[:150]}) > 100
