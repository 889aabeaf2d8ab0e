"""The detectors that ours are compared with really work, and are tuned as the protocol says."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from benchmarks.drift import rivals, streams
from benchmarks.drift.pool import Pool
from benchmarks.drift.rivals import RIVALS, Rival
from edge_actors.bundle.build import build_features_bundle
from edge_actors.bundle.features import FeatureTable

from ..support import missing

SHORT = 1500


@pytest.fixture(scope="module")
def drift() -> object:
    if importlib.util.find_spec("river") is None:
        missing("river (the extra `bench`)")
    return rivals.river()


def quiet(seed: int, n: int = SHORT) -> list[float]:
    return np.random.default_rng(seed).standard_normal(n).tolist()


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_a_rival_alarms_when_the_series_moves_and_not_before(drift: object, rival: Rival) -> None:
    series = quiet(1, 700) + [value + 3 for value in quiet(2, 200)]
    setting = rival.settings[len(rival.settings) // 2]
    found = rivals.alarms(rival.make(drift, setting), series, until=700)
    assert [frame for frame in found if frame < 700] == []
    assert 700 <= found[0] < 800


@pytest.mark.parametrize("rival", [one for one in RIVALS if one.every == 1], ids=lambda rival: rival.name)
def test_tuning_finds_the_most_sensitive_setting_that_keeps_quiet(drift: object, rival: Rival) -> None:
    series = [quiet(seed, 3000) for seed in range(3)]
    chosen = rivals.tuned(rival, series)
    at = rival.settings.index(chosen)

    def wrong(setting: float) -> int:
        return sum(sum(a >= 500 for a in rivals.alarms(rival.make(drift, setting), one)) for one in series)

    assert wrong(chosen) == 0
    assert at == 0 or wrong(rival.settings[at - 1]) > 0


def test_distances_are_those_to_the_memory_and_standardised(pool: Pool) -> None:
    features, labels = streams.reference(pool, "elm")
    bundle = build_features_bundle(FeatureTable(features, tuple(labels.tolist()), ("",) * len(labels)))
    stream = streams.make(pool, streams.Spec("unseen-30", "elm"))
    found = rivals.distances(bundle, stream.features(pool))
    known = stream.labels != "elm"
    assert abs(found[known].mean()) < 0.5
    assert found[~known].mean() > 2
    one = bundle.contents.projection.project(stream.features(pool)[7])[0]
    nearest = np.sort(np.linalg.norm(bundle.contents.reference.values - one, axis=1))[:5].mean()
    calibration = [
        np.sort(np.linalg.norm(bundle.contents.reference.values - value, axis=1))[:5].mean()
        for value in bundle.contents.calibration.values
    ]
    assert found[7] == pytest.approx((nearest - np.mean(calibration)) / np.std(calibration), rel=1e-3, abs=1e-3)
