"""`tinyml ingest maintain` keeps the database: levels, rollups, retention."""

from __future__ import annotations

import hashlib
from pathlib import Path

import psycopg
import pytest

from broker.cli import main
from ingest.consumers.samples import picture_key
from ingest.stores.objects import Folder
from tests.rows import fill

JOBS = ("levels", "rollups", "retention")


@pytest.fixture
def objects(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "objects")


def maintain(database_url: str, objects: Folder, *words: str) -> int:
    stores = ("--database", database_url, "--objects", str(objects.folder))
    return main(["ingest", "maintain", "--only", *JOBS, *stores, *words])


def test_hours_are_summed_up_and_old_rows_and_pictures_go(
    database_url: str, eyes: psycopg.Connection, objects: Folder
) -> None:
    digest = hashlib.sha256(b"picture").hexdigest()
    objects.put(picture_key(digest), b"picture")
    fill(eyes, picture_digest=digest, episode="")
    for table in ("prediction", "sample"):
        eyes.execute(f"UPDATE {table} SET at = now() - interval '400 days'".encode())
    eyes.execute("TRUNCATE rollup, prediction_hour, label, traffic_day")
    assert maintain(database_url, objects, "--retention", "sample=1y") == 0
    assert eyes.execute("SELECT frames FROM v_prediction_hour").fetchall() == [(1,)]
    assert eyes.execute("SELECT FROM prediction").fetchall() == []
    assert eyes.execute("SELECT FROM sample").fetchall() == []
    eyes.execute("UPDATE object_to_remove SET since = now() - interval '1 hour'")
    assert maintain(database_url, objects, "--retention", "sample=1y") == 0
    assert list(objects.list()) == []
    said = dict(eyes.execute("SELECT name, said FROM v_job WHERE done").fetchall())
    assert set(JOBS) <= set(said)
    assert "1 objects" in said["retention"]


def test_refuses_a_retention_that_nobody_can_mean(
    database_url: str, objects: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert maintain(database_url, objects, "--retention", "telemetry=3") == 2
    assert "retention of telemetry cannot be '3': 90d, 12w, 2y" in capsys.readouterr().err
    assert maintain(database_url, objects, "--late-days", "0") == 2
    assert "late_days is 0; it can be 1 to 365" in capsys.readouterr().err
