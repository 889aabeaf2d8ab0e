"""A bundle is made whole, named by its content, and refused where anything about it is wrong."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from broker import codec
from broker.messages import Float32Array
from edge_actors import bundle_cli
from edge_actors.bundle import Bundle, archive
from edge_actors.bundle.build import BuildOptions, build_bundle
from edge_actors.bundle.parts import encoded
from edge_actors.errors import BundleBuildError, BundleError, ModelError
from edge_actors.pictures import Pixels

from .learning import tiny_model

MODEL = tiny_model()
OPTIONS = BuildOptions(dimension=6, augment=0)


def still(pixels: Pixels, _chance: np.random.Generator) -> Pixels:
    return pixels


def labelled(labels: str = "abc", each: int = 20, part: str = "", seed: int = 0) -> Iterator[tuple[Pixels, str, str]]:
    """Grey pictures of 4 x 4: every class its pattern, every picture its noise."""
    chance = np.random.default_rng(seed)
    for number in range(each * len(labels)):
        label = labels[number % len(labels)]
        pattern = np.random.default_rng(ord(label)).integers(40, 200, (4, 4, 1))
        yield np.clip(pattern + chance.normal(0, 12, (4, 4, 1)), 0, 255).astype(np.uint8), label, part


def built(options: BuildOptions = OPTIONS, **other: Any) -> Bundle:
    return build_bundle(labelled(**other), MODEL, options, jitter=still)


BUNDLE = built()
PARTS = encoded(BUNDLE.contents)
FILE = archive.to_bytes(BUNDLE.manifest, PARTS)


def changed(part: str, change: Callable[[dict[str, Any]], None], **manifest: Any) -> bytes:
    """A bundle file in which one part says something else, with a digest that fits."""
    tree = codec.unpack(PARTS[part])
    change(tree)
    return archive.to_bytes({**BUNDLE.manifest, **manifest}, {**PARTS, part: codec.pack(tree)})


def refused(data: bytes) -> str:
    with pytest.raises(BundleError) as error:
        Bundle.of_bytes(data, "x.bundle")
    sentence = str(error.value)
    assert sentence.startswith("the bundle x.bundle is refused: ")
    assert "\n" not in sentence
    return sentence


# ---- making one --------------------------------------------------------------------------------------------------


def test_most_pictures_become_memory_and_the_rest_calibrates() -> None:
    contents = BUNDLE.contents
    assert Counter(contents.reference.labels) == {"a": 11, "b": 11, "c": 11}
    assert Counter(contents.calibration.labels) == {"a": 9, "b": 9, "c": 9}
    assert contents.classes == ("a", "b", "c")
    assert contents.statistics.accuracy == 1.0
    assert (contents.projection.dimension, contents.projection.embedding) == (6, 16)
    assert contents.settings.capacity == 33 + OPTIONS.room


def test_what_it_recognises_is_what_it_was_shown() -> None:
    memory = BUNDLE.memory()
    for pixels, label, _ in labelled(seed=9):
        z, _residual = BUNDLE.contents.projection.project(BUNDLE.interpreter.embed(pixels))
        assert memory.vote(z).label == label


def test_no_picture_is_in_memory_and_calibration_at_once() -> None:
    bundle = built(BuildOptions(dimension=6, augment=2))
    memory = {row.tobytes() for row in bundle.contents.reference.values}
    assert len(memory) == 33, "views that are equal come from one picture"
    assert not memory & {row.tobytes() for row in bundle.contents.calibration.values}


def test_the_same_pictures_give_the_same_bytes_and_another_seed_gives_others() -> None:
    again = built()
    assert archive.to_bytes(again.manifest, encoded(again.contents)) == FILE
    assert again.digest == BUNDLE.digest
    assert built(BuildOptions(dimension=6, augment=0, seed=1)).digest != BUNDLE.digest


def test_the_manifest_tells_where_it_comes_from() -> None:
    lineage = BUNDLE.manifest["lineage"]
    assert lineage["memory"] == {"a": 11, "b": 11, "c": 11}
    assert lineage["calibration"] == {"a": 9, "b": 9, "c": 9}
    assert (lineage["seed"], lineage["augment"], len(lineage["pictures"])) == (0, 0, 64)
    assert built(seed=5).manifest["lineage"]["pictures"] != lineage["pictures"]
    assert BUNDLE.manifest["runtime"] == BUNDLE.interpreter.name


def test_pictures_can_be_told_what_to_be_used_for() -> None:
    pictures = [*labelled(each=6, part="memory"), *labelled(each=4, part="calibration", seed=3)]
    contents = build_bundle(pictures, MODEL, OPTIONS).contents
    assert Counter(contents.reference.labels) == {"a": 6, "b": 6, "c": 6}
    assert Counter(contents.calibration.labels) == {"a": 4, "b": 4, "c": 4}


def test_a_large_memory_is_cut_evenly() -> None:
    contents = built(BuildOptions(dimension=6, augment=0, most_memory=16)).contents
    assert Counter(contents.reference.labels) == {"a": 5, "b": 5, "c": 5}


def test_views_of_a_picture_tell_how_far_apart_two_frames_of_a_scene_may_lie() -> None:
    def brighter(pixels: Pixels, chance: np.random.Generator) -> Pixels:
        return (pixels + chance.integers(0, 40)).astype(np.uint8)

    usual = built().contents.statistics
    wide = build_bundle(labelled(), MODEL, BuildOptions(dimension=6, augment=3), jitter=brighter).contents.statistics
    assert usual.scene == pytest.approx(0.9 * usual.nearest)
    assert wide.scene > 0.9 * wide.nearest


def test_pictures_of_any_size_are_fitted_to_the_model() -> None:
    large = [(pixels.repeat(5, 0).repeat(5, 1).repeat(3, 2), label, part) for pixels, label, part in labelled()]
    assert build_bundle(large, MODEL, OPTIONS).contents.statistics.accuracy == 1.0


@pytest.mark.parametrize(
    ("pictures", "options", "sentence"),
    [
        ([], OPTIONS, "there are no pictures"),
        (list(labelled("a")), OPTIONS, "all pictures show 'a'"),
        ([*labelled("ab"), *labelled("c", each=3)], OPTIONS, "there are 3 pictures of 'c'; at least 4 are needed"),
        ([(p, "unknown" if one == "a" else one, q) for p, one, q in labelled()], OPTIONS, "'unknown' cannot be"),
        ([(p, "novel-1" if one == "a" else one, q) for p, one, q in labelled()], OPTIONS, "'novel-1' cannot be"),
        ([(p, "" if one == "a" else one, q) for p, one, q in labelled()], OPTIONS, "'' cannot be the name"),
        (
            list(labelled()),
            BuildOptions(dimension=16, augment=0),
            "16 dimensions is not possible: there are 16 numbers a picture",
        ),
        (list(labelled()), BuildOptions(dimension=0, augment=0), "so 1 to 15 are"),
        (
            list(labelled()),
            BuildOptions(dimension=6, k=40, augment=0),
            "the memory has 33 samples, fewer than the 40",
        ),
        (list(labelled(part="memory")), OPTIONS, "no picture of 'a' is left for the calibration"),
        (list(labelled(part="stream")), OPTIONS, "no picture of 'a' is left for the memory"),
    ],
)
def test_what_cannot_be_built_is_said_in_a_sentence(pictures: list, options: BuildOptions, sentence: str) -> None:
    with pytest.raises(BundleBuildError, match=sentence.replace("(", r"\(")):
        build_bundle(pictures, MODEL, options)


def test_without_a_wish_the_dimension_leaves_something_unexplained() -> None:
    assert built(BuildOptions(augment=0)).contents.projection.dimension == 7


def test_a_model_that_is_no_extractor_is_refused() -> None:
    with pytest.raises(ModelError, match="2 outputs"):
        build_bundle(labelled(), tiny_model(outputs=2), OPTIONS)


# ---- the file ----------------------------------------------------------------------------------------------------


def test_a_written_bundle_is_the_same_when_loaded_and_written_again(tmp_path: Path) -> None:
    path, again = tmp_path / "x.bundle", tmp_path / "again.bundle"
    BUNDLE.write(path)
    loaded = Bundle.load(path)
    loaded.write(again)
    assert path.read_bytes() == again.read_bytes() == FILE
    assert loaded.digest == BUNDLE.digest
    assert encoded(loaded.contents) == PARTS
    assert loaded.input_shape == (4, 4, 1)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["again.bundle", "x.bundle"]


def test_the_digest_is_that_of_the_manifest_which_holds_those_of_the_parts() -> None:
    with zipfile.ZipFile(io.BytesIO(FILE)) as file:
        said = file.read("manifest.json")
        assert hashlib.sha256(said).hexdigest() == BUNDLE.digest
        for name, listed in json.loads(said)["parts"].items():
            assert hashlib.sha256(file.read(name)).hexdigest() == listed["sha256"]
            assert file.getinfo(name).compress_type == zipfile.ZIP_STORED


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
@settings(max_examples=150)
def test_a_damaged_byte_never_goes_unnoticed(place: int, flip: int) -> None:
    """Refused, or in a place that holds none of the content (a time stamp in the zip's own directory)."""
    damaged = bytearray(FILE)
    damaged[place] ^= flip
    try:
        loaded = Bundle.of_bytes(bytes(damaged), "x.bundle")
    except BundleError:
        return
    assert loaded.digest == BUNDLE.digest
    assert encoded(loaded.contents) == PARTS


@given(st.integers(0, len(FILE) - 1))
@settings(max_examples=40)
def test_a_bundle_that_is_cut_off_is_refused(length: int) -> None:
    assert "damaged, cut off, or no bundle" in refused(FILE[:length])


def test_no_file_and_no_permission_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        Bundle.load(tmp_path / "gone.bundle")
    with pytest.raises(BundleError, match="cannot be written"):
        BUNDLE.write(tmp_path / "no" / "folder" / "x.bundle")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.bundle").write_bytes(FILE)
    monkeypatch.setattr(archive, "MOST_BYTES", 1000)
    monkeypatch.setattr(Path, "read_bytes", lambda _path: pytest.fail("it was read"))
    with pytest.raises(BundleError, match="larger than the 1000 bytes"):
        Bundle.load(tmp_path / "x.bundle")


def rezipped(compression: int = zipfile.ZIP_STORED, extra: str = "", left_out: str = "") -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(FILE)) as file, zipfile.ZipFile(held, "w", compression) as other:
        for name in file.namelist():
            if name != left_out:
                other.writestr(name, file.read(name))
        if extra:
            other.writestr(extra, b"x")
    return held.getvalue()


