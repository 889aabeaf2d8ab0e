"""`tinyml ingest import`: takes files that a person carried here from devices without a link."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from broker import receipt

from ..errors import IngestError, PackageInterrupted
from ..packages.importer import Importer, Outcome, digest_of
from ..packages.ledger import FAILED, REFUSED, RUNNING, Ledger, Step
from ..packages.records import Ranges, join
from ..packages.tell import messages, tell
from ..settings import IngestSettings
from ..stores.events import PostgresEvents
from ..stores.models import MlflowRegistry
from ..stores.objects import open_objects
from .migrate import bring_up_to_date

ABOUT = """\
Takes files that a person carried here from devices without a link, and says what came of everything in them.

A file can be an export of a spool (tinyml edge export), a sequence of records, a bundle, or an archive (.tar,
.tar.gz, .tar.zst, .zip) of such things and of pictures. What it is is told by its content, whatever it is called.
A picture in an archive is named <device>/<sample>.jpg (or .png, .webp): that says to which sample it belongs.

Records are stored as those that come by MQTT, each once: a file can be imported again, and a device can send the same
records later. Hostile and damaged archives are refused before anything of them is stored.

  tinyml edge export -o lamp.cborseq.gz               on the device
  tinyml ingest import lamp.cborseq.gz                on the server

With --receipt it writes a file for tinyml edge confirm, by which a device that never has a link makes room.

Leaves with status 1 where a step failed or a file was refused; the other files are taken all the same."""
EVERY_S = 5.0  # between two lines of progress where nobody watches a terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.add_argument(
        "--receipt", type=Path, metavar="RECEIPT", help="write down what is stored, for tinyml edge confirm"
    )
    parser.add_argument("file", nargs="+", type=Path, metavar="FILE", help="what was carried here")


def run(chosen: IngestSettings, arguments: argparse.Namespace) -> int:
    """Prints progress as it goes, then a table a file."""
    bring_up_to_date(chosen)
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    screen = Screen()
    status = 0
    with ExitStack() as stack:
        ledger = stack.enter_context(closing(Ledger(chosen.database)))
        events = stack.enter_context(closing(PostgresEvents(chosen.database, application="tinyml-import")))
        importer = Importer(
            ledger=ledger,
            events=events,
            objects=open_objects(chosen.objects),
            registry=MlflowRegistry(chosen.registry),
            limits=chosen.package_limits(),
            root=chosen.root,
            patience_s=chosen.patience_s,
            stopping=lambda: stopping,
            changed=screen.show,
        )
        stored: Ranges = {}
        for path in arguments.file:
            status = max(status, _import(importer, path, screen, stored))
        _tell(chosen, stored)
    if arguments.receipt is not None:
        _write_receipt(arguments.receipt, stored)
    return status


def _import(importer: Importer, path: Path, screen: Screen, stored: Ranges) -> int:
    try:
        package = digest_of(path)
        if not importer.ledger.bring(package, path.name, path.stat().st_size):
            raise IngestError(f"{path}: another process is importing it")
        screen.begin(path.name)
        outcome = importer.work(path, package)
    except PackageInterrupted:
        raise
    except IngestError as error:
        print(f"tinyml ingest: {error}", file=sys.stderr)
        return 1
    screen.end()
    print(table(path.name, outcome))
    for key, ranges in outcome.stored.items():
        stored[key] = join(stored.get(key, ()), ranges)
    return int(outcome.state in (FAILED, REFUSED))


def _tell(chosen: IngestSettings, stored: Ranges) -> None:
    if why := tell(stored, chosen.broker_address(), chosen.root):
        print(
            f"note: devices were not told that their records are stored ({why}); they send them again",
            file=sys.stderr,
        )


def _write_receipt(path: Path, stored: Ranges) -> None:
    """Beside, synced and renamed: a stick that is pulled out holds a whole receipt or none."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(receipt.to_bytes(messages(stored)))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise IngestError(f"{path} cannot be written: {(error.strerror or '').lower()}") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


class Screen:
    """Progress on standard error: one line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._name, self._told_at = "", 0.0
        self._live = sys.stderr.isatty()

    def begin(self, name: str) -> None:
        self._name, self._told_at = name, time.monotonic()

    def show(self, step: Step) -> None:
        now = time.monotonic()
        if step.state != RUNNING or now - self._told_at < (0.2 if self._live else EVERY_S):
            return
        self._told_at = now
        share = f" {100 * step.bytes / step.size:3.0f} %" if step.size else ""
        line = f"{self._name}: {shortened(step.name, 40)}{share}  {step.records:,} records"
        print(f"\r{line}\x1b[K" if self._live else line, end="" if self._live else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def table(name: str, outcome: Outcome) -> str:
    """What came of a package, for people."""
    rows: list[tuple[str, ...]] = [("", "step", "kind", "records", "new", "known", "dead", "what")]
    for step in outcome.steps:
        counts = (step.records, step.new, step.known, step.letters)
        numbers = [f"{count:,}" if count else "" for count in counts]
        rows.append((step.state, shortened(step.name, 48), step.kind, *numbers, shortened(step.reason, 100)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if 3 <= i <= 6 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([f"{name}: {outcome.state}{f', {outcome.reason}' if outcome.reason else ''}", *lines])


def shortened(text: str, most: int) -> str:
    """Text of others as one line that a terminal shows and does not obey."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= most else text[: most - 1] + "…"
