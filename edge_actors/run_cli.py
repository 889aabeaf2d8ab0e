"""`tinyml edge run`: runs a device."""

from __future__ import annotations

import gc
import logging
import signal
import sys
from collections.abc import Sequence

from broker.settings import load

from .ports.camera import without_password
from .process import start
from .settings import PREFIX, EdgeSettings
from .status import StatusLine

ABOUT = """Runs a device: takes pictures from a camera, recognises them with what its bundle knows, notices drift,
keeps samples of it for a person, and learns from the labels that come back. It works without a link; what it has to
say waits on disk until the server has stored it.

  tinyml edge run --bundle digits.bundle --device bench-1 --camera pictures/ --broker mqtt://127.0.0.1:1883

Ctrl-C or SIGTERM stops it cleanly, and the next start goes on where it stopped. Settings come from flags, from the
environment, and from a file, in this order."""


def main(argv: Sequence[str]) -> int:
    settings = load(EdgeSettings, argv, prog="tinyml edge run", about=ABOUT, prefix=PREFIX)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return run_device(settings)


def run_device(settings: EdgeSettings) -> int:
    """Runs a device until it is told to stop, and anew where it wants that. Raises TinymlError."""
    signals = _Signals()
    again = True
    while again and not signals.got:
        again = _run_once(settings, signals)
        gc.unfreeze()  # what the device held is to be freed
        gc.collect()
    return 0


def _run_once(settings: EdgeSettings, signals: _Signals) -> bool:
    """Whether the device wants to be run again."""
    process = start(settings)
    for warning in process.bundle.warnings:
        print(f"note: {warning}", file=sys.stderr)
    link = "no link" if settings.mode == "autonomous" else str(settings.address())
    print(
        f"{settings.device} runs: boot {process.spool.boot}, bundle {process.bundle.digest[:12]}, "
        f"camera {without_password(settings.camera)}, {link}, state in {process.state.path}",
        flush=True,
    )
    form = settings.status if settings.status != "auto" else ("text" if sys.stdout.isatty() else "none")
    status = None if form == "none" else StatusLine(process, form)

    def watch() -> None:
        if signals.got:
            process.stop(signals.got)
        if status is not None:
            status()

    process.run(watch)
    print(
        f"{settings.device} {'restarts' if process.again else 'stopped'} ({process.reason}): "
        f"{process.camera.frames} frames, {process.left} records wait for the server",
        flush=True,
    )
    return process.again


class _Signals:
    """Notes that somebody wants the device to stop; a handler may do no more than that."""

    def __init__(self) -> None:
        self.got = ""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: object) -> None:
        self.got = signal.Signals(number).name
        signal.signal(number, signal.SIG_DFL)  # whoever asks twice does not want to wait
