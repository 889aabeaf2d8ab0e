"""`tinyml replay`: plays a device's journal again and says whether it gives the same records."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from broker.journal import SUFFIX, Item, Opening, read, segments

from . import wiring
from .bundle import Bundle
from .errors import ReplayError
from .runtime.device import Device, Identity
from .runtime.door import Doors
from .runtime.recording import Outputs
from .runtime.replay import NoDisk, replay
from .settings import EdgeSettings

ABOUT = f"""Plays what a device let in into the same actors, and compares the records they yield, byte for byte, with
the digests that the journal keeps. Exit status 0: the same; 1: not, and it says at which message they first differ.

A journal is a directory of segments named NNNNNNNN{SUFFIX}; each holds the state at its beginning and plays alone.
`tinyml decode` prints one, and the records of --out, for a person."""


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tinyml replay", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("journal", type=Path, metavar="JOURNAL", help="a journal's directory, or one segment of it")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle that the device ran")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the records there, as a CBOR sequence")
    parser.add_argument("--from", dest="first", metavar="SEGMENT", help="begin at this segment: its number or name")
    arguments = parser.parse_args(argv)
    items = _items(arguments.journal, arguments.first)
    with ExitStack() as stack:
        try:
            out = stack.enter_context(arguments.out.open("wb")) if arguments.out else None
            report = replay(items, Maker(arguments.bundle), out)
        except OSError as error:
            raise ReplayError(f"{arguments.out} cannot be written: {(error.strerror or '').lower()}") from None
    print(report)
    return 0 if report.difference is None else 1


class Maker:
    """Makes the device that an opening describes. Raises ReplayError, BundleError, SettingsError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bundle: Bundle | None = None

    def __call__(self, opening: Opening, outputs: Outputs) -> Device:
        settings = EdgeSettings.from_text(opening.settings)
        bundle = self._loaded(settings.threads)
        if opening.bundle != bundle.digest:
            wanted, found = opening.bundle[:12], bundle.digest[:12]
            raise ReplayError(f"the journal was recorded with the bundle {wanted}, and {self._path} is {found}")
        identity = Identity(
            device=opening.device, boot=opening.boot, bundle=opening.bundle, settings=opening.settings
        )
        actors = wiring.build(settings, bundle, outputs)
        return Device(actors, Doors(wiring.DOORS), wiring.ROUTES, snapshots=NoDisk(), identity=identity)

    def _loaded(self, threads: int) -> Bundle:
        if self._bundle is None:
            self._bundle = Bundle.load(self._path, threads)
            for warning in self._bundle.warnings:
                print(f"note: {warning}", file=sys.stderr)
        return self._bundle


def _items(journal: Path, first: str | None) -> Iterator[Item]:
    found = segments(journal)
    if first is not None:
        found = found[_place(first, found, journal) :]
    for path in found:
        yield from read(path)


def _place(first: str, found: Sequence[Path], journal: Path) -> int:
    wanted = first.removesuffix(SUFFIX).lstrip("0")
    for place, path in enumerate(found):
        if path.stem.lstrip("0") == wanted:
            return place
    names = ", ".join(path.name for path in found)
    raise ReplayError(f"{journal} has no segment {first}; it has {names}")
