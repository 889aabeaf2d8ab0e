"""A device that people manage from afar: what it does with settings, commands and models, put together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from broker.messages import (
    BlobOffered,
    BlobWanted,
    CommandIssued,
    CommandReported,
    ConfigDesired,
    Message,
    ModelDesired,
    Tick,
)

from ..errors import CommandError, SnapshotDamagedError, SnapshotTooNewError
from ..ports.kept import Kept
from ..ports.outbox import Outbox
from ..ports.snapshots import SUFFIX, files, load
from ..settings import EdgeSettings
from .blobs import Blobs
from .commands import Commands, Verbs
from .config import RemoteConfig
from .desk import Desk, Overheard
from .diagnostics import LastLines, diagnostics
from .models import Models, ledger_of

if TYPE_CHECKING:
    from ..mqtt_bridge import MqttBridge
    from ..process import EdgeProcess

log = logging.getLogger(__name__)

CONFIG, COMMANDS, BLOBS = "config.json", "commands.json", "blobs.json"  # in the state directory
BLOB_FILES = "blobs"  # a folder there
PATIENCE_S = 5.0  # with the loop, when it is to take a report


def bundle_given_up(setup: EdgeSettings, reason: str) -> bool:
    """The bundle that people wanted does not load; True when the device may start with the one before it."""
    return ledger_of(setup.directory()).gives_up(reason)


def newest_whole(directory: Path) -> tuple[Path, str]:
    """The newest snapshot file that holds what was written, and its id. Raises CommandError where there is none."""
    try:
        for path in reversed(files(directory, SUFFIX)):
            try:
                return path, load(path.read_bytes(), path).snapshot
            except (SnapshotDamagedError, SnapshotTooNewError) as error:
                log.warning("%s; an older one is taken", error)
    except OSError as error:
        raise CommandError(f"the snapshots cannot be read: {(error.strerror or str(error)).lower()}") from None
    raise CommandError("there is no snapshot yet; the command `snapshot` makes one")


class Managed:
    """What mode managed adds to a process, which it asks for its parts when it needs them."""

    def __init__(self, process: EdgeProcess, setup: EdgeSettings, *, as_set_up: bool = False) -> None:
        self.process = process
        self.config = RemoteConfig(Kept(process.state.path / CONFIG), setup, as_set_up=as_set_up)
        self.models = Models(
            process, setup.bundle, report=lambda report: self._bridge().report(report), kept=self._take_labels
        )
        self.blobs = Blobs(
            process.state.path / BLOB_FILES,
            Kept(process.state.path / BLOBS),
            self._offer,
            self._tick,
        )
        self.commands = Commands(
            Kept(process.state.path / COMMANDS),
            Verbs(
                process.restart,
                {
                    "snapshot": self._to_the_actors,
                    "send-sample": self._to_the_actors,
                    "diagnostics": lambda _command: diagnostics(process, self._lines),
                    "rebirth": self._rebirth,
                    "upload-snapshot": self._upload_snapshot,
                },
            ),
            report=self._report,
            tick=self._tick,
        )
        self.desk = Desk(self.commands, self._configure, self.blobs.look)
        self._lines = LastLines()
        self.live: dict[str, Callable[[EdgeSettings], object]] = {
            "reading_s": lambda settings: self.process.probe.every(settings.reading_s),
            "location": lambda settings: None,  # the birth, which follows every change, tells it
            "log_level": lambda settings: logging.getLogger().setLevel(settings.log_level.upper()),
        }

    def overhears(self, outbox: Outbox) -> Outbox:
        """The same outbox; what actors report of commands is heard on the way."""
        return Overheard(outbox, self.desk.heard)

    def take(self, message: Message) -> None:
        """Something that came down; for any thread."""
        if isinstance(message, ModelDesired):
            self.models.take(message)
        elif isinstance(message, BlobWanted):
            self.blobs.wanted(message)
        else:
            self.desk.take(message)

    def start(self) -> None:
        # What people label while a bundle is on trial is for the one that stays.
        self._bridge().hold_labels(self.models.on_trial)
        logging.getLogger().addHandler(self._lines)
        self.live["log_level"](self.config.settings)
        self._bridge().report(self.config.reported)
        self.desk.start()
        self.models.start()

    def stop(self) -> None:
        self.desk.stop()
        self.models.stop(clean=self.process.crash is None)
        logging.getLogger().removeHandler(self._lines)

    # ---- on the desk's thread ----------------------------------------------------------------------------------

    def _configure(self, desired: ConfigDesired) -> None:
        before = self.config.settings
        changed = self.config.take(desired)
        if changed is not None:
            settings, waiting = changed
            self.process.settings = settings
            for name, apply in self.live.items():
                if getattr(settings, name) != getattr(before, name):
                    apply(settings)
            self._bridge().announce(self.process.birth())
            if waiting:
                self.process.restart(f"new settings: {', '.join(sorted(waiting))}")
        self._bridge().report(self.config.reported)

    def _to_the_actors(self, command: CommandIssued) -> None:
        if not self.process.doors.post(command):
            raise CommandError("too many commands are waiting")

    def _take_labels(self) -> None:
        self._bridge().hold_labels(False)

    def _rebirth(self, _command: CommandIssued) -> dict[str, str]:
        self._bridge().announce()
        return {}

    def _offer(self, offer: BlobOffered) -> bool:
        return self.process.doors.post(offer)

    def _upload_snapshot(self, _command: CommandIssued) -> dict[str, str]:
        """The newest snapshot that is whole; the server fetches it when it likes."""
        path, name = newest_whole(self.process.state.path / "snapshots")
        sha256, size = self.blobs.add(path, "snapshot", name)
        return {"snapshot": name, "sha256": sha256, "size": str(size)}

    def _report(self, report: CommandReported) -> None:
        doors = self.process.doors
        while not doors.post(report):
            if doors.closed or not doors.wait_until_taken(CommandReported, PATIENCE_S):
                log.error("what became of the command %s is not reported: the loop takes nothing", report.command)
                return

    def _tick(self) -> Tick:
        return self.process.ticker.tick()

    def _bridge(self) -> MqttBridge:
        return cast("MqttBridge", self.process.bridge)  # there is one in this mode
