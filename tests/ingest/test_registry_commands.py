"""The registry from the command line: register, models, promote, fetch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from broker.cli import main
from ingest.bundles import bundle_key, read_bundle
from ingest.embedded import Postgres
from ingest.stores.models import PARTS, TRAINING, MlflowRegistry
from ingest.stores.objects import Folder
from tests.postgres import fresh_database
from tests.registries import empty_registry
from tests.stores.bundle_files import bundle, report

Tinyml = Callable[..., list[str]]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return empty_registry(tmp_path)


@pytest.fixture
def tinyml(url: str, capsys: pytest.CaptureFixture[str]) -> Tinyml:
    """Runs a command that succeeds; returns the lines it prints."""

    def run(*words: object) -> list[str]:
        assert main(["ingest", *map(str, words), "--registry", url]) == 0
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def refused(url: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that is refused; returns the sentence."""

    def run(*words: object) -> str:
        assert main(["ingest", *map(str, words), "--registry", url]) == 2
        return capsys.readouterr().err.removeprefix("tinyml ingest: ").strip()

    return run


@pytest.fixture
def database_url(embedded_server: Postgres) -> Iterator[str]:
    yield from fresh_database(embedded_server)


def run_of(url: str, reference: str) -> tuple[Any, Any]:
    """MLflow's client and the run that a version came from."""
    registry = MlflowRegistry(url)
    return registry.client, registry.client.get_run(registry.run_of(registry.find(reference)))


def artifacts(client: Any, run: Any, folder: str) -> set[str]:
    return {Path(kept.path).name for kept in client.list_artifacts(run.info.run_id, folder)}


def test_register_shows_what_it_did_and_does_it_once(tinyml: Tinyml, tmp_path: Path) -> None:
    path = bundle(tmp_path / "digits.bundle", runtime="ai-edge-litert")
    said = tinyml("register", path, "--alias", "champion")
    assert said[0] == "digits version 1 champion"
    assert said[2].startswith("  Recognises 87.5% of its calibration frames.")
    assert "calibration.json" in said[3]
    assert tinyml("register", path)[:3] == said[:3]
    assert tinyml("register", path, "--model", "other")[0] == "other version 1"


def test_upload_puts_the_file_where_the_api_serves_it(tinyml: Tinyml, tmp_path: Path) -> None:
    path = bundle(tmp_path / "digits.bundle")
    digest = read_bundle(path).digest
    said = tinyml("register", path, "--upload", "--objects", tmp_path / "objects")
    assert f"  is bundles/{digest[:2]}/{digest} in the object store; the API serves it as /bundles/{digest}" in said
    assert Folder(tmp_path / "objects").get(bundle_key(digest)) == path.read_bytes()


def test_parts_lie_beside_the_bundle_and_facts_are_parameters(tinyml: Tinyml, url: str, tmp_path: Path) -> None:
    tinyml("register", bundle(tmp_path / "digits.bundle", lineage={"k": 5, "memory": {"pear": 3}}))
    client, run = run_of(url, "digits/1")
    assert artifacts(client, run, "bundle") == {"digits.bundle"}
    assert {"manifest.json", "model.tflite", "memory.cbor", "memory.json"} <= artifacts(client, run, PARTS)
    assert run.data.params == {"k": "5", "memory": '{"pear": 3}'}
    assert run.data.metrics == {"calibration_accuracy": 0.875}
    assert run.info.status == "FINISHED"
    version = client.get_model_version("digits", "1")
    assert version.description.startswith("Recognises 87.5%")
    assert version.tags["lineage"] == '{"k": 5, "memory": {"pear": 3}}'


