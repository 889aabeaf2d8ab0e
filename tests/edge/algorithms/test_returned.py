"""A stream that is back is noticed within a few scenes; one that is not is never taken for back."""

from __future__ import annotations

import numpy as np

from edge_actors.algorithms.returned import Returned

from ..learning import DIMENSION, clouds

SHIFT = np.full(DIMENSION, 2.0, np.float32)


def returned() -> Returned:
    return Returned.between(clouds("abc", 40, seed=2)[0], clouds("abc", 40, seed=3)[0] + SHIFT)


def test_says_so_a_few_scenes_after_the_stream_is_back() -> None:
    test = returned()
    answers = [test.update(row) for row in clouds("abc", 10, seed=4)[0]]
    assert 3 <= answers.index(True) <= 20


def test_stays_silent_while_the_drift_lasts() -> None:
    test = returned()
    assert not any(test.update(row) for row in clouds("abc", 700, seed=5)[0] + SHIFT)


def test_a_single_usual_frame_is_not_enough() -> None:
    test = returned()
    usual, drifted = clouds("abc", 30, seed=6)[0], clouds("abc", 30, seed=7)[0] + SHIFT
    for n in range(60):
        assert not test.update(usual[n] if n % 6 == 0 else drifted[n])


def test_a_state_goes_on_as_it_would_have() -> None:
    one = returned()
    frames = clouds("abc", 5, seed=8)[0]
    for row in frames[:3]:
        one.update(row)
    other = Returned.of(one.state())
    assert [other.update(row) for row in frames[3:]] == [one.update(row) for row in frames[3:]]
    assert other.state() == one.state()
