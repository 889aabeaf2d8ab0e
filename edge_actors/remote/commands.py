"""Commands from afar: each is done once at most, whatever happens in between, and always gets an answer.

A command's id and state are on the disk before it begins. The broker brings a command again on every new link until
the server has its last report and clears it. One that an earlier process began and did not end is then reported as
failed; it is not begun again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from broker.messages import CommandIssued, CommandReported, Tick

from ..errors import CommandError, StateDirectoryError
from ..ports.kept import Kept

PATIENCE_S = 60.0  # for an actor's answer
REMEMBERED = 256  # commands; far more than a server keeps retained for a device
HELD = 16  # commands with a deadline that wait until the clock is right
FINAL = frozenset({"done", "failed", "expired"})
RESTARTING = "restarting"  # is done as soon as there is another process

Verb = Callable[[CommandIssued], "Mapping[str, str] | None"]


@dataclass(slots=True)
class Note:
    """What is remembered of a command."""

    verb: str = ""
    state: str = "accepted"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verbs:
    """What can be done. A verb returns its result, or None where the answer comes later; CommandError: it failed.

    `restart` is called last of all, when everybody was told.
    """

    restart: Callable[[str], object]
    others: Mapping[str, Verb] = field(default_factory=dict)

    def names(self) -> list[str]:
        return sorted({"restart", *self.others})


class Commands:
    """For one thread. `report` has to take what it is given; `tick` gives the present time."""

    def __init__(
        self,
        kept: Kept,
        verbs: Verbs,
        *,
        report: Callable[[CommandReported], object],
        tick: Callable[[], Tick],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kept, self._verbs, self._report, self._tick, self._monotonic = kept, verbs, report, tick, monotonic
        self.notes = {command: Note(*note) for command, note in kept.read().get("commands", {}).items()}
        self._held: dict[str, CommandIssued] = {}  # until the clock is right
        self._awaited: dict[str, tuple[CommandIssued, float]] = {}  # begun, the answer comes later; since when
        self._here: set[str] = set()  # seen by this process

    def resume(self) -> None:
        """Reports what the restart itself has ended."""
        for command, note in list(self.notes.items()):
            if note.state == RESTARTING:
                self._here.add(command)
                self._end(CommandIssued(command=command, verb=note.verb), "done")

    def take(self, command: CommandIssued) -> None:
        """Does a command, or says why not."""
        name = command.command
        if name in self._here:
            return  # brought again; its answer is on the way
        if name in self.notes:
            self._here.add(name)
            self._answer_again(command, self.notes[name])
        elif command.deadline_us and self._tick().clock != "synced":
            if len(self._held) < HELD:
                self._held[name] = command
        else:
            self._here.add(name)
            self._held.pop(name, None)
            self._begin(command)

    def look(self) -> None:
        """What waited too long, and what need not wait any more; to be called now and then."""
        if self._held and self._tick().clock == "synced":
            for command in list(self._held.values()):
                self.take(command)
        for command, since in list(self._awaited.values()):
            if self._monotonic() - since > PATIENCE_S:
                self._end(command, "failed", f"nothing came of it in {PATIENCE_S:g} s")

    def heard(self, report: CommandReported) -> None:
        """An actor's report has left."""
        if report.state in FINAL and (awaited := self._awaited.pop(report.command, None)) is not None:
            self._note(awaited[0], report.state, report.reason)

    # ---- one command -------------------------------------------------------------------------------------------

    def _begin(self, command: CommandIssued) -> None:
        if command.deadline_us and self._tick().wall_us >= command.deadline_us:
            self._end(command, "expired", "its deadline was over before the device got it")
        elif command.verb not in self._verbs.names():
            there_are = ", ".join(self._verbs.names())
            self._end(command, "failed", f"there is no command {command.verb!r}; there are {there_are}")
        elif self._note(command, RESTARTING if command.verb == "restart" else "accepted"):
            self._report(CommandReported(command=command.command, verb=command.verb, state="accepted"))
            self._do(command)
        else:
            self._end(command, "failed", "the disk does not take a note of it, so that it could be done twice")

    def _do(self, command: CommandIssued) -> None:
        if command.verb == "restart":
            self._verbs.restart(f"command {command.command}")
            return
        self._awaited[command.command] = (command, self._monotonic())
        try:
            result = self._verbs.others[command.verb](command)
        except CommandError as error:
            self._end(command, "failed", str(error))
        else:
            if result is not None:
                self._end(command, "done", result=result)

    def _answer_again(self, command: CommandIssued, note: Note) -> None:
        """To what an earlier process has had: nobody heard of the end of it, or there was none."""
        if note.state in FINAL:
            self._end(command, note.state, note.reason or "it ended before the device restarted")
        else:
            self._end(command, "failed", "the device stopped in the middle of it; it is not done again")

    def _end(
        self, command: CommandIssued, state: str, reason: str = "", result: Mapping[str, str] | None = None
    ) -> None:
        self._awaited.pop(command.command, None)
        self._note(command, state, reason)
        self._report(
            CommandReported(
                command=command.command, verb=command.verb, state=state, reason=reason, result=dict(result or {})
            )
        )

    def _note(self, command: CommandIssued, state: str, reason: str = "") -> bool:
        """Remembers a state; False where the disk does not."""
        self.notes.pop(command.command, None)
        self.notes[command.command] = Note(command.verb, state, reason)
        while len(self.notes) > REMEMBERED:
            del self.notes[next(iter(self.notes))]
        try:
            self._kept.write({"commands": {name: [n.verb, n.state, n.reason] for name, n in self.notes.items()}})
        except StateDirectoryError:
            return False
        return True