def test_a_training_is_the_run_that_the_version_comes_from(tinyml: Tinyml, url: str, tmp_path: Path) -> None:
    path = bundle(tmp_path / "digits.bundle")
    tinyml("register", path)
    for _ in range(2):  # later, and again
        said = tinyml("register", path, "--report", report(tmp_path / "r.json"))
    assert said[-1] == ("  trained in 2 passes: of 30 held-out pictures 90.0% as float, 80.0% as int8 are recognised")
    client, run = run_of(url, "digits/1")
    assert artifacts(client, run, TRAINING) == {"report.json", "confusion.csv"}
    assert run.data.params["train_backbone"] == "mobilenet-v2"
    assert run.data.metrics["test_accuracy_int8"] == 0.8
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.5), (2, 0.75)]


def test_models_are_listed_with_the_devices_that_run_them(tinyml: Tinyml, tmp_path: Path, database_url: str) -> None:
    tinyml("register", bundle(tmp_path / "digits.bundle", k=5), "--alias", "champion")
    tinyml("register", bundle(tmp_path / "digits.bundle", k=7), "--alias", "candidate")
    registry = json.loads("\n".join(tinyml("models", "--json", "--database", database_url)))
    digest = registry[1]["digest"]
    with psycopg.connect(database_url, autocommit=True) as connection:
        add = "INSERT INTO device (device, bundle) VALUES (%s, %s)"
        connection.cursor().executemany(add, [(f"lamp-{n}", digest) for n in range(7)])
        connection.execute(add, ["old", "f" * 64])
    title, newer, older, stranger = tinyml("models", "--database", database_url)
    assert title.split() == ["model", "version", "aliases", "digest", "registered", "accuracy", "devices"]
    assert newer.split()[:3] == ["digits", "2", "candidate"]
    assert older.split()[:4] == ["digits", "1", "champion", digest[:12]]
    assert older.endswith("0.8750    7: lamp-0, lamp-1, lamp-2, lamp-3, lamp-4 ...")
    assert stranger == "not registered: ffffffffffff on 1: old"


def test_models_are_listed_while_the_database_is_away(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = "postgresql://127.0.0.1:1/x"
    assert main(["ingest", "models", "--registry", url, "--database", nowhere]) == 0
    told = capsys.readouterr()
    assert "which devices run them is not known: the database is away" in told.err
    assert "the registry is empty" in told.err


def test_an_alias_moves(tinyml: Tinyml, tmp_path: Path) -> None:
    for k in (5, 7):
        tinyml("register", bundle(tmp_path / "digits.bundle", k=k))
    assert tinyml("promote", "digits", 1) == ["digits version 1 is champion"]
    assert tinyml("promote", "digits", 2) == ["digits version 2 is champion, which was version 1"]
    assert tinyml("promote", "digits", 1, "--alias", "candidate") == ["digits version 1 is candidate"]


def test_a_bundle_comes_back_byte_for_byte(tinyml: Tinyml, tmp_path: Path) -> None:
    path = bundle(tmp_path / "digits.bundle")
    tinyml("register", path, "--alias", "champion")
    for reference in ("digits@champion", "digits/1"):
        said = tinyml("fetch", reference, "-o", tmp_path / "out.bundle")
        assert said[0].startswith(f"{tmp_path / 'out.bundle'}: digits version 1, ")
        assert (tmp_path / "out.bundle").read_bytes() == path.read_bytes()
    assert not list(tmp_path.glob(".fetch-*"))


def test_what_is_not_there_reads_as_a_sentence(tinyml: Tinyml, refused: Callable[..., str], tmp_path: Path) -> None:
    tinyml("register", bundle(tmp_path / "digits.bundle"))
    see = "; see tinyml ingest models"
    assert refused("promote", "digits", 2) == f"'digits' has no version 2{see}"
    assert refused("promote", "nothing", 1) == f"'nothing' has no version 1{see}"
    assert refused("fetch", "digits@champion") == f"no version of 'digits' has the alias 'champion'{see}"
    assert refused("fetch", "digits") == "'digits' reads neither MODEL@ALIAS nor MODEL/VERSION"
    there = tmp_path / "no" / "such" / "x.bundle"
    assert refused("fetch", "digits/1", "-o", there) == f"{there} cannot be written: no such file or directory"
    assert not (tmp_path / "x.bundle").exists()
