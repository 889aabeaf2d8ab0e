"""Scaler and PCA as one map, and what it leaves over."""

from __future__ import annotations

import numpy as np
import pytest

from edge_actors.algorithms.projection import Projection


def embeddings(n: int = 60, size: int = 20, seed: int = 0) -> np.ndarray:
    chance = np.random.default_rng(seed)
    mixed = chance.normal(size=(n, 6)) @ chance.normal(size=(6, size)) + 0.1 * chance.normal(size=(n, size))
    return (mixed * chance.uniform(0.5, 5, size) + chance.uniform(-3, 3, size)).astype(np.float32)


def test_explained_and_unexplained_part_add_up_to_the_scaled_frame() -> None:
    x = embeddings()
    projection = Projection.fit(x, 4)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    z, residuals = projection.project_all(x)
    explained = (z.astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(explained + np.exp(2 * residuals), (scaled**2).sum(axis=1), rtol=1e-3)


def test_keeps_the_directions_of_largest_variance() -> None:
    x = embeddings()
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    z, _ = Projection.fit(x, 6).project_all(x)
    variances = np.linalg.eigvalsh(np.cov(scaled.T, bias=True))[::-1][:6]
    np.testing.assert_allclose(z.var(axis=0), variances, rtol=1e-2)


def test_the_order_of_the_pictures_does_not_turn_a_direction_round() -> None:
    x = embeddings()
    forth, back = Projection.fit(x, 5), Projection.fit(x[::-1].copy(), 5)
    np.testing.assert_allclose(forth.matrix, back.matrix, atol=1e-4)


def test_the_residual_stays_finite_where_nothing_is_left_unexplained() -> None:
    x = embeddings()
    whole = Projection.fit(x, 20)
    _, residuals = whole.project_all(x)
    assert np.isfinite(residuals).all()
    assert residuals.max() < Projection.fit(x, 4).project_all(x)[1].min()


def test_a_dimension_that_never_varied_does_not_drown_the_others() -> None:
    x = embeddings()
    x[:, 3] = 7.0
    projection = Projection.fit(x, 4)
    moved = x[0].copy()
    moved[3] += x.std()
    assert np.isfinite(projection.matrix).all()
    assert projection.project(moved)[1] < projection.project(x[0])[1] + 5


def test_a_frame_alone_gives_exactly_what_it_gives_among_others() -> None:
    x = embeddings()
    projection = Projection.fit(x, 4)
    z, residuals = projection.project_all(x)
    alone, residual = projection.project(x[17])
    np.testing.assert_array_equal(alone, z[17])
    assert np.float32(residual) == residuals[17]


@pytest.mark.parametrize("strange", [2.0, 5.0])
def test_the_residual_grows_with_what_was_never_seen(strange: float) -> None:
    x = embeddings()
    projection = Projection.fit(x, 6)
    usual = np.median(projection.project_all(x)[1])
    outside = x + strange * x.std(axis=0) * np.random.default_rng(9).normal(size=x.shape).astype(np.float32)
    assert np.median(projection.project_all(outside)[1]) > usual + np.log(strange)
