"""`tinyml edge rollback`: makes a stopped device go on from an earlier snapshot."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .bundle import archive
from .errors import BundleError, RollbackError
from .ports.kept_snapshots import chosen, go_back, kept, newest
from .ports.state_directory import StateDirectory
from .snapshot_summary import lost, summary, when
from .state_place import HINT, parser_for, place

ABOUT = f"""Makes an earlier snapshot the one from which the next start goes on. The device has to be stopped.
The other snapshots stay where they are, until newer ones take their place: this can be taken back the same way.

What the device learned since is lost, and is listed before anything happens. Among it may be labels of people: the
server counts them as applied and does not send them again. A snapshot of another bundle than the one that the device
runs is refused: its state means nothing to another feature extractor.

{HINT}"""


def main(argv: Sequence[str]) -> int:
    parser = parser_for("tinyml edge rollback", ABOUT)
    parser.add_argument("snapshot", metavar="SNAPSHOT", help="its id, or its number in the list")
    parser.add_argument(
        "--bundle", type=Path, help="the bundle that the next start runs; default: the one of the newest snapshot"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    arguments = parser.parse_args(argv)
    path, _ = place(arguments)
    state = StateDirectory(path)  # so that no device runs on it meanwhile
    try:
        return _roll_back(path / "snapshots", arguments)
    finally:
        state.release()


def _roll_back(directory: Path, arguments: argparse.Namespace) -> int:
    held = kept(directory)
    latest = newest(held)
    if latest is None:
        raise RollbackError(arguments.snapshot, "no snapshot is whole")
    to = chosen(held, arguments.snapshot, _digest(arguments.bundle) if arguments.bundle else latest.bundle)
    why = f" ({to.reason})" if to.reason else ""
    print(f"back to {to.snapshot}, taken {when(summary(to)) or 'at an unknown time'}{why}; what gets lost:")
    print("\n".join(f"  {sentence}" for sentence in lost(latest, to) or ["nothing"]))
    if not arguments.yes and not _confirmed():
        print("nothing was changed")
        return 1
    again = go_back(directory, to, latest)
    print(f"the next start goes on from {again.snapshot}")
    return 0


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        print("there is nobody to ask: say --yes", file=sys.stderr)
        return False
    return input("go back? [y/N] ").strip().lower() in ("y", "yes")


def _digest(bundle: Path) -> str:
    try:
        return archive.read(bundle.read_bytes(), str(bundle)).digest
    except OSError as error:
        raise BundleError(str(bundle), f"it cannot be read: {error.strerror}") from None
