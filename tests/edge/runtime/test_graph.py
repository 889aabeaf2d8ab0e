"""The wiring can be drawn, and a file that shows it is kept true."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_actors import wiring
from edge_actors.errors import GraphError, WiringError
from edge_actors.graph_cli import main
from edge_actors.runtime.graph import mermaid
from tests.edge.runtime.scripted import DOORS, ROUTES, Counter, Saver, Sender, Teller

ACTORS = {"counter": Counter, "teller": Teller, "saver": Saver, "sender": Sender}


def test_draws_doors_actors_and_the_messages_between_them() -> None:
    lines = [line.strip() for line in mermaid(DOORS, ACTORS, ROUTES).splitlines()]
    assert lines[0] == "flowchart LR"
    assert "door_Frame([Frame])" in lines
    assert "door_Tick --> saver" in lines
    assert "counter -- Features --> teller" in lines
    assert "teller -- Predictions<br/>LogRecord --> sender" in lines
    assert "saver -- SnapshotRequested --> runtime" in lines
    assert "runtime -- LogRecord<br/>DeadLetter --> sender" in lines
    assert "class door_Tick,door_SnapshotSaved,door_LabelAssigned,door_Vitals,door_Frame rim" in lines


def test_does_not_draw_what_does_not_fit() -> None:
    with pytest.raises(WiringError):
        mermaid(DOORS, ACTORS, ROUTES | {next(iter(ROUTES)): ("nobody",)})


def test_prints_the_device_as_it_is_wired(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == mermaid(wiring.DOORS, wiring.ACTORS, wiring.ROUTES)


def test_writes_it_between_the_marks_and_finds_it_there(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Title\n\n<!-- graph -->\nold\n<!-- /graph -->\n\nMore.\n")
    with pytest.raises(GraphError, match=r"does not show the wiring as it is; tinyml graph --write .*README.md"):
        main(["--check", str(readme)])
    assert main(["--write", str(readme)]) == 0
    assert main(["--check", str(readme)]) == 0
    text = readme.read_text()
    assert text.startswith("# Title\n\n<!-- graph -->\n```mermaid\nflowchart LR\n")
    assert text.endswith("```\n<!-- /graph -->\n\nMore.\n")
    readme.write_text(text.replace("knn", "k2n"))
    with pytest.raises(GraphError):
        main(["--check", str(readme)])


def test_says_what_is_missing_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="cannot be read: no such file"):
        main(["--check", str(tmp_path / "README.md")])
    (tmp_path / "README.md").write_text("# Title\n")
    with pytest.raises(GraphError, match="has no place for the graph"):
        main(["--write", str(tmp_path / "README.md")])