def test_a_packed_bundle_is_refused_so_that_none_can_swell() -> None:
    assert "is packed" in refused(rezipped(zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize(
    "data", [rezipped(extra="../evil"), rezipped(left_out="memory.cbor"), rezipped(extra="a.txt")]
)
def test_a_bundle_holds_its_parts_and_nothing_else(data: bytes) -> None:
    assert "and nothing else" in refused(data)


def test_a_part_that_was_exchanged_is_refused() -> None:
    held = io.BytesIO(FILE)
    other = archive.to_bytes(BUNDLE.manifest, {**PARTS, "labels.cbor": codec.pack({"classes": ["x", "y", "z"]})})
    with zipfile.ZipFile(held) as file, zipfile.ZipFile(io.BytesIO(other)) as changed_file:
        mixed = io.BytesIO()
        with zipfile.ZipFile(mixed, "w") as out:
            for name in file.namelist():
                out.writestr(name, (changed_file if name == "labels.cbor" else file).read(name))
    assert "labels.cbor is not what the manifest says" in refused(mixed.getvalue())


def with_manifest(text: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        file.writestr("manifest.json", text)
        for name, data in PARTS.items():
            file.writestr(name, data)
    return held.getvalue()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "not that of a bundle"),
        (b'{"format": "other"}', "not that of a bundle"),
        (b'{"format": "tinymlops-bundle", "version": 2}', "is version 2, this software knows 1"),
        (b'{"format": "tinymlops-bundle", "version": 1}', "does not list the parts"),
        (b" " * (1 << 21), "is too large"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(text: bytes, reason: str) -> None:
    assert reason in refused(with_manifest(text))


# ---- what is in the parts ----------------------------------------------------------------------------------------


def put(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda tree: tree.update({key: value})


def spoil(key: str, number: float) -> Callable[[dict[str, Any]], None]:
    return lambda tree: tree.update({key: Float32Array.of([number, *tree[key].numbers()[1:]])})


@pytest.mark.parametrize(
    ("part", "change", "reason"),
    [
        ("projection.cbor", spoil("matrix", float("nan")), "matrix holds something that is no number"),
        ("projection.cbor", spoil("centre", float("inf")), "centre holds something that is no number"),
        ("projection.cbor", put("offset", Float32Array.of([1.0] * 5)), "offset has 5 numbers instead of 6"),
        ("projection.cbor", put("matrix", [1.0]), "matrix is no Float32Array"),
        ("projection.cbor", dict.clear, "matrix is no Float32Array"),
        ("memory.cbor", spoil("values", float("nan")), "values holds something that is no number"),
        ("memory.cbor", put("labels", [0] * 32), "values has 198 numbers instead of 32 x 6"),
        ("memory.cbor", put("labels", [3] * 33), "names a class that the bundle does not have"),
        ("memory.cbor", put("labels", [-1] * 33), "names a class that the bundle does not have"),
        ("memory.cbor", put("labels", ["a"] * 33), "holds something else than int"),
        ("calibration.cbor", spoil("residuals", float("nan")), "residuals holds something that is no number"),
        ("calibration.cbor", put("statistics", {}), "statistics: classes is no dict"),
        ("labels.cbor", put("classes", ["a", "a", "b"]), "two classes or more, each once"),
        ("labels.cbor", put("classes", ["a", "b", "d"]), "names a class that the bundle does not have"),
        ("settings.cbor", put("k", 0), "out of range"),
        ("settings.cbor", put("k", True), "k is no int"),
        ("settings.cbor", put("distance", "hamming"), "is hamming; known are euclidean, manhattan, cosine"),
        ("settings.cbor", put("distance", "cosine"), "disagree about distance"),
        ("settings.cbor", put("confidence", "high"), "is high; known are votes, distance"),
        ("settings.cbor", put("quota", -1), "out of range"),
        ("settings.cbor", put("condense", 1), "condense is no bool"),
        ("settings.cbor", put("k", 3), "disagree about k"),
        ("settings.cbor", put("k", 34), "smaller than the 34 neighbours"),
    ],
)
def test_numbers_that_cannot_be_are_refused(part: str, change: Callable, reason: str) -> None:
    assert reason in refused(changed(part, change))


def test_a_bundle_of_before_it_could_say_so_votes_as_it_did() -> None:
    """Bundles that are on devices say neither confidence nor quota nor whether to condense."""

    def older(tree: dict[str, Any]) -> None:
        for key in ("confidence", "quota", "condense"):
            del tree[key]

    settings = Bundle.of_bytes(changed("settings.cbor", older), "x.bundle").contents.settings
    assert (settings.confidence, settings.quota, settings.condense) == ("votes", 0, False)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("everywhere", [[0.0, 0.0], [0.0, 1.0]], "has no spread"),
        ("overall", [0.0], "is not 2 finite numbers"),
        ("overall", [float("nan"), 1.0], "is not 2 finite numbers"),
        ("usual", [0.0, 0.5, 0.25, 0.25], "has to be above zero"),
        ("nearest", 0.0, "has to be above zero"),
        ("scene", "far", "scene is no float"),
        ("classes", {"z": [[0.0, 1.0], [0.0, 1.0]]}, "names a class that the bundle does not have"),
        ("classes", {"a": [[0.0, 1.0]]}, "is not two signals"),
        ("means", {}, "does not name the classes of the bundle"),
        ("shares", {"a": 0.0, "b": 0.5, "c": 0.5}, "a is no share"),
        ("whitening", Float32Array.of([1.0] * 6), "whitening has 6 numbers instead of 6 x 6"),
    ],
)
def test_statistics_that_cannot_be_are_refused(key: str, value: Any, reason: str) -> None:
    assert reason in refused(changed("calibration.cbor", lambda tree: tree["statistics"].update({key: value})))


def test_a_part_that_is_not_cbor_or_no_map_is_refused() -> None:
    for data in (b"\xff\xff", codec.pack([1, 2])):
        assert "settings.cbor" in refused(archive.to_bytes(BUNDLE.manifest, {**PARTS, "settings.cbor": data}))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (tiny_model(picture=(1, 5, 5, 1), vector=(1, 25)), "its model gives 25 numbers"),
        (tiny_model(picture=(1, 2, 8, 1)), "for a picture of (2, 8, 1)"),
        (tiny_model(outputs=2), "2 outputs"),
        (b"no model", "cannot load it"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(model: bytes, reason: str) -> None:
    assert reason in refused(archive.to_bytes(BUNDLE.manifest, {**PARTS, "model.tflite": model}))


@pytest.mark.parametrize(("key", "value"), [("dimension", 5), ("embedding", 17), ("dimension", "6"), ("k", 4)])
def test_a_manifest_that_contradicts_the_parts_is_refused(key: str, value: object) -> None:
    refused(archive.to_bytes({**BUNDLE.manifest, key: value}, PARTS))


def test_another_runtime_and_a_small_calibration_are_said_and_not_refused() -> None:
    other = Bundle.of_bytes(archive.to_bytes({**BUNDLE.manifest, "runtime": "tflite-2.14.0"}, PARTS), "x.bundle")
    runtime, calibration = other.warnings
    assert "made with tflite-2.14.0 and runs on" in runtime
    assert "calibrated on 27 frames" in calibration
    assert len(built(each=160).warnings) == 0


# ---- on the command line -----------------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Folders of pictures, one file that is none and one that is something else."""
    folder = tmp_path / "images"
    for number, (pixels, label, _) in enumerate(labelled()):
        (folder / label).mkdir(parents=True, exist_ok=True)
        kind = ("png", "jpg")[number % 2]
        Image.fromarray(pixels[..., 0].repeat(8, 0).repeat(8, 1)).save(folder / label / f"{number:03}.{kind}")
    (folder / "a" / "broken.jpg").write_bytes(b"no picture")
    (folder / "a" / "notes.txt").write_text("nothing")
    (tmp_path / "model.tflite").write_bytes(MODEL)
    return folder


def build(images: Path, *more: str) -> Path:
    path = images.parent / "x.bundle"
    model = str(images.parent / "model.tflite")
    bundle_cli.main(["build", "--images", str(images), "--model", model, "-o", str(path), *more])
    return path


def test_builds_from_folders_and_names_what_it_left_out(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = Bundle.load(build(images, "--dimension", "6", "--augment", "0"))
    said = capsys.readouterr()
    assert "broken.jpg cannot be read" in said.err
    assert "pictures left out because they could not be read: 1" in said.err
    assert f"{bundle.digest[:12]}, 100.0% of the calibration frames" in said.out
    assert bundle.contents.classes == ("a", "b", "c")
    assert bundle.manifest["lineage"]["skipped"] == 1


def test_builds_of_some_classes_only(images: Path) -> None:
    assert Bundle.load(build(images, "--exclude", "b")).contents.classes == ("a", "c")
    assert Bundle.load(build(images, "--classes", "b,c")).contents.classes == ("b", "c")


def test_a_table_says_what_each_picture_may_be_used_for(images: Path) -> None:
    rows = ["file,class,part"]
    for path in sorted(images.glob("*/0*.*")):
        part = ("memory", "memory", "calibration", "stream")[int(path.stem) // 3 % 4]
        rows.append(f"{path.parent.name}/{path.name},{path.parent.name.upper()},{part}")
    (images / "labels.csv").write_text("\n".join(rows))
    contents = Bundle.load(build(images, "--augment", "0")).contents
    assert Counter(contents.reference.labels) == {"A": 10, "B": 10, "C": 10}
    assert Counter(contents.calibration.labels) == {"A": 5, "B": 5, "C": 5}


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("path,label\nx,y\n", "needs the columns file and class"),
        ("file,class,part\na/0.png,a,train\n", "line 2: part is 'train'; it can be ref, memory"),
        ("file,class\na/0.png,\n", "line 2: a file and its class are needed"),
        ("file,class\n", "lists no picture"),
    ],
)
def test_a_table_that_cannot_be_used_is_said_in_a_sentence(images: Path, table: str, sentence: str) -> None:
    (images / "labels.csv").write_text(table)
    with pytest.raises(BundleBuildError, match=sentence):
        build(images)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--exclude", "pear"], "there is no class 'pear'; there are a, b, c"),
        (["--classes", "a"], "all pictures show 'a'"),
        (["--k", "0"], "--k has to be 1 to 100"),
        (["--model", "/nowhere.tflite"], "the model /nowhere.tflite cannot be read: No such file"),
        (["--images", "/nowhere"], "there is no folder /nowhere"),
    ],
)
def test_wrong_wishes_are_said_in_a_sentence(images: Path, more: list[str], sentence: str) -> None:
    with pytest.raises(BundleBuildError, match=sentence):
        build(images, *more)


def test_a_folder_without_pictures_is_said_in_a_sentence(tmp_path: Path, images: Path) -> None:
    (tmp_path / "empty" / "a").mkdir(parents=True)
    with pytest.raises(BundleBuildError, match=r"holds no picture as <class>/\*\.jpg"):
        build(images, "--images", str(tmp_path / "empty"))


def test_show_tells_a_person_and_a_program(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = build(images, "--dimension", "6")
    capsys.readouterr()
    bundle_cli.main(["show", str(path)])
    table = capsys.readouterr().out
    bundle_cli.main(["show", "--json", str(path)])
    tree = json.loads(capsys.readouterr().out)
    assert tree["digest"] in table
    assert "16 -> 6 numbers" in table
    assert tree["classes"] == ["a", "b", "c"]
    assert tree["statistics"]["accuracy"] == 1.0


def test_verify_measures_again_and_notices_statistics_of_something_else(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = build(images)
    assert bundle_cli.main(["verify", str(path)]) == 0
    assert "sound" in capsys.readouterr().out
    path.write_bytes(changed("calibration.cbor", lambda tree: tree["statistics"].update(accuracy=0.5)))
    with pytest.raises(BundleError, match="its statistics are not those of its calibration frames"):
        bundle_cli.main(["verify", str(path)])


# ---- real pictures -----------------------------------------------------------------------------------------------

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.skipif(not DATA.is_dir(), reason="the photographs are not beside the repository")
def test_photographs_are_recognised_by_a_real_extractor(tmp_path: Path) -> None:
    few = ["file,class,part"]
    with (DATA / "grocery8" / "labels.csv").open() as rows:
        seen: Counter[str] = Counter()
        for row in rows:
            name, label, part = row.split(",")[:3]
            if label in ("melon", "milk", "tomato") and part == "ref" and (seen.update([label]) or seen[label] <= 20):
                few.append(f"{name},{label},{part}")
    (tmp_path / "few.csv").write_text("\n".join(few))
    (model,) = (DATA / "model").glob("*.tflite")
    arguments = ["--images", str(DATA / "grocery8" / "images"), "--model", str(model), "--augment", "0"]
    bundle_cli.main(["build", *arguments, "--labels", str(tmp_path / "few.csv"), "-o", str(tmp_path / "x.bundle")])
    bundle = Bundle.load(tmp_path / "x.bundle")
    assert bundle.contents.statistics.accuracy >= 0.85
    assert bundle.input_shape == (224, 224, 3)
