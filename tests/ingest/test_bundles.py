"""A bundle is registered as what its manifest says, once all of it is."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from broker import codec
from broker.cli import main
from edge_actors.bundle import archive
from ingest.bundles import MOST_PART, read_bundle
from ingest.errors import RegistryError
from ingest.training_report import read_report
from tests.stores.bundle_files import bundle, report


def test_is_named_by_its_manifest(tmp_path: Path) -> None:
    path = bundle(tmp_path / "a.bundle", runtime="ai-edge-litert", lineage={"pictures": "abc", "k": 5})
    with zipfile.ZipFile(path) as file:
        digest = hashlib.sha256(file.read("manifest.json")).hexdigest()
    found = read_bundle(path)
    assert found.tags == {
        "digest": digest,
        "dimension": "64",
        "k": "5",
        "runtime": "ai-edge-litert",
        "lineage": '{"k": 5, "pictures": "abc"}',
        "pictures": "abc",
        "accuracy": "0.8750",
    }
    assert found.parameters == {"pictures": "abc", "k": "5"}


def test_reads_what_the_device_side_writes_under_the_digest_it_reports(tmp_path: Path) -> None:
    data = archive.to_bytes({"dimension": 8}, dict.fromkeys(archive.PARTS, codec.pack({"a": 1})))
    (tmp_path / "real.bundle").write_bytes(data)
    assert read_bundle(tmp_path / "real.bundle").digest == archive.read(data, "real").digest


def test_people_can_read_its_parts(tmp_path: Path) -> None:
    parts = read_bundle(bundle(tmp_path / "a.bundle")).parts
    assert {"manifest.json", "model.tflite", "labels.cbor", "labels.json"} <= set(parts)
    assert json.loads(parts["labels.json"]) == {"classes": ["pear", "apple"]}
    assert json.loads(parts["memory.json"])["values"] == "2 float32"


def test_says_in_a_sentence_what_it_is(tmp_path: Path) -> None:
    lineage = {"pictures": "0123456789abcdef", "listed": 240}
    path = bundle(tmp_path / "a.bundle", runtime="ai-edge-litert", classes=["a", "b"], lineage=lineage)
    assert read_bundle(path).about == (
        "Recognises 87.5% of its calibration frames. 2 classes, 64 dimensions, made with ai-edge-litert."
        " Made of 240 samples, 0123456789ab."
    )


def test_large_parts_other_than_the_model_are_in_the_file_only(tmp_path: Path) -> None:
    large = codec.pack({"values": bytes(MOST_PART)})
    parts = {"model.tflite": bytes(MOST_PART + 1), "memory.cbor": large}
    (tmp_path / "a.bundle").write_bytes(archive.to_bytes({}, {**dict.fromkeys(archive.PARTS, b"\xa0"), **parts}))
    kept = read_bundle(tmp_path / "a.bundle").parts
    assert "model.tflite" in kept
    assert "memory.cbor" not in kept
    assert json.loads(kept["memory.json"]) == {"values": f"{MOST_PART} bytes"}


def test_what_is_too_long_for_a_tag_stays_in_the_bundle(tmp_path: Path) -> None:
    assert "lineage" not in read_bundle(bundle(tmp_path / "a.bundle", lineage={"files": ["x"] * 5000})).tags


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ({"parts": {"model.tflite": b"another"}}, r"model\.tflite in .* is not what the manifest says"),
        ({"parts": {"extra.bin": b"x"}}, "does not hold the parts that its manifest lists"),
        ({"parts": {"../extra.bin": b"x"}}, "damaged, cut off, or no bundle at all"),
        ({"format": "something"}, "is not that of a bundle"),
        ({"pack": True}, "damaged, cut off, or no bundle at all"),
    ],
)
def test_is_refused_where_it_is_not_what_it_says(tmp_path: Path, damage: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RegistryError, match=sentence):
        read_bundle(bundle(tmp_path / "a.bundle", **damage))


@pytest.mark.parametrize(("part", "sentence"), [(b"\xff", "cannot be read"), (b"\x01", "is not a map")])
def test_is_refused_where_a_part_cannot_be_read(tmp_path: Path, part: bytes, sentence: str) -> None:
    data = archive.to_bytes({}, {**dict.fromkeys(archive.PARTS, b"\xa0"), "labels.cbor": part})
    (tmp_path / "a.bundle").write_bytes(data)
    with pytest.raises(RegistryError, match=rf"labels\.cbor in .* {sentence}"):
        read_bundle(tmp_path / "a.bundle")


@pytest.mark.parametrize("keep", [0, 10, 200, -1])
def test_is_refused_where_it_was_cut_off(tmp_path: Path, keep: int) -> None:
    path = bundle(tmp_path / "a.bundle")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RegistryError, match="damaged, cut off, or no bundle at all"):
        read_bundle(path)


def test_a_missing_file_reads_as_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest", "register", str(tmp_path / "none.bundle")]) == 2
    assert (
        capsys.readouterr().err
        == f"tinyml ingest: cannot read {tmp_path / 'none.bundle'}: No such file or directory\n"
    )


# ---- reports of trainings ------------------------------------------------------------------------------------------


def test_a_report_tells_options_passes_and_results(tmp_path: Path) -> None:
    told = read_report(report(tmp_path / "r.json"), read_bundle(bundle(tmp_path / "a.bundle")))
    assert told.parameters["train_backbone"] == "mobilenet-v2"
    assert told.parameters["train_learned_from"] == "70"
    assert [one["loss"] for one in told.passes] == [1.5, 0.75]
    assert told.passes_at_ms == [1_700_000_001_000, 1_700_000_002_000]
    assert told.results == {"test_accuracy_float": 0.9, "test_accuracy_int8": 0.8}
    assert told.confusion.decode().splitlines() == ['shown,"apple","pear"', '"apple",12,3', '"pear",3,12']


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model": {"sha256": "0" * 64}}, "reports of another model than the one in the bundle"),
        ({"format": "something"}, "is no report of a training"),
        ({"passes": [{"loss": 1.0}]}, "is not a whole report of a training: KeyError"),
        ({"accuracy": {"int8": "good"}}, "'good' is no number"),
        ({"confusion": [[1, 2]]}, "the confusion is not a square of the classes"),
        ({"passes": 5}, "is not a whole report"),
    ],
)
def test_a_report_that_is_none_is_refused(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    file = read_bundle(bundle(tmp_path / "a.bundle"))
    with pytest.raises(RegistryError, match=sentence):
        read_report(report(tmp_path / "r.json", **change), file)


def test_a_file_that_is_no_json_is_no_report(tmp_path: Path) -> None:
    file = read_bundle(bundle(tmp_path / "a.bundle"))
    (tmp_path / "r.json").write_bytes(b"\x00\xff")
    with pytest.raises(RegistryError, match="is no JSON"):
        read_report(tmp_path / "r.json", file)
