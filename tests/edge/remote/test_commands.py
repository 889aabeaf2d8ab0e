"""Commands from afar: done once at most, and always answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker.messages import CommandIssued, CommandReported, Tick
from edge_actors.errors import CommandError
from edge_actors.ports.kept import Kept
from edge_actors.remote import commands
from edge_actors.remote.commands import PATIENCE_S, Commands, Verbs

NOW_US = 1_790_000_000_000_000


class Scene:
    """A device's commands, which can be started again on the same disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now, self.clock = 0.0, "synced"
        self.done: list[str] = []
        self.restarts: list[str] = []
        self.said: list[tuple[str, str, str]] = []  # command, state, reason
        self.results: list[dict[str, str]] = []
        self.start()

    def start(self) -> None:
        self.commands = Commands(
            Kept(self.directory / "commands.json"),
            Verbs(self.restarts.append, {"ring": self._ring, "jam": self._jam, "ask": self._ask}),
            report=self._report,
            tick=lambda: Tick(wall_us=NOW_US, clock=self.clock),
            monotonic=lambda: self.now,
        )
        self.commands.resume()

    def take(self, command: str, verb: str, **more: Any) -> None:
        self.commands.take(CommandIssued(command=command, verb=verb, **more))

    def states(self) -> list[str]:
        said, self.said = self.said, []
        return [f"{command} {state}" for command, state, _ in said]

    def _report(self, report: CommandReported) -> None:
        self.said.append((report.command, report.state, report.reason))
        self.results.append(report.result)
        self.commands.heard(report)

    def _ring(self, command: CommandIssued) -> dict[str, str]:
        self.done.append(command.command)
        return {"rang": "twice"}

    def _jam(self, _: CommandIssued) -> dict[str, str]:
        raise CommandError("the bell is stuck")

    def _ask(self, command: CommandIssued) -> None:
        self.done.append(command.command)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_command_is_accepted_and_done_with_its_result(scene: Scene) -> None:
    scene.take("c1", "ring")
    assert scene.states() == ["c1 accepted", "c1 done"]
    assert scene.results[-1] == {"rang": "twice"}


def test_a_command_that_is_brought_again_is_not_done_again(scene: Scene) -> None:
    for _ in range(3):
        scene.take("c1", "ring")
    scene.start()
    scene.take("c1", "ring")
    assert scene.done == ["c1"]
    assert scene.states() == ["c1 accepted", "c1 done", "c1 done"], "whoever brings it again has not heard the end"


def test_an_unknown_verb_fails_with_the_list_of_verbs(scene: Scene) -> None:
    scene.take("c1", "fly")
    assert scene.said == [("c1", "failed", "there is no command 'fly'; there are ask, jam, restart, ring")]


def test_what_fails_says_why(scene: Scene) -> None:
    scene.take("c1", "jam")
    assert scene.said[-1] == ("c1", "failed", "the bell is stuck")


def test_a_restart_is_accepted_before_and_done_after_it(scene: Scene) -> None:
    scene.take("c1", "restart")
    assert scene.states() == ["c1 accepted"]
    assert scene.restarts == ["command c1"]
    scene.take("c1", "restart")
    scene.start()
    scene.take("c1", "restart")
    assert scene.states() == ["c1 done"]
    assert scene.restarts == ["command c1"]


def test_after_its_deadline_a_command_is_not_begun(scene: Scene) -> None:
    scene.take("c1", "ring", deadline_us=NOW_US - 1)
    scene.take("c2", "ring", deadline_us=NOW_US + 1)
    assert scene.states() == ["c1 expired", "c2 accepted", "c2 done"]
    assert scene.done == ["c2"]


def test_a_device_that_does_not_know_the_time_waits_with_what_has_a_deadline(scene: Scene) -> None:
    scene.clock = "unsynced"
    scene.take("c1", "ring", deadline_us=NOW_US + 1)
    scene.take("c2", "ring")
    scene.commands.look()
    assert scene.states() == ["c2 accepted", "c2 done"]
    scene.clock = "synced"
    scene.commands.look()
    assert scene.states() == ["c1 accepted", "c1 done"]


def test_an_answer_that_comes_later_ends_a_command(scene: Scene) -> None:
    scene.take("c1", "ask")
    assert scene.states() == ["c1 accepted"]
    scene.commands.heard(CommandReported(command="c1", state="done"))
    scene.now += PATIENCE_S + 1
    scene.commands.look()
    assert scene.states() == []
    scene.start()
    scene.take("c1", "ask")
    assert scene.states() == ["c1 done"]


def test_an_answer_that_never_comes_is_a_failure(scene: Scene) -> None:
    scene.take("c1", "ask")
    scene.now += PATIENCE_S + 1
    scene.commands.look()
    assert scene.said[-1] == ("c1", "failed", "nothing came of it in 60 s")


def test_a_command_in_the_middle_of_which_the_device_stopped_is_failed_not_done_again(scene: Scene) -> None:
    scene.take("c1", "ask")
    scene.start()
    scene.take("c1", "ask")
    assert scene.done == ["c1"]
    assert scene.said[-1][1:] == ("failed", "the device stopped in the middle of it; it is not done again")


def test_what_cannot_be_noted_on_the_disk_is_not_done(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "nowhere")
    scene.take("c1", "ring")
    scene.take("c2", "restart")
    assert scene.states() == ["c1 failed", "c2 failed"]
    assert not scene.done
    assert not scene.restarts


def test_a_bounded_number_is_remembered(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "REMEMBERED", 3)
    for number in range(5):
        scene.take(f"c{number}", "fly")
    assert list(scene.commands.notes) == ["c2", "c3", "c4"]
