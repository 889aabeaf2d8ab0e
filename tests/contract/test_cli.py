"""`tinyml` finds its subcommands, and a person never sees a traceback for what a person can mend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from broker import cli, codec
from broker.messages import Tick


def test_without_a_command_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ([], ["--help"], ["help"]):
        assert cli.main(argv) == 0
        out = capsys.readouterr().out
        assert all(f"  {name} " in out for name in cli.COMMANDS)


def test_an_unknown_command_is_one_sentence_and_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["nonsense"]) == 2
    assert capsys.readouterr().err.startswith("tinyml: there is no command 'nonsense'\n")


def test_an_error_is_one_sentence_and_a_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["decode", str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err == f"tinyml decode: {tmp_path} holds no journal: files named *.cborseq are expected\n"
    )


def test_nothing_is_said_when_the_reader_of_a_pipe_has_left(tmp_path: Path) -> None:
    (tmp_path / "many").write_bytes(codec.encode(Tick(at=1.0)) * 20_000)
    command = [sys.executable, "-m", "broker.cli", "decode", str(tmp_path / "many")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 141
