"""`tinyml ingest` as people start it: works until SIGTERM, and says in one sentence why it cannot."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from broker.cli import main
from broker.embedded import BrokerProcess
from broker.settings import table
from ingest.embedded import Postgres
from ingest.settings import PREFIX, IngestSettings
from tests.ingest.harness import Fleet
from tests.postgres import fresh_database
from tests.records import BOOT, DEVICE, drift, sent
from tests.support import wait_until

Start = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def start(broker: BrokerProcess, database_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts `tinyml ingest run` as a process."""
    processes = []

    def start() -> subprocess.Popen[str]:
        places = ["--database", database_url, "--broker", broker.url, "--objects", str(tmp_path / "objects")]
        command = [sys.executable, "-m", "broker.cli", "ingest", "run", *places]
        with (tmp_path / "worker.log").open("ab") as log:
            processes.append(subprocess.Popen(command, stderr=log))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait(10)


def seqs(eyes: psycopg.Connection) -> set[int]:
    return {seq for (seq,) in eyes.execute("SELECT seq FROM drift_event").fetchall()}


def test_finishes_what_it_has_in_hand_when_it_is_told_to_stop(
    start: Start, fleet: Fleet, eyes: psycopg.Connection
) -> None:
    process = start()
    wait_until(fleet.listening, timeout=20)
    fleet.send(*(sent(drift(), seq) for seq in range(1, 2001)))
    wait_until(lambda: fleet.answers)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    wait_until(lambda: not fleet.listening())
    # The broker's will may follow, where the last bytes of a link that was still being written to are lost.
    assert "the worker was stopped" in [state.reason for state in fleet.states]
    wait_until(lambda: fleet.stored[DEVICE, BOOT] == seqs(eyes))  # all it stored it has said
    start()
    wait_until(fleet.listening, timeout=20)
    fleet.send(*(sent(drift(), seq) for seq in range(1, 2001) if seq not in fleet.stored[DEVICE, BOOT]))
    wait_until(lambda: fleet.stored[DEVICE, BOOT] == set(range(1, 2001)))
    assert seqs(eyes) == set(range(1, 2001))


def test_a_kill_loses_nothing_that_was_said_to_be_stored(
    start: Start, fleet: Fleet, eyes: psycopg.Connection
) -> None:
    process = start()
    wait_until(fleet.listening, timeout=20)
    fleet.send(*(sent(drift(), seq) for seq in range(1, 2001)))
    wait_until(lambda: fleet.answers)
    process.kill()
    process.wait(10)
    wait_until(lambda: not fleet.listening(), timeout=20)  # the broker speaks its will
    assert fleet.stored[DEVICE, BOOT] <= seqs(eyes)


def test_migrates_and_says_what_it_did(embedded_server: Postgres, capfd: pytest.CaptureFixture[str]) -> None:
    for url in fresh_database(embedded_server, migrated=False):
        assert main(["ingest", "migrate", "--database", url]) == 0
        assert "the database applied 001_everything.sql" in capfd.readouterr().err
        assert main(["ingest", "migrate", "--database", url]) == 0
        assert "the database is up to date (plain)" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--broker", "http://somewhere"], "the URL of the broker has to read mqtt://host:port"),
        (["--objects", "ftp://somewhere/bucket"], "ftp:// is no object store"),
        (["--batch", "0"], "batch is 0; it can be 1 to 100000"),
        (["--database", "nonsense"], "the database cannot be used: missing"),
        (["--database", "postgresql://127.0.0.1:1/x", "--patience-s", "0"], "the database is away: "),
    ],
)
def test_says_in_one_sentence_why_it_cannot_start(
    flags: list[str], sentence: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    usual = ["--objects", str(tmp_path), "--database", "postgresql://127.0.0.1:1/x", "--patience-s", "0"]
    assert main(["ingest", "run", *usual, *flags]) == 2
    words = capfd.readouterr().err
    assert words.startswith(f"tinyml ingest: {sentence}")
    assert len(words.splitlines()) == 1


def test_does_not_wait_for_a_database_that_refuses(
    embedded_server: Postgres, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["ingest", "migrate", "--database", embedded_server.url_of("nowhere")]) == 2
    assert "the database refuses: " in capfd.readouterr().err


def test_lists_every_setting_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["ingest", "run", "--help"])
    assert left.value.code == 0
    words = capsys.readouterr().out
    for line in table(IngestSettings, PREFIX).splitlines()[2:]:
        assert line.split("`")[1] in words
