"""What a device and the making of a bundle do with input that nobody would give them on purpose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from broker.messages import (
    DeadLetter,
    DriftDetected,
    Embedded,
    Frame,
    LabelAcknowledged,
    LabelAssigned,
    Neighbours,
    SampleQuarantined,
)
from edge_actors.algorithms.votes import DISTANCES
from edge_actors.arrays import packed
from edge_actors.bundle.features import FeatureTable
from edge_actors.errors import BundleBuildError

from .playing import FPS, NOW_US, WIDTH, Clouds, Played, bundle_of

YEAR_US = 365 * 24 * 3600 * 1_000_000


def table(classes: int = 3, each: int = 40) -> FeatureTable:
    return Clouds(classes).table(range(classes), each)


def labelled(given: FeatureTable, *names: str) -> FeatureTable:
    """The same points under other names."""
    word = dict(zip(sorted(set(given.labels)), names, strict=False))
    return replace(given, labels=tuple(word.get(label, label) for label in given.labels))


def neighbours_of(played: Played, values: np.ndarray) -> Neighbours:
    knn = played.actor("knn")
    (told,) = knn.receive(next(iter(played.actor("extractor").receive(Embedded(values=packed(values))))))
    return told


# ---- making a bundle ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e30])
def test_features_that_are_no_numbers_make_no_bundle(wrong: float) -> None:
    given = table()
    given.features[7, 3] = wrong
    with pytest.raises(BundleBuildError, match="features of picture 7, of 'c0', hold something that is no number"):
        bundle_of(given)


def test_features_that_never_change_make_no_bundle() -> None:
    with pytest.raises(BundleBuildError, match="same features: nothing can be told apart"):
        bundle_of(replace(table(), features=np.full((120, WIDTH), 7, np.float32)))


def test_features_of_which_most_never_change_make_one_that_runs() -> None:
    given = table()
    given.features[:, 4:] = 7
    played = Played(bundle_of(given))
    played.show(given.features)
    assert played.device.failures == 0


@pytest.mark.parametrize("distance", DISTANCES)
def test_one_picture_again_and_again_makes_no_bundle(distance: str) -> None:
    given = table()
    given.features[:] = given.features[[given.labels.index(label) for label in given.labels]]
    with pytest.raises(BundleBuildError, match="have to be different pictures"):
        bundle_of(given, distance=distance)


def test_some_pictures_twice_make_a_bundle_as_usual() -> None:
    given = table()
    given.features[:20:2] = given.features[1:20:2]
    bundle = bundle_of(given)
    assert bundle.contents.statistics.accuracy > 0.95
    played = Played(bundle)
    played.show(np.repeat(given.features[:10], 60, axis=0))
    assert played.device.failures == 0
    assert played.sent.of(DriftDetected) == []


def test_one_class_makes_no_bundle() -> None:
    with pytest.raises(BundleBuildError, match="at least two classes"):
        bundle_of(table(classes=1))


def test_two_samples_make_no_bundle() -> None:
    with pytest.raises(BundleBuildError, match="at least 4 are needed"):
        bundle_of(table(classes=2, each=1))


def test_a_memory_smaller_than_the_vote_makes_no_bundle() -> None:
    with pytest.raises(BundleBuildError, match="fewer than the 9 that vote"):
        bundle_of(table(classes=2, each=4), k=9)


def test_the_smallest_bundle_there_is_runs() -> None:
    given = table(classes=2, each=4)
    bundle = bundle_of(given, k=3)
    assert any("calibrated on 4 frames" in warning for warning in bundle.warnings)
    played = Played(bundle)
    played.show(np.vstack([given.features] * 80))
    assert played.device.failures == 0


def test_a_class_with_a_single_calibration_frame_is_recognised_and_no_drift() -> None:
    world = Clouds(3, seed=2)
    given = world.table(range(3), 40)
    alone = given.labels.index("c2")
    parts = ["calibration" if label == "c2" and at == alone else "" for at, label in enumerate(given.labels)]
    parts = [
        "memory" if label == "c2" and not part else part for label, part in zip(given.labels, parts, strict=True)
    ]
    bundle = bundle_of(replace(given, parts=tuple(parts)))
    assert bundle.contents.calibration.labels.count("c2") == 1
    played = Played(bundle, commissioning_frames=200)
    played.show(world.draw(world.chance.integers(0, 3, 1200)))
    assert played.sent.of(DriftDetected) == []


def test_a_class_smaller_than_the_vote_is_warned_of_and_loses_it() -> None:
    world = Clouds(3, seed=2)
    given = world.table(range(3), 40)
    seen = 0
    parts = []
    for label in given.labels:
        seen += label == "c2"
        parts.append("" if label != "c2" else "memory" if seen <= 2 else "calibration")
    bundle = bundle_of(replace(given, parts=tuple(parts)), k=5)
    assert any("'c2' has fewer than 3 samples in the memory" in warning for warning in bundle.warnings)
    told = neighbours_of(Played(bundle), world.draw([2])[0])
    assert told.labels[:2] == ("c2", "c2")
    assert told.label != "c2"
    assert told.confidence <= 0.6


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "a\x00b", "\ud800", "unknown", "novel-3"])
def test_names_that_cannot_be_a_class(name: str) -> None:
    with pytest.raises(BundleBuildError, match="cannot be the name of a class"):
        bundle_of(labelled(table(), name))


ODD = ["x" * 64, "😀" * 64, "👩\u200d👩\u200d👧", "\u202eabc", "e\u0301", "é", "a/b+#", " a ", "<script>", "'; DROP"]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_names(name: str) -> None:
    given = labelled(table(), name)
    played = Played(bundle_of(given))
    assert neighbours_of(played, given.features[given.labels.index(name)]).label == name
    played.show(given.features)
    assert played.device.failures == 0


def test_names_that_look_alike_are_different_classes() -> None:
    given = labelled(table(), "é", "e\u0301")
    assert bundle_of(given).contents.classes == ("c2", "e\u0301", "é")


# ---- frames ------------------------------------------------------------------------------------------------------


def bad_features(number: int) -> Embedded:
    values = np.ones(WIDTH - (number % 2), np.float32)
    values[3] = np.nan
    return Embedded(at=number / FPS, frame=f"b-{number}", values=packed(values))


def test_a_camera_that_gives_only_nonsense_neither_stops_the_device_nor_floods_anybody() -> None:
    played = Played(bundle_of(table()))
    before = played.actor("drift_monitor").state()
    for number in range(2400):
        played.admit(bad_features(number))
        played.admit(Frame(at=number / FPS, frame=f"p-{number}", pixels=bytes(12), height=2, width=2, channels=3))
    letters = played.sent.of(DeadLetter)
    assert [letter.at for letter in letters] == [0.0, 0.0, 60.0, 60.0], "one of a kind, and a minute later a count"
    assert {letter.where for letter in letters} == {"extractor"}
    assert played.device.failures == 0
    assert played.actor("drift_monitor").state()["frames"] == before["frames"] == 0


def test_nonsense_among_frames_leaves_no_trace_in_what_is_learned() -> None:
    world = Clouds(3)
    bundle, stream = bundle_of(world.table(range(3), 40)), world.draw(world.chance.integers(0, 3, 300))
    clean, dirty = Played(bundle), Played(bundle)
    clean.show(stream)
    for first in range(0, 300, 50):
        dirty.show(stream[first : first + 50])
        dirty.admit(replace(bad_features(0), at=dirty.at, frame=f"bad-{first}"))
    for name in ("knn", "drift_monitor", "quarantine", "adapter"):
        assert dirty.actor(name).state() == clean.actor(name).state(), name


# ---- labels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x" * 65, "x" * 10_000, "a\nb", "\x00", "unknown", "novel-1", ""])
def test_a_persons_name_that_cannot_be_a_class_is_refused_with_the_reason(name: str) -> None:
    world = Clouds(3)
    bundle = bundle_of(world.table(range(3), 40))
    played = Played(bundle)
    values = played.actor("knn").memory.row(0)
    label = LabelAssigned(
        sample="s-1", revision=1, verdict="is", label=name, values=packed(values), bundle=bundle.digest
    )
    played.admit(label)
    (answer,) = played.sent.of(LabelAcknowledged)
    assert (answer.sample, answer.revision, answer.outcome) == ("s-1", 1, "rejected")
    assert "cannot be the name of a class" in answer.reason
    assert played.actor("knn").memory.size == len(bundle.contents.reference.labels)


@pytest.mark.parametrize("name", ["x" * 64, "😀", "\u202eabc", "<b>"])
def test_a_persons_odd_name_is_learned(name: str) -> None:
    world = Clouds(3)
    bundle = bundle_of(world.table(range(3), 40))
    played = Played(bundle)
    values = packed(played.actor("knn").memory.row(0) + 30)
    for number in range(3):
        label = LabelAssigned(
            sample=f"s-{number}", revision=1, verdict="is", label=name, values=values, bundle=bundle.digest
        )
        played.admit(label)
    assert [answer.outcome for answer in played.sent.of(LabelAcknowledged)] == ["applied"] * 3
    assert played.actor("knn").memory.counts()[name] == 3


# ---- the wall clock ----------------------------------------------------------------------------------------------


def test_a_wall_clock_that_jumps_years_changes_nothing_but_the_dates() -> None:
    """A device without a clock battery begins in 1970, is told the time, and is told another one by a bad server."""
    world = Clouds(4, seed=1)
    bundle = bundle_of(world.table(range(3), 60))  # class 3 is unseen
    chance = np.random.default_rng(5)
    calm, strange = chance.integers(0, 3, 900), np.where(chance.random(700) < 0.6, 3, chance.integers(0, 3, 700))
    stream = world.draw([*calm, *strange])

    def jumping(at: float) -> int:
        began = (0, NOW_US, NOW_US + 20 * YEAR_US, NOW_US - 20 * YEAR_US)[int(at // 10) % 4]
        return began + round(at * 1e6)

    steady, jumpy = (Played(bundle, commissioning_frames=300, report_s=5.0) for _ in range(2))
    steady.show(stream)
    jumpy.show(stream, jumping)
    assert [message for _, message in jumpy.sent.records] == [message for _, message in steady.sent.records]
    assert jumpy.sent.of(DriftDetected)
    assert jumpy.sent.of(SampleQuarantined), "what is kept for days is kept by message time"
    for name in ("knn", "drift_monitor", "quarantine", "adapter", "state_manager"):
        assert jumpy.actor(name).state() == steady.actor(name).state(), name
    headers = [header for header, _ in jumpy.sent.records]
    assert [header.seq for header in headers] == list(range(1, len(headers) + 1))
    assert [header.mono_us for header in headers] == sorted(header.mono_us for header in headers)
    for header in headers:
        assert abs(header.wall_us - jumping(header.mono_us / 1e6 // 1)) < 1_000_001, (
            "the date is that of the last tick"
        )


def test_the_age_of_a_sample_is_counted_in_hours_of_operation() -> None:
    world = Clouds(4, seed=1)
    played = Played(bundle_of(world.table(range(3), 60)), commissioning_frames=300)
    played.show(world.draw(world.chance.integers(0, 3, 900)))
    played.show(world.draw([3] * 100), lambda at: NOW_US + 30 * YEAR_US)
    held = len(played.actor("quarantine").samples)
    assert held > 5
    played.show(world.draw([3] * 50), lambda at: NOW_US - 30 * YEAR_US)
    assert len(played.actor("quarantine").samples) >= held


# ---- many classes ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ten_thousand_classes_are_a_bundle_and_a_device() -> None:
    world = Clouds(10_000, width=64, apart=1.0)
    bundle = bundle_of(world.table(range(10_000), 4), k=1)
    assert len(bundle.contents.classes) == 10_000
    played = Played(bundle, commissioning_frames=100)
    played.show(world.draw(world.chance.integers(0, 10_000, 400)))
    assert played.device.failures == 0
    assert len(played.actor("knn").memory.state()["labels"]) == 0
