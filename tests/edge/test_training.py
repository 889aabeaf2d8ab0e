"""A person's pictures become an extractor: what is held out stays held out, and nothing is left half done."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from broker import cli
from edge_actors.bundle import Bundle
from edge_actors.bundle.folder import Listed, listed
from edge_actors.ports.interpreter import Interpreter
from edge_actors.training import album as albums
from edge_actors.training.album import Album, split, table, varied
from edge_actors.training.cli import _beside, _interruptible
from edge_actors.training.digit_pictures import digit_pictures
from edge_actors.training.errors import TrainingError
from edge_actors.training.options import TrainOptions
from edge_actors.training.transfer import _backbone, tensorflow
from ingest.bundles import read_bundle
from ingest.training_report import read_report
from tests.support import wait_until

ROOT = Path(__file__).parents[2]


def pictures(folder: Path, **counts: int) -> Path:
    """DIR/<class>/*.png, each picture of another grey."""
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (40, 30), (number * 3,) * 3).save(folder / label / f"{number:03d}.png")
    return folder


def found(folder: Path) -> list[Listed]:
    return listed(folder, None, [], [])


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What `tinyml train` refuses with."""
    assert cli.main(["train", *arguments]) == 2
    return capsys.readouterr().err.removeprefix("tinyml train: ").strip()


def test_a_share_of_each_class_is_held_out_and_the_same_one_each_time(tmp_path: Path) -> None:
    here = found(pictures(tmp_path, apple=20, pear=10))
    made = split(here, 0.3, seed=1)
    assert Counter(one.label for one in made.held_out) == {"apple": 6, "pear": 3}
    assert {*made.learn, *made.held_out} == set(here)
    assert made == split(here, 0.3, seed=1)
    assert made != split(here, 0.3, seed=2)


def test_a_table_can_say_what_is_held_out(tmp_path: Path) -> None:
    pictures(tmp_path, apple=8, pear=8)
    rows = [
        f"{label}/{n:03d}.png,{label},{'calibration' if n < 2 else 'memory'}"
        for label in ("apple", "pear")
        for n in range(8)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["file,class,part", *rows]))
    made = split(found(tmp_path), 0.5, seed=0)
    assert sorted(one.path.name for one in made.held_out) == ["000.png", "000.png", "001.png", "001.png"]
    assert len(made.learn) == 12


def test_the_bundle_is_calibrated_with_what_was_not_learned_from(tmp_path: Path) -> None:
    images = pictures(tmp_path / "images", apple=8, pear=8)
    made = split(found(images), 0.25, seed=0)
    (tmp_path / "mine.labels.csv").write_text(table(made, images))
    parts = {(one.path, one.part) for one in listed(images, tmp_path / "mine.labels.csv", [], [])}
    wanted = [(made.learn, "memory"), (made.held_out, "calibration")]
    assert parts == {(one.path, part) for listing, part in wanted for one in listing}


def test_too_few_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there are 3 pictures of 'pear'; at least 4 are needed"):
        split(found(pictures(tmp_path / "a", apple=9, pear=3)), 0.3, 0)
    with pytest.raises(TrainingError, match="all pictures show 'apple'"):
        split(found(pictures(tmp_path / "b", apple=9)), 0.3, 0)
    with pytest.raises(TrainingError, match="no picture of 'apple' is left to hold out"):
        split(found(pictures(tmp_path / "c", apple=4, pear=9)), 0.1, 0)


def test_what_is_no_picture_is_left_out_and_reported(tmp_path: Path) -> None:
    images = pictures(tmp_path, apple=4, pear=4)
    (images / "pear" / "002.png").write_bytes(b"nothing of the kind")
    said: list[str] = []
    album = Album(found(images), 32, said.append)
    assert len(album) == 7
    assert len(said) == 1
    assert "pear/002.png cannot be read" in said[0]
    assert album.targets(("apple", "pear")).tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_many_pictures_are_read_again_instead_of_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = found(pictures(tmp_path, apple=4, pear=4))
    kept = Album(here, 32, print)
    monkeypatch.setattr(albums, "MOST_KEPT", 1000)
    read = Album(here, 32, print)
    assert not read._kept
    assert all(np.array_equal(kept[row], read[row]) for row in range(8))


def test_pictures_vary_and_keep_their_shape() -> None:
    chance = np.random.default_rng(0)
    plain = chance.integers(0, 256, (32, 32, 3), np.uint8)
    seen = [varied(plain, chance, mirror=True) for _ in range(20)]
    assert {(one.shape, one.dtype.name) for one in seen} == {((32, 32, 3), "uint8")}
    assert len({one.tobytes() for one in seen}) == 20


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"alpha": 0.3}, "mobilenet-v2 has no alpha 0.3; it can be 0.35, 0.5, 0.75, 1.0, 1.3, 1.4"),
        ({"size": 100}, "--size is 100; it can be 32 to 320 in steps of 32"),
        ({"size": 64}, "ImageNet weights are for pictures of 96, 128, 160, 192, 224 pixels, not 64"),
        ({"weights": "no.h5"}, "there is no file no.h5 with weights; --weights can also be imagenet or none"),
        ({"held_out": 0.9}, "--held-out is 0.9; it can be 0.05 to 0.8"),
        ({"epochs": -1}, "epochs and seed cannot be negative, and a batch holds at least 2 pictures"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, object], reason: str) -> None:
    with pytest.raises(TrainingError) as refused:
        TrainOptions(**wrong)  # type: ignore[arg-type]
    assert str(refused.value) == reason


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = pictures(tmp_path / "images", apple=4, pear=4)
    away = tmp_path / "no" / "m.tflite"
    said = told(capsys, "--images", str(images), "-o", str(away))
    assert said == f"{away} cannot be written: its folder has to be there and writable"


def test_without_tensorflow_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    images = pictures(tmp_path / "images", apple=4, pear=4)
    said = told(capsys, "--images", str(images), "-o", str(tmp_path / "m.tflite"))
    assert said.startswith("training needs TensorFlow, and tensorflow is not installed: ./tinyml train installs")
    assert not list(tmp_path.glob("*m.*"))
    with pytest.raises(TrainingError):
        tensorflow(0)


def test_without_a_network_it_says_which_file_is_wanted() -> None:
    def away(**_: object) -> None:
        raise Exception("URL fetch failure on https://weights.example/v2.h5: None -- not known")

    keras = SimpleNamespace(applications=SimpleNamespace(MobileNetV2=away, MobileNet=away))
    with pytest.raises(
        TrainingError, match=r"--weights FILE \(https://weights.example/v2.h5\), or train from scratch"
    ):
        _backbone(SimpleNamespace(keras=keras), TrainOptions())


def test_a_file_is_there_when_all_of_it_is(tmp_path: Path) -> None:
    def interrupted() -> None:
        with _beside(tmp_path / "m.tflite") as path:
            path.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())
    with _beside(tmp_path / "m.tflite") as path:
        path.write_bytes(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["m.tflite"]


def test_an_interrupt_that_a_library_swallows_arrives_all_the_same() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with _interruptible() as heed:
            heed()
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                heed()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_digits_are_trained_on_from_scratch_and_recognised(tmp_path: Path) -> None:
    """In CI through ./tinyml itself, which installs TensorFlow; elsewhere where it is installed."""
    digits, images = digit_pictures(), tmp_path / "images"
    for number, (pixels, label, part) in enumerate(zip(*digits, strict=True)):
        if part == "ref":
            (images / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[:, :, 0]).save(images / label / f"{number}.png")
    made = {
        name: tmp_path / name for name in ("m.tflite", "m.bundle", "m.labels.csv", "m.report.json", "m.weights.h5")
    }
    places = ["-o", made["m.tflite"], "--bundle", made["m.bundle"], "--save-weights", made["m.weights.h5"]]
    small = ["--weights", "none", "--backbone", "mobilenet-v1", "--alpha", "0.25", "--size", "96", "--no-mirror"]
    short = ["--epochs", "12", "--batch", "16"]
    command: list[str | Path] = [*_tinyml(), "train", "--images", images, *places, *small, *short]
    environment = {**os.environ, "TINYML_VENV": str(tmp_path / "venv")}
    log = tmp_path / "log"
    # Where a shell runs the tests in the background, Ctrl-C is ignored, and what is started would inherit that.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    with log.open("w") as file, subprocess.Popen(command, stderr=file, env=environment, cwd=ROOT) as process:
        signal.signal(signal.SIGINT, usual)
        wait_until(lambda: "pictures to learn from" in log.read_text() or process.poll() is not None, timeout=600)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 128 + signal.SIGINT, log.read_text()
    assert not any(path.exists() for path in made.values())

    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env=environment, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert all(path.exists() for path in made.values())
    model = Interpreter(made["m.tflite"].read_bytes())
    assert (model.input_shape, model.dimension) == ((96, 96, 3), 256)
    bundle = Bundle.load(made["m.bundle"])
    assert bundle.contents.statistics.accuracy > 0.3  # ten classes; chance is 0.1
    assert "held-out pictures:" in done.stdout
    told = read_report(made["m.report.json"], read_bundle(made["m.bundle"]))
    assert len(told.passes) == 12
    assert told.passes[-1]["loss"] < told.passes[0]["loss"]
    assert f"{told.results['test_accuracy_int8']:.1%} as int8" in done.stdout


def _tinyml() -> list[str | Path]:
    if importlib.util.find_spec("tensorflow"):
        return [sys.executable, "-m", "broker.cli"]
    if os.environ.get("CI"):
        return [ROOT / "tinyml"]
    pytest.skip("TensorFlow is not installed here; ./tinyml train installs it")
