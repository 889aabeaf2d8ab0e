"""The registry on a real MLflow server, which may die at any time without a worker's noticing."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.cli import main
from broker.messages import AdaptationDecided, Birth
from ingest.embedded import Postgres
from ingest.errors import StoreAway
from ingest.jobs.job import Site
from ingest.settings import IngestSettings
from tests.ingest.harness import Fleet, Running
from tests.ingest.test_deployments import FIRST, Surroundings
from tests.install.machine import checked, docker
from tests.postgres import fresh_database
from tests.records import drift, sent
from tests.stores.bundle_files import bundle, report
from tests.support import missing, wait_until

IMAGE = "ghcr.io/mlflow/mlflow:v3.17.2"
SERVER = ["mlflow", "server", "--host", "0.0.0.0", "--workers", "1", "--allowed-hosts", "*"]
STORES = ["--backend-store-uri", "sqlite:////tmp/mlflow.db", "--artifacts-destination", "/tmp/artifacts"]
pytestmark = [pytest.mark.container, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def server() -> Iterator[tuple[str, str]]:
    """The container and the URL of a server of one's own."""
    if docker("info").returncode:
        missing("Docker engine")
    lean = ["--env", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", "--publish", "127.0.0.1::5000"]
    container = checked("run", "--detach", "--rm", *lean, IMAGE, *SERVER, *STORES).strip()
    try:
        url = "http://" + checked("port", container, "5000").split()[0]
        wait_until(lambda: _answers(url), timeout=120)
        yield container, url
    finally:
        docker("rm", "--force", container)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def test_all_of_it_on_a_server_that_is_killed_in_the_end(
    server: tuple[str, str],
    embedded_server: Postgres,
    worker: Running,
    fleet: Fleet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    container, url = server
    path = bundle(tmp_path / "digits.bundle")
    where = ["--registry", url]
    assert main(["ingest", "register", str(path), "--report", str(report(tmp_path / "r.json")), *where]) == 0
    assert main(["ingest", "promote", "digits", "1", *where]) == 0
    assert main(["ingest", "fetch", "digits@champion", "-o", str(tmp_path / "out.bundle"), *where]) == 0
    assert (tmp_path / "out.bundle").read_bytes() == path.read_bytes()
    assert "digits version 1 is champion" in capsys.readouterr().out

    for database in fresh_database(embedded_server):
        here = Surroundings(database, tmp_path)
        here.site = Site(IngestSettings(database=database, registry=url))
        here.store(Birth(session=1, bundle=FIRST))
        here.store(*(AdaptationDecided(at=float(n), outcome="applied", accuracy_after=0.9) for n in range(5)))
        assert here.tell() == "5 records of 1 deployments"
        here.site.database.execute("DELETE FROM registry_mark")  # as if it had been killed before it noted that
        here.site.database.execute("DELETE FROM deployment")
        here.tell()
        assert [step for _, _, step in here.points(FIRST, "accuracy_after")] == [0, 1, 2, 3, 4]
        assert len(here.runs()) == 1

        subprocess.run(["docker", "kill", container], check=True, capture_output=True, timeout=30)
        here.store(AdaptationDecided(at=9.0, outcome="applied"), first=6)
        with pytest.raises(StoreAway, match="the model registry is away: "):
            here.tell()
        here.close()
    fleet.send(*(sent(drift(), seq) for seq in range(1, 101)))  # a worker neither waits nor notices
    wait_until(lambda: sum(len(seqs) for seqs in fleet.stored.values()) == 100)
