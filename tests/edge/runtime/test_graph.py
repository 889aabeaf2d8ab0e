"""The wiring can be drawn."""

from __future__ import annotations

import pytest

from edge_actors import wiring
from edge_actors.errors import WiringError
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
