"""A camera that dwells shows one scene, however long."""

from __future__ import annotations

import numpy as np

from edge_actors.algorithms.scene_gate import SceneGate


def at(place: float) -> np.ndarray:
    return np.array([place, 0.0], np.float32)


def test_a_scene_opens_where_the_picture_jumps_and_not_where_it_trembles() -> None:
    gate = SceneGate(limit=1.0)
    assert [gate.opens(at(place)) for place in (0, 0.5, 0.9, 0.1, 2.0, 2.5, 4.0)] == [
        True,
        False,
        False,
        False,
        True,
        False,
        True,
    ]


def test_a_scene_that_goes_back_and_forth_between_two_looks_opens_each_of_them_once() -> None:
    gate = SceneGate(limit=1.0)
    assert [gate.opens(at(place)) for place in (0, 5, 0.2, 5.1, 0.1, 4.8)] == [True, True, False, False, False, False]
    assert gate.opens(at(10))


def test_what_was_shown_some_scenes_ago_is_a_scene_again() -> None:
    gate = SceneGate(limit=1.0)
    assert all(gate.opens(at(place)) for place in (0, 5, 10, 0, 5, 10))


def test_the_mean_of_a_scene_runs_over_its_frames_and_begins_anew_with_the_next() -> None:
    gate = SceneGate(limit=1.0)
    frames = ((4.0, True), (2.0, False), (0.0, False), (9.0, True))
    assert [gate.mean(value, opened) for value, opened in frames] == [4.0, 3.0, 2.0, 9.0]


def test_a_state_goes_on_in_the_middle_of_a_scene() -> None:
    gate, other = SceneGate(limit=1.0), SceneGate(limit=1.0)
    gate.mean(4.0, gate.opens(at(0)))
    other.restore(gate.state())
    assert not other.opens(at(0.5))
    assert other.mean(2.0, opened=False) == 3.0
    fresh = SceneGate(limit=1.0)
    fresh.restore(SceneGate(limit=1.0).state())
    assert fresh.opens(at(0))
