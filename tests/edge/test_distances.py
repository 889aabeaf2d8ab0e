"""Drift is seen and learned from whatever the distance, and with whichever arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from broker.messages import AdaptationDecided, DriftCleared, DriftDetected
from edge_actors import bundle_cli
from edge_actors.algorithms.votes import DISTANCES
from edge_actors.bundle import Bundle
from edge_actors.errors import BundleBuildError

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


def test_the_command_line_chooses_how_the_memory_votes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = Clouds(3).table(range(3), 40)
    np.savez(tmp_path / "r.npz", features=given.features, labels=np.array(given.labels))
    chosen = ["--distance", "manhattan", "--confidence", "distance", "--room", "30", "--quota", "9", "--condense"]
    out = str(tmp_path / "x.bundle")
    assert bundle_cli.main(["build", "--features", str(tmp_path / "r.npz"), "-o", out, *chosen]) == 0
    memory = Bundle.load(Path(out)).memory("python")
    assert (memory.distance, memory.confidence, memory.quota, memory.condenses) == ("manhattan", "distance", 9, True)
    assert memory.capacity == memory.size + 30
    assert bundle_cli.main(["show", out]) == 0
    assert "5 neighbours, manhattan" in capsys.readouterr().out
    assert bundle_cli.main(["verify", out]) == 0
    with pytest.raises(BundleBuildError, match="--room and --quota"):
        bundle_cli.main(["build", "--features", "r.npz", "-o", out, "--quota", "-1"])
