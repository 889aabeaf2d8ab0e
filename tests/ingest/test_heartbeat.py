"""A loop that turns can be told from one that hangs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.cli import main
from ingest.heartbeat import Heartbeat, age_s


def health(path: Path, *more: str) -> int:
    return main(["ingest", "health", "--heartbeat", str(path), *more])


def test_a_loop_that_turns_is_at_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Heartbeat(str(tmp_path / "beat")).beat()
    assert health(tmp_path / "beat") == 0
    assert capsys.readouterr().out.startswith("at work: the last beat was ")


def test_a_loop_that_hangs_is_stuck(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "beat"
    Heartbeat(str(path)).beat()
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 100))
    assert health(path) == 1
    assert capsys.readouterr().out.startswith("stuck: the last beat was 10")
    assert health(path, "--within", "200") == 0


def test_one_that_ended_or_never_began_is_not_at_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heartbeat = Heartbeat(str(tmp_path / "beat"))
    heartbeat.beat()
    heartbeat.stop()
    assert age_s(tmp_path / "beat") is None
    assert health(tmp_path / "beat") == 1
    assert capsys.readouterr().out == f"not at work: {tmp_path / 'beat'} is not there\n"


def test_beats_are_a_second_apart(tmp_path: Path) -> None:
    heartbeat = Heartbeat(str(tmp_path / "beat"))
    heartbeat.beat()
    (tmp_path / "beat").unlink()
    heartbeat.beat()
    assert not (tmp_path / "beat").exists()


def test_without_a_file_there_is_nothing_to_tell(capsys: pytest.CaptureFixture[str]) -> None:
    Heartbeat("").beat()
    assert main(["ingest", "health"]) == 2
    assert "no heartbeat is set" in capsys.readouterr().err
