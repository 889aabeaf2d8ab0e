"""Samples that are each other's like, and unlike the memory, are one group."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_actors.algorithms.clusters import clusters, representatives
from edge_actors.algorithms.metrics import between

from ..learning import clouds


def test_two_new_things_are_two_groups_and_stray_samples_are_in_neither() -> None:
    values, names = clouds("de", 15, seed=1)
    stray = np.random.default_rng(2).uniform(-60, 60, (8, values.shape[1])).astype(np.float32)
    found = clusters(np.vstack((values, stray)), np.full(38, 15.0, np.float32))
    groups = [{names[row] for row in part} for part in found if len(part) >= 10]
    assert groups in ([{"d"}, {"e"}], [{"e"}, {"d"}])
    assert not {row for part in found for row in part} & set(range(30, 38))


def test_samples_as_near_to_the_memory_as_to_each_other_are_no_group() -> None:
    values, _ = clouds("d", 30, seed=1)
    assert clusters(values, np.full(30, 2.0, np.float32)) == []


def test_fewer_samples_than_neighbours_are_no_group() -> None:
    values, _ = clouds("d", 5, seed=1)
    assert clusters(values, np.full(5, 99.0, np.float32)) == []


@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_every_sample_is_in_at_most_one_group_and_the_largest_comes_first(n: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    values = chance.normal(0, 3, (n, 4)).astype(np.float32)
    found = clusters(values, chance.uniform(0, 20, n).astype(np.float32))
    rows = [row for part in found for row in part]
    assert len(rows) == len(set(rows))
    assert [len(part) for part in found] == sorted((len(part) for part in found), reverse=True)


def test_representatives_cover_the_group() -> None:
    values = np.arange(101, dtype=np.float32)[:, None]
    assert representatives(values, 3) == [0, 50, 100]
    few = values[:5]
    assert representatives(few, 25) == [0, 1, 2, 3, 4]


def test_representatives_of_equal_samples_are_still_different_rows() -> None:
    assert len(set(representatives(np.zeros((30, 4), np.float32), 25))) == 25


def test_distances_are_euclidean() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 6, 5)).astype(np.float32)
    np.testing.assert_allclose(between("euclidean", a, b), np.linalg.norm(a[:, None] - b[None], axis=2), rtol=1e-4)
