"""The registry holds every bundle once and knows which one is the champion."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ingest.errors import RegistryError, StoreAway
from ingest.stores.models import MlflowRegistry
from tests.registries import empty_registry

# MLflow's own models use an option that its SQLAlchemy has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


@pytest.fixture
def registry(tmp_path: Path) -> MlflowRegistry:
    return MlflowRegistry(empty_registry(tmp_path))


def bundle(tmp_path: Path, content: bytes = b"a bundle", name: str = "digits.bundle") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_a_bundle_is_registered_once_under_its_digest(registry: MlflowRegistry, tmp_path: Path) -> None:
    first = registry.register(bundle(tmp_path), "digits", {"dimension": "64", "k": "5"})
    renamed = registry.register(bundle(tmp_path, name="other.bundle"), "digits", {})
    assert first.version == renamed.version == 1
    assert registry.by_digest("digits", first.digest) == first
    assert (first.tags["dimension"], first.tags["k"]) == ("64", "5")


def test_another_content_is_another_version(registry: MlflowRegistry, tmp_path: Path) -> None:
    registry.register(bundle(tmp_path), "digits", {})
    second = registry.register(bundle(tmp_path, b"another"), "digits", {})
    assert second.version == 2
    assert [version.version for version in registry.versions()] == [2, 1]


def test_an_alias_points_to_the_version_it_was_given_last(registry: MlflowRegistry, tmp_path: Path) -> None:
    registry.register(bundle(tmp_path), "digits", {}, alias="champion")
    registry.register(bundle(tmp_path, b"another"), "digits", {}, alias="candidate")
    assert [(v.version, v.aliases) for v in registry.versions()] == [(2, ("candidate",)), (1, ("champion",))]
    registry.register(bundle(tmp_path, b"another"), "digits", {}, alias="champion")
    champion = registry.by_alias("digits", "champion")
    assert champion is not None
    assert (champion.version, sorted(champion.aliases)) == (2, ["candidate", "champion"])


def test_an_alias_or_a_model_that_is_not_there_is_nothing(registry: MlflowRegistry, tmp_path: Path) -> None:
    assert registry.by_alias("digits", "champion") is None
    registry.register(bundle(tmp_path), "digits", {})
    assert registry.by_alias("digits", "champion") is None
    assert registry.by_digest("digits", "0" * 64) is None


def test_what_was_registered_can_be_fetched(registry: MlflowRegistry, tmp_path: Path) -> None:
    version = registry.register(bundle(tmp_path), "digits", {})
    assert registry.fetch(version, tmp_path / "fetched").read_bytes() == b"a bundle"


def test_an_artifact_that_was_changed_is_noticed(registry: MlflowRegistry, tmp_path: Path) -> None:
    version = registry.register(bundle(tmp_path), "digits", {})
    (kept,) = (tmp_path / "artifacts").rglob("digits.bundle")
    kept.write_bytes(b"tampered")
    with pytest.raises(RegistryError, match="does not hold what was registered"):
        registry.fetch(version, tmp_path / "fetched")


def test_a_missing_file_and_an_impossible_name_read_as_sentences(registry: MlflowRegistry, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cannot read"):
        registry.register(tmp_path / "missing.bundle", "digits", {})
    with pytest.raises(RegistryError, match="not a name of a model"):
        registry.register(bundle(tmp_path), "it's", {})


def test_a_registry_that_cannot_be_reached_reads_as_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreAway, match="the model registry is away: "):
        MlflowRegistry(f"sqlite:///{tmp_path}/file/mlflow.db").versions()
    with pytest.raises(RegistryError, match="the model registry refuses: "):
        MlflowRegistry("ftp://somewhere").versions()


def test_artifacts_that_are_gone_read_as_a_sentence(registry: MlflowRegistry, tmp_path: Path) -> None:
    version = registry.register(bundle(tmp_path), "digits", {})
    (kept,) = (tmp_path / "artifacts").rglob("digits.bundle")
    kept.unlink()
    with pytest.raises(RegistryError, match="was not registered by tinyml, or its file is gone"):
        registry.fetch(version, tmp_path / "fetched")


def test_a_digest_is_found_whatever_the_model(registry: MlflowRegistry, tmp_path: Path) -> None:
    digest = registry.register(bundle(tmp_path), "digits", {}).digest
    later = registry.register(bundle(tmp_path), "numbers", {})
    assert registry.by_digest("", digest) == later
    assert registry.by_digest("", "0" * 64) is None


def test_parts_are_kept_beside_the_file(registry: MlflowRegistry, tmp_path: Path) -> None:
    version = registry.register(bundle(tmp_path), "digits", {}, parts={"a.json": b"{}"}, about="A sentence.")
    assert (
        tmp_path / "artifacts" / registry.run_of(version) / "artifacts" / "parts" / "a.json"
    ).read_bytes() == b"{}"
    assert registry.fetch(version, tmp_path / "fetched").read_bytes() == b"a bundle"


def test_importing_the_store_does_not_import_mlflow() -> None:
    program = "import sys, ingest.stores.models, ingest.wiring; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
