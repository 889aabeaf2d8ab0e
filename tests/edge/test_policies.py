"""The seed's policy is the seed's: clusters by predicted label, dispersion, representatives, confidence."""

from __future__ import annotations

import numpy as np
import pytest

from broker.messages import QuarantineFilled
from edge_actors.arrays import Floats, packed
from edge_actors.policies.seed import REPRESENTATIVES, Seed, dispersion, nearest_centroid

from .learning import DIMENSION, clouds


def filled(values: Floats, predicted: tuple[str, ...], taken: tuple[str, ...] = ()) -> QuarantineFilled:
    return QuarantineFilled(
        samples=tuple(f"s-{n}" for n in range(len(values))),
        values=packed(values),
        predicted=predicted,
        taken=taken or ("",) * len(values),
    )


def test_a_close_cluster_is_believed_by_those_nearest_its_centroid() -> None:
    values, _ = clouds("d", 12, seed=3)
    (idea,) = Seed(DIMENSION, 10.0).ideas(filled(values, ("a",) * 12))
    spread = dispersion(values, "euclidean")
    assert (idea.kind, idea.label, idea.reason) == ("pseudo-label", "a", "")
    assert idea.rows == nearest_centroid(values, REPRESENTATIVES)
    assert (idea.statistic, idea.threshold) == (spread, 10.0)
    assert idea.confidence == pytest.approx(1 - spread / 10.0)


def test_dispersion_is_the_mean_distance_of_all_pairs() -> None:
    assert dispersion(np.array([[0.0], [1.0], [3.0]], np.float32), "euclidean") == pytest.approx(2.0)


def test_samples_nearest_the_centroid_represent_a_cluster() -> None:
    assert nearest_centroid(np.array([[0.0], [4.0], [5.0], [6.0], [10.0]], np.float32), 3) == [1, 2, 3]


def test_a_cluster_that_is_too_wide_is_rejected_with_the_reason() -> None:
    values, _ = clouds("de", 6, seed=3)
    (idea,) = Seed(DIMENSION, 5.0).ideas(filled(values, ("a",) * 12))
    assert not idea.rows
    assert "too different from each other" in idea.reason


def test_each_predicted_label_is_a_cluster_of_its_own_and_small_ones_wait() -> None:
    values, _ = clouds("d", 14, seed=3)
    ideas = list(Seed(DIMENSION, 10.0).ideas(filled(values, ("a",) * 6 + ("b",) * 6 + ("c",) * 2)))
    assert [idea.label for idea in ideas] == ["a", "b"]


def test_what_already_was_taken_is_not_taken_again() -> None:
    values, _ = clouds("d", 8, seed=3)
    assert list(Seed(DIMENSION, 10.0).ideas(filled(values, ("a",) * 8, ("a",) * 5 + ("",) * 3))) == []
