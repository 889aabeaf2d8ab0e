"""A device without a link is carried to the server as a file; when it has a link it says it all again, and no row
is new."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from broker.cli import main
from broker.embedded import BrokerProcess
from ingest.embedded import Postgres
from platform_api.demo.process import Process, tinyml
from tests.postgres import embedded_server, fresh_database

from .fleet import eventually, kit

__all__ = ["embedded_server"]
DEVICE = "far-away"
TABLES = ("telemetry", "prediction", "drift_event", "sample", "adaptation", "snapshot", "log", "label_request")


def run(bundle: Path, state: Path, pictures: Path, broker: str) -> None:
    """The device looks at every picture once and is switched off."""
    flags = ["--bundle", str(bundle), "--device", DEVICE, "--state-dir", str(state), "--camera", str(pictures)]
    more = ["--once", "--fps", "0", "--broker", broker, "--clock", "synced", "--commissioning-frames", "200"]
    subprocess.run(
        tinyml("edge", "run", *flags, *more, "--report-s", "1", "--drain-s", "30", "--status", "none"),
        check=True,
        timeout=120,
        capture_output=True,
    )


def spooled(state: Path) -> dict[str, int]:
    """How many records wait of each boot."""
    count = "SELECT boot, count(*) FROM records JOIN boots ON n = id >> 40 GROUP BY boot"
    with closing(sqlite3.connect(state / "spool.db")) as spool:
        return dict(spool.execute(count))


def rows(url: str, boots: list[str]) -> dict[str, list[tuple[Any, ...]]]:
    with psycopg.connect(url) as connection:
        return {
            table: sorted(
                connection.execute(f"SELECT * FROM {table} WHERE boot = ANY(%s)".encode(), [boots]).fetchall(),
                key=str,
            )
            for table in TABLES
        }


def counted(url: str) -> dict[str, tuple[int, int]]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT boot, records, numbers FROM v_record_count").fetchall()
    return {boot: (records, numbers) for boot, records, numbers in found}


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_what_was_carried_here_is_not_stored_again_when_the_device_gets_a_link(
    embedded_server: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, state, out = tmp_path / "digits.bundle", tmp_path / "state", tmp_path / "carried.cborseq.gz"
    kit(tmp_path, bundle)
    run(bundle, state, tmp_path / "pictures", "mqtt://127.0.0.1:1")
    waiting = spooled(state)
    assert sum(waiting.values()) > 10
    assert main(["edge", "export", "--state-dir", str(state), "-o", str(out)]) == 0
    for url in fresh_database(embedded_server):
        with BrokerProcess(tmp_path / "broker") as broker:
            places = ["--database", url, "--objects", str(tmp_path / "objects"), "--broker", broker.url]
            assert main(["ingest", "import", str(out), *places]) == 0
            assert f"{sum(waiting.values()):,}" in capsys.readouterr().out
            carried = rows(url, list(waiting))
            assert counted(url) == {boot: (count, count) for boot, count in waiting.items()}
            assert carried["drift_event"]
            assert carried["sample"]
            worker = Process("worker", tinyml("ingest", "run", *places), tmp_path / "worker.log")
            worker.start()
            worker.wait_for("listening")
            try:
                few = tmp_path / "few"
                few.mkdir()
                for picture in sorted((tmp_path / "pictures").iterdir())[:20]:
                    shutil.copy(picture, few)
                run(bundle, state, few, broker.url)
                assert eventually(lambda: not spooled(state), 1.0), "the device has not sent everything"
            finally:
                worker.stop()
            assert rows(url, list(waiting)) == carried
            assert set(counted(url)) > set(waiting)  # and what it has done since is there too
            assert all(records == numbers for records, numbers in counted(url).values())
