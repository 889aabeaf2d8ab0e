"""`tinyml ingest import` as people use it: progress, a table, a status, and one sentence where something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from broker import receipt
from broker.cli import main
from broker.embedded import BrokerProcess
from broker.messages import Stored
from ingest.commands.import_ import shortened
from tests.ingest.harness import Fleet
from tests.ingest.packages.made import bomb, exported, records, tar
from tests.records import BOOT, DEVICE, EVERY_KIND, drift
from tests.support import wait_until

ALL = len(EVERY_KIND)
Run = Callable[..., int]


@pytest.fixture
def run(database_url: str, tmp_path: Path) -> Run:
    places = ["--database", database_url, "--objects", str(tmp_path / "objects"), "--patience-s", "0"]

    def run(*words: object, broker: str = "mqtt://127.0.0.1:1") -> int:
        return main(["ingest", "import", *map(str, words), *places, "--broker", broker])

    return run


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_says_what_came_of_everything_and_fails_where_something_did(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write(tmp_path / "good.cborseq", exported())
    mixed = write(tmp_path / "mixed.tar.gz", tar({"x": exported(), "\N{EM DASH}/y": exported()[:-1]}))
    assert run(good) == 0
    said = capsys.readouterr()
    assert "good.cborseq: done" in said.out
    assert "they send them again" in said.err
    assert run(mixed, good) == 1
    said = capsys.readouterr()
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[0] == ["mixed.tar.gz:", "failed"]
    assert ["done", "x", "export", str(ALL), str(ALL)] in lines
    assert any(line[:3] == ["failed", "\N{EM DASH}/y", "export"] and "cut" in line for line in lines)


def test_a_hostile_file_is_refused_and_the_others_are_taken(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], eyes: psycopg.Connection
) -> None:
    hostile = write(tmp_path / "bomb.gz", bomb())
    good = write(tmp_path / "good", exported())
    assert run(hostile, tmp_path / "none", good) == 1
    said = capsys.readouterr()
    assert "bomb.gz: refused, it unpacks to more than 200 times" in said.out
    assert "cannot read" in said.err
    assert "good: done" in said.out
    assert eyes.execute("SELECT records FROM v_record_count").fetchall() == [(ALL,)]


def test_limits_are_settings(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = write(tmp_path / "many.tar", tar({"a": exported(), "b": b""}, "w"))
    assert run(many, "--package-entries", 1) == 1
    assert "it has more than 1 entries" in capsys.readouterr().out
    assert run(many, "--package-mb", 0) == 2
    assert "package_mb is 0" in capsys.readouterr().err


def test_a_file_that_another_process_has_in_hand_is_left_to_it(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], eyes: psycopg.Connection
) -> None:
    good = write(tmp_path / "good", exported())
    assert run(good) == 0
    eyes.execute("SELECT pg_advisory_lock(746736, 7)")
    eyes.execute("UPDATE package SET state = 'running', worker = 7")
    assert run(good) == 1
    assert "another process is importing it" in capsys.readouterr().err
    eyes.execute("SELECT pg_advisory_unlock(746736, 7)")
    assert run(good) == 0


def test_a_device_that_is_online_hears_what_is_stored(run: Run, broker: BrokerProcess, tmp_path: Path) -> None:
    good = write(tmp_path / "good", exported())
    with Fleet(broker.url) as fleet:
        assert run(good, broker=broker.url) == 0
        wait_until(lambda: fleet.stored[DEVICE, BOOT] == set(range(1, ALL + 1)))


def test_a_receipt_says_what_the_device_may_forget(run: Run, tmp_path: Path) -> None:
    files = [write(tmp_path / "a", exported()), write(tmp_path / "b", exported(records([drift()], ALL + 5)))]
    assert run(*files, "--receipt", tmp_path / "r") == 0
    assert receipt.read(tmp_path / "r") == [(DEVICE, Stored(boot=BOOT, ranges=((1, ALL), (ALL + 5, ALL + 5))))]
    assert run(files[0], "--receipt", tmp_path / "gone" / "r") == 2


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["ingest", "import", "--help"])
    assert "<device>/<sample>.jpg" in capsys.readouterr().out


def test_text_of_others_is_shown_and_not_obeyed() -> None:
    assert shortened("a\x1b[2Jb\u202ec", 40) == "a?[2Jb?c"
    assert shortened("x" * 50, 10) == "x" * 9 + "…"
