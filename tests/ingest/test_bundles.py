"""A bundle is registered as what its manifest says, once all of it is."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from broker.cli import main
from edge_actors.bundle import archive
from ingest.bundles import facts_of
from ingest.errors import RegistryError
from tests.registries import empty_registry

PARTS = {"model.tflite": b"a model", "memory.cbor": b"a memory"}


def bundle(path: Path, *, parts: dict[str, bytes] | None = None, pack: bool = False, **about: Any) -> Path:
    """A file as `tinyml bundle build` writes it, as far as the registry looks."""
    listed = {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in PARTS.items()}
    manifest = {"format": "tinymlops-bundle", "version": 1, "parts": listed, "dimension": 64, "k": 5, **about}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if pack else zipfile.ZIP_STORED) as file:
        file.writestr("manifest.json", json.dumps(manifest))
        for name, data in {**PARTS, **(parts or {})}.items():
            file.writestr(name, data)
    return path


def test_is_named_by_its_manifest(tmp_path: Path) -> None:
    path = bundle(tmp_path / "a.bundle", runtime="ai-edge-litert", lineage={"pictures": "abc"})
    with zipfile.ZipFile(path) as file:
        digest = hashlib.sha256(file.read("manifest.json")).hexdigest()
    assert facts_of(path) == {
        "digest": digest,
        "dimension": "64",
        "k": "5",
        "runtime": "ai-edge-litert",
        "lineage": '{"pictures": "abc"}',
    }


def test_reads_what_the_device_side_writes_under_the_digest_it_reports(tmp_path: Path) -> None:
    data = archive.to_bytes({"dimension": 8}, dict.fromkeys(archive.PARTS, b"a part"))
    (tmp_path / "real.bundle").write_bytes(data)
    assert facts_of(tmp_path / "real.bundle")["digest"] == archive.read(data, "real").digest


def test_what_is_too_long_for_a_tag_stays_in_the_bundle(tmp_path: Path) -> None:
    assert "lineage" not in facts_of(bundle(tmp_path / "a.bundle", lineage={"files": ["x"] * 5000}))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ({"parts": {"model.tflite": b"another"}}, r"model\.tflite in .* is not what the manifest says"),
        ({"parts": {"extra.bin": b"x"}}, "does not hold the parts that its manifest lists"),
        ({"format": "something"}, "is not that of a bundle"),
        ({"pack": True}, "damaged, cut off, or no bundle at all"),
    ],
)
def test_is_refused_where_it_is_not_what_it_says(tmp_path: Path, damage: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RegistryError, match=sentence):
        facts_of(bundle(tmp_path / "a.bundle", **damage))


@pytest.mark.parametrize("keep", [0, 10, 200, -1])
def test_is_refused_where_it_was_cut_off(tmp_path: Path, keep: int) -> None:
    path = bundle(tmp_path / "a.bundle")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RegistryError, match="damaged, cut off, or no bundle at all"):
        facts_of(path)


def test_a_missing_file_reads_as_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest", "register", str(tmp_path / "none.bundle")]) == 2
    assert (
        capsys.readouterr().err
        == f"tinyml ingest: cannot read {tmp_path / 'none.bundle'}: No such file or directory\n"
    )


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
def test_the_command_registers_it_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bundle(tmp_path / "digits.bundle")
    command = ["ingest", "register", str(path), "--registry", empty_registry(tmp_path)]
    assert main([*command, "--alias", "champion"]) == 0
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == ["digits version 1 champion"] * 2
