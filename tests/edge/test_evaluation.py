"""Recorded features through the whole device: what `tinyml bundle build --features` and `tinyml evaluate` promise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.errors import SettingsError, TinymlError
from edge_actors import bundle_cli, evaluate_cli
from edge_actors.bundle import Bundle
from edge_actors.bundle.build import build_features_bundle
from edge_actors.bundle.features import FeatureStream, FeatureTable, read_stream, read_table
from edge_actors.errors import BundleBuildError, EvaluationError, FeaturesError, NoExtractorError
from edge_actors.evaluation import Played, meanings, play
from edge_actors.settings import EdgeSettings

CLASSES, WIDTH, FRAMES, ONSET = 4, 24, 1200, 700
CENTRES = np.random.default_rng(7).normal(0, 4, (CLASSES + 1, WIDTH)).astype(np.float32)  # the last one is unseen
NAMES = [*(f"class-{c}" for c in range(CLASSES)), "stranger"]
SETTINGS = EdgeSettings(bundle=Path("x"), device="evaluation", camera="-", commissioning_frames=200)


def shown(kinds: np.ndarray, seed: int) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return (CENTRES[kinds] + chance.normal(0, 1, (len(kinds), WIDTH))).astype(np.float32)


def table(each: int = 100) -> FeatureTable:
    kinds = np.repeat(np.arange(CLASSES), each)
    return FeatureTable(shown(kinds, 1), tuple(NAMES[kind] for kind in kinds), ("",) * len(kinds))


BUNDLE = build_features_bundle(table())


def stream(strangers: float = 0.0, seed: int = 2, frames: int = FRAMES) -> FeatureStream:
    chance = np.random.default_rng(seed)
    kinds = chance.integers(0, CLASSES, frames)
    kinds[ONSET:][chance.random(frames - ONSET) < strangers] = CLASSES
    return FeatureStream("made", shown(kinds, seed + 1), tuple(NAMES[kind] for kind in kinds))


def applied(played: Played) -> list[dict[str, Any]]:
    return [one for one in played.adaptations if one["outcome"] == "applied"]


@pytest.fixture(scope="module")
def drifted() -> Played:
    return play(BUNDLE, stream(strangers=0.5), SETTINGS)


# ---- a bundle of features --------------------------------------------------------------------------------------


def test_a_bundle_of_features_has_no_model_and_says_so(tmp_path: Path) -> None:
    BUNDLE.write(tmp_path / "x.bundle")
    loaded = Bundle.load(tmp_path / "x.bundle")
    assert (loaded.digest, loaded.interpreter, loaded.contents.model) == (BUNDLE.digest, None, None)
    assert loaded.manifest["runtime"] == "none"
    with pytest.raises(NoExtractorError, match="takes features"):
        _ = loaded.input_shape


def test_the_same_features_give_the_same_bundle_and_others_another() -> None:
    assert build_features_bundle(table()).digest == BUNDLE.digest
    assert build_features_bundle(table(each=99)).digest != BUNDLE.digest


def test_parts_that_were_chosen_are_kept() -> None:
    parts = ("memory", "calibration") * (2 * 100)
    contents = build_features_bundle(replace(table(), parts=parts)).contents
    assert (len(contents.reference.labels), len(contents.calibration.labels)) == (200, 200)


def test_the_commands_build_and_play(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known, played = table(), stream(strangers=0.5)
    np.savez(tmp_path / "r.npz", features=known.features, labels=np.array(known.labels))
    np.savez(tmp_path / "s.npz", features=played.features, labels=np.array(played.labels))
    np.savez(tmp_path / "t.npz", features=stream().features)
    assert bundle_cli.main(["build", "--features", str(tmp_path / "r.npz"), "-o", str(tmp_path / "x.bundle")]) == 0
    assert bundle_cli.main(["verify", str(tmp_path / "x.bundle")]) == 0
    assert bundle_cli.main(["show", str(tmp_path / "x.bundle")]) == 0
    streams = [str(tmp_path / "s.npz"), str(tmp_path / "t.npz")]
    out = tmp_path / "out.json"
    command = [
        "--bundle",
        str(tmp_path / "x.bundle"),
        "--stream",
        *streams,
        "--json",
        str(out),
        "--commissioning",
        "200",
    ]
    assert evaluate_cli.main(command) == 0
    said = json.loads(out.read_text())
    assert set(said) == {"bundle", "settings", "streams"}
    assert said["settings"]["commissioning_frames"] == 200
    first, second = said["streams"]
    assert [first["stream"], second["stream"]] == ["s.npz", "t.npz"]
    for one in said["streams"]:
        assert one["frames"] == len(one["predicted"]) == len(one["score"]) == len(one["in_drift"]) == FRAMES
    assert {"accuracy", "harm"} <= set(first)
    assert not {"accuracy", "harm"} & set(second)
    assert "s.npz: 1,200 frames" in capsys.readouterr().out


# ---- what is said of a stream ------------------------------------------------------------------------------------


def test_an_unseen_class_is_noticed_and_becomes_a_class(drifted: Played) -> None:
    begins = [event for event in drifted.events if event["kind"] == "begin"]
    assert begins
    assert ONSET <= begins[0]["frame"] < ONSET + 200
    assert begins[0]["statistic"] > begins[0]["threshold"]
    assert any(one["samples"] for one in applied(drifted))
    assert drifted.harm is not None
    assert drifted.harm <= 0.05


def test_frames_are_in_drift_from_the_begin_up_to_the_end_and_not_at_it(drifted: Played) -> None:
    expected, now = [], 0
    turns = {event["frame"]: event["kind"] for event in drifted.events if event["kind"] != "continue"}
    for frame in range(drifted.frames):
        now = {"begin": 1, "end": 0}.get(turns.get(frame, ""), now)
        expected.append(now)
    assert drifted.in_drift == expected


def test_samples_of_an_adaptation_are_frames_that_came_before_it(drifted: Played) -> None:
    for one in applied(drifted):
        assert all(ONSET <= sample["frame"] <= one["frame"] for sample in one["samples"])


def test_a_provisional_class_means_what_most_of_its_samples_show_unless_that_is_known() -> None:
    shown = ["elm", "elm", "ash", "ash", "ash", "elm", "elm"]
    classes = ["novel-1", "novel-1", "novel-1", "novel-2", "novel-2", "novel-2", "ash"]
    assert meanings(list(enumerate(classes)), shown, ["ash"]) == {"novel-1": "elm"}


def test_a_rejected_change_moved_nothing(drifted: Played) -> None:
    assert all(not one["samples"] for one in drifted.adaptations if one["outcome"] == "rejected")


def test_without_answers_labels_change_no_decision(drifted: Played) -> None:
    blind = play(BUNDLE, replace(stream(strangers=0.5), labels=None), SETTINGS)
    assert (blind.predicted, blind.score, blind.events) == (drifted.predicted, drifted.score, drifted.events)
    assert (blind.adaptations, blind.labels_asked) == (drifted.adaptations, drifted.labels_asked)
    assert blind.accuracy is None


def test_the_same_stream_gives_the_same_again_whatever_was_played_before(drifted: Played) -> None:
    again = play(BUNDLE, stream(strangers=0.5), SETTINGS)
    assert {**vars(again), "seconds": 0} == {**vars(drifted), "seconds": 0}


def test_answers_are_no_more_than_were_promised_and_help(drifted: Played) -> None:
    taught = play(BUNDLE, stream(strangers=0.5), replace(SETTINGS, label_budget=8), answers=8)
    assert 1 <= len(taught.labels_asked) <= 8
    assert "stranger" in taught.predicted
    assert taught.accuracy is not None
    assert drifted.accuracy is not None
    assert taught.accuracy["last_500"] >= drifted.accuracy["last_500"]


def test_a_policy_of_none_learns_nothing_by_itself() -> None:
    alone = play(BUNDLE, stream(strangers=0.5), replace(SETTINGS, policy="none"))
    assert applied(alone) == []
    assert set(alone.predicted) <= set(NAMES[:CLASSES])
    assert any(alone.in_drift)


def test_a_quiet_stream_is_quiet() -> None:
    calm = play(BUNDLE, stream(), SETTINGS)
    assert (calm.events, calm.adaptations) == ([], [])
    assert calm.accuracy is not None
    assert calm.accuracy["all"] > 0.95


# ---- what cannot be played ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"labels": np.array(["a"])}, "no array `features`"),
        ({"features": np.zeros(5, np.float32)}, "frames x numbers"),
        ({"features": np.zeros((0, 5), np.float32)}, "frames x numbers"),
        ({"features": np.zeros((3, 5), np.int64)}, "has to be uint8 or float32"),
        ({"features": np.array([[1, 2], [np.nan, 1]], np.float32)}, "row 1"),
        ({"features": np.array([[1, 2], [3e38, 1]], np.float32)}, "row 1"),
        ({"features": np.zeros((3, 5), np.uint8), "labels": np.array(["a", "b"])}, "3 strings"),
        ({"features": np.zeros((3, 5), np.uint8), "labels": np.array([1, 2, 3])}, "3 strings"),
        ({"features": np.zeros((3, 5), np.uint8), "labels": np.array(["a", None, "b"])}, "Python objects"),
    ],
)
def test_a_file_that_is_no_stream_is_refused_with_a_sentence(
    tmp_path: Path, arrays: dict[str, Any], sentence: str
) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(FeaturesError, match=sentence):
        read_stream(tmp_path / "s.npz")


def test_other_files_are_refused_with_a_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros((3, 5), np.float32))
    (tmp_path / "text.npz").write_text("features")
    np.savez(tmp_path / "table.npz", features=np.zeros((3, 5), np.uint8))
    np.savez(
        tmp_path / "part.npz", features=np.zeros((1, 5), np.uint8), labels=np.array(["a"]), part=np.array(["test"])
    )
    for name, read, sentence in (
        ("one.npy", read_stream, "a single array"),
        ("text.npz", read_stream, "no .npz archive"),
        ("gone.npz", read_stream, "No such file"),
        ("table.npz", read_table, "no array `labels`"),
        ("part.npz", read_table, "'test' is not known"),
    ):
        with pytest.raises(FeaturesError, match=sentence):
            read(tmp_path / name)


def test_a_stream_that_does_not_fit_the_bundle_is_refused() -> None:
    with pytest.raises(EvaluationError, match=f"5 features a frame, the bundle takes {WIDTH}"):
        play(BUNDLE, FeatureStream("narrow", np.zeros((3, 5), np.float32), None), SETTINGS)
    with pytest.raises(EvaluationError, match="nobody can answer"):
        play(BUNDLE, replace(stream(), labels=None), SETTINGS, answers=3)


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--detector", "tea-leaves"], SettingsError),
        (["--labels", "-1"], EvaluationError),
        (["--commissioning", "-1"], SettingsError),
        (["--json", "there/is/no/folder.json"], EvaluationError),
        (["--bundle", "gone.bundle"], TinymlError),
    ],
)
def test_a_command_that_cannot_be_is_one_sentence(tmp_path: Path, flags: list[str], error: type[Exception]) -> None:
    BUNDLE.write(tmp_path / "x.bundle")
    np.savez(tmp_path / "s.npz", features=stream().features[:10])
    usual = {"--bundle": tmp_path / "x.bundle", "--stream": tmp_path / "s.npz", "--json": tmp_path / "o.json"}
    command = [str(word) for pair in usual.items() for word in pair]
    with pytest.raises(error):
        evaluate_cli.main([*command, *flags])


def test_features_stand_for_themselves(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", features=table().features, labels=np.array(table().labels))
    with pytest.raises(BundleBuildError, match="stands for itself"):
        bundle_cli.main(["build", "--features", str(tmp_path / "r.npz"), "--images", "x", "-o", str(tmp_path / "x")])
    with pytest.raises(BundleBuildError, match="or --features"):
        bundle_cli.main(["build", "-o", str(tmp_path / "x")])
