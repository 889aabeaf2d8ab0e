"""Drift is seen and learned from whatever the distance, and with whichever arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from broker.messages import AdaptationDecided, DriftCleared, DriftDetected
from edge_actors.algorithms.votes import DISTANCES

from .playing import WIDTH, Clouds, Played, bundle_of

SEEN = 5


def codes(world: Clouds, count: int, unseen: float = 0.0) -> list[int]:
    drawn = world.chance.integers(0, SEEN, count)
    return np.where(world.chance.random(count) < unseen, SEEN, drawn).tolist()


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_stationary_stream_is_silent_and_an_unseen_class_is_drift_and_is_learned(distance: str) -> None:
    world = Clouds(SEEN + 1, seed=4)
    played = Played(bundle_of(world.table(range(SEEN), 80), distance=distance), commissioning_frames=300)
    assert played.actor("knn").memory.distance == distance
    played.show(world.draw(codes(world, 1500)))
    assert played.sent.of(DriftDetected) == []
    played.show(world.draw(codes(world, 900, unseen=0.25)))
    assert len(played.sent.of(DriftDetected)) == 1
    assert played.sent.of(DriftDetected)[0].frames < 1500 - 300 + 200
    applied = [one for one in played.sent.of(AdaptationDecided) if one.outcome == "applied"]
    assert applied, "the new class is a group by this distance as well"
    assert applied[0].accuracy_after >= applied[0].accuracy_before - 0.02


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_degraded_sensor_is_drift_and_its_end_is_seen(distance: str) -> None:
    world = Clouds(SEEN, seed=4)
    played = Played(bundle_of(world.table(range(SEEN), 80), distance=distance), commissioning_frames=300)
    played.show(world.draw(codes(world, 900)))
    world.shift = world.chance.normal(0, 1.0, WIDTH)
    played.show(world.draw(codes(world, 300)))
    world.shift = np.zeros(WIDTH)
    played.show(world.draw(codes(world, 500)))
    assert len(played.sent.of(DriftDetected)) == len(played.sent.of(DriftCleared)) == 1


def test_a_device_without_numpy_in_its_memory_says_the_same() -> None:
    world = Clouds(SEEN + 1, seed=4)
    bundle = bundle_of(world.table(range(SEEN), 40), distance="cosine")
    stream = world.draw([*codes(world, 500), *codes(world, 500, unseen=0.5)])
    fast, plain = (
        Played(bundle, commissioning_frames=200, predictions="each", arithmetic=one) for one in ("numpy", "python")
    )
    fast.show(stream)
    plain.show(stream)
    assert type(plain.actor("knn").memory).__name__ == "PlainMemory"
    assert len(fast.sent.of(DriftDetected)) == len(plain.sent.of(DriftDetected)) == 1
    assert plain.actor("knn").state()["memory"] == fast.actor("knn").state()["memory"]
    for x in stream[::7]:
        z = np.asarray(bundle.contents.projection.project(x)[0])
        assert fast.actor("knn").memory.vote(z).label == plain.actor("knn").memory.vote(z).label
