"""The live view in the terminal, and plain lines where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .report import Outcome, Promise, percent

PLAIN_EVERY_S = 5.0


@dataclass
class Seen:
    """What is known of one device at this moment."""

    device: str
    story: str
    state: str = "starting"
    fps: float = 0.0
    frames: int = 0
    drift: str = "-"
    spool: int = 0
    link: str = "down"
    labels: str = "-"


@dataclass
class Screen:
    """The whole picture: the clock of the played day, what happens, the devices."""

    clock: str = "06:00"
    share: float = 0.0
    happening: str = ""
    devices: list[Seen] = field(default_factory=list)
    events: list[str] = field(default_factory=list)


class View:
    """Shows a `Screen` again and again; a context manager, so that the terminal is left as it was."""

    def __init__(self, *, plain: bool) -> None:
        self.console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self.plain = plain or not self.console.is_terminal
        self._live: Live | None = None
        self._said = 0
        self._last_line = -PLAIN_EVERY_S

    def __enter__(self) -> View:
        if not self.plain:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, markup=False)

    def show(self, screen: Screen) -> None:
        for event in screen.events[self._said :]:
            self.say(event)
        self._said = len(screen.events)
        if self._live is not None:
            self._live.update(_picture(screen))
        elif time.monotonic() - self._last_line >= PLAIN_EVERY_S:
            self._last_line = time.monotonic()
            for seen in screen.devices:
                self.say(
                    f"{screen.clock}  {seen.device:<10} {seen.state:<8} {seen.fps:4.0f} fps  {seen.frames:>5} frames "
                    f" drift {seen.drift:<8} spool {seen.spool:>4}  link {seen.link:<4}  labels {seen.labels}"
                )

    def result(self, outcomes: Sequence[Outcome], promises: Sequence[Promise]) -> None:
        """The table of the day and the promises; the live view is over."""
        self._close()
        self.console.print(_outcomes(outcomes))
        for promise in promises:
            mark = Text("kept  ", "green") if promise.kept else Text("BROKEN", "bold red")
            self.console.print(Text.assemble(mark, "  ", promise.what, " (", (promise.seen, "dim"), ")"))


def _picture(screen: Screen) -> Panel:
    table = Table(box=None, expand=True, pad_edge=False)
    for heading in ("device", "story", "state", "fps", "frames", "drift", "spool", "link", "labels"):
        table.add_column(heading, justify="right" if heading in ("fps", "frames", "spool") else "left")
    for seen in screen.devices:
        table.add_row(
            Text(seen.device, "bold"),
            Text(seen.story, "dim"),
            Text(seen.state, "green" if seen.state == "well" else "yellow"),
            f"{seen.fps:.0f}",
            str(seen.frames),
            Text(seen.drift, "red" if seen.drift.startswith("since") else ""),
            Text(str(seen.spool), "yellow" if seen.spool > 20 else ""),
            Text(seen.link, "green" if seen.link == "up" else "red"),
            seen.labels,
        )
    width = 40
    done = int(width * screen.share)
    bar = Text.assemble(("━" * done, "cyan"), ("━" * (width - done), "dim"), f"  {screen.clock}  ", screen.happening)
    return Panel(Group(bar, Text(), table), title="tinyml demo: a day in two minutes", border_style="dim")


def _outcomes(outcomes: Sequence[Outcome]) -> Table:
    """A column a device, so that it fits a terminal of 80 characters."""
    table = Table(title="the day", title_justify="left")
    table.add_column("")
    for row in outcomes:
        table.add_column(row.role.device, justify="right")
    lines: dict[str, Callable[[Outcome], str]] = {
        "accuracy before": lambda row: percent(row.before),
        "accuracy during": lambda row: percent(row.during),
        "accuracy after": lambda row: percent(row.after),
        "drift delay, frames": lambda row: "-" if row.delay is None else str(row.delay),
        "false alarms": lambda row: str(row.false_alarms),
        "samples quarantined": lambda row: str(row.samples),
        "adaptations decided": lambda row: str(len(row.decisions)),
        "labels sent": lambda row: str(row.sent),
        "labels proved applied": lambda row: str(row.applied),
        "messages produced": lambda row: str(row.produced),
        "messages stored": lambda row: str(row.stored),
        "messages lost": lambda row: str(row.lost),
        "messages stored twice": lambda row: str(row.duplicated),
        "uplink, MB": lambda row: f"{row.uplink_mb:.2f}",
    }
    for name, text in lines.items():
        table.add_row(name, *(text(row) for row in outcomes))
    return table
