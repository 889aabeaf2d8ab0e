"""`tinyml forget`: erases a device, or one sample of it, everywhere on the server side, and proves it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

import psycopg

from broker import settings as common
from broker.errors import TinymlError, TopicError
from broker.topics import SAMPLE, check_device

from .errors import IngestError
from .keeping.forget import Database, Objects, Place, Subject, last_heard_s
from .keeping.retained import Retained
from .settings import PREFIX, IngestSettings
from .stores.events import connect, explained
from .stores.models import MlflowRegistry
from .stores.objects import open_objects

ABOUT = """\
Erases a device, or one sample of it, everywhere on the server side: rows, pictures, retained topics, runs in the
model registry. Shows what there is, asks, erases, and looks again everywhere; status 1 where something is left.

  tinyml forget device lamp-1           everything that was ever heard of this device
  tinyml forget sample lamp-1 l17-f204  a quarantined sample, its labels, and its picture

What is not erased: what the device itself keeps (its memory, its quarantine, what waits to be sent), backups, logs of
servers, packages that a person carried here and still has, and models that were trained with it. A picture stays if
another sample has the same one. Stop the device first; one that was heard lately is refused, for it would be back at
once. The user at the broker needs to read and write all topics of the device: `_admin` in the access list we ship.
"""
RECENT_S = 600.0


class Runs:
    """The runs that the model registry keeps of a device."""

    name = "registry"

    def __init__(self, registry: MlflowRegistry, device: str) -> None:
        self.registry, self.device = registry, device

    def look(self) -> dict[str, int]:
        count = self.registry.of_device(self.device)
        return {"runs": count} if count else {}

    def erase(self) -> None:
        self.registry.forget_device(self.device)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tinyml forget", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="device|sample")
    for kind, what in (("device", "everything of a device"), ("sample", "one sample of a device")):
        command = kinds.add_parser(
            kind, help=what, description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_argument("device", help="id of the device")
        if kind == "sample":
            command.add_argument("sample", help="id of the sample")
        command.add_argument("--yes", action="store_true", help="do not ask")
        command.add_argument("--force", action="store_true", help="also a device that was heard lately")
        common.add_arguments(command, IngestSettings, PREFIX, only=ASKED)
    arguments = parser.parse_args(argv)
    chosen = common.from_arguments(IngestSettings, arguments, PREFIX)
    subject = _subject(arguments.device, getattr(arguments, "sample", ""))
    try:
        with connect(chosen.database, "tinyml-forget") as connection, Retained(chosen, subject) as retained:
            return _forget(chosen, subject, connection, retained, arguments)
    except psycopg.Error as error:
        raise explained(error) from error


ASKED = frozenset(
    {"broker", "username", "password", "ca_file", "cert_file", "key_file", "root", "database", "objects", "registry"}
)


def _subject(device: str, sample: str) -> Subject:
    check_device(device)
    if sample and not SAMPLE.fullmatch(sample):
        raise TopicError(f"{sample!r} is not a sample id")
    return Subject(device, sample)


def _forget(
    chosen: IngestSettings,
    subject: Subject,
    connection: psycopg.Connection,
    retained: Retained,
    arguments: argparse.Namespace,
) -> int:
    heard_s = last_heard_s(connection, subject.device)
    alive = heard_s is not None and heard_s < RECENT_S
    if alive and not subject.sample and not arguments.force:
        raise IngestError(
            f"{subject.device} was heard {heard_s:.0f} s ago and would be back with its next message; "
            f"stop it and wait {RECENT_S / 60:.0f} minutes, or say --force"
        )
    objects = Objects(connection, open_objects(chosen.objects), subject)
    # Topics last: whoever restores them does so from the rows.
    places: list[Place] = [objects, Database(connection, subject), retained]
    if not subject.sample:
        places.append(Runs(MlflowRegistry(chosen.registry), subject.device))
    found = {place.name: place.look() for place in places}
    if not any(found.values()):
        print(f"there is nothing of {subject}")
        return 0
    _show(f"{subject}:", found)
    if not arguments.yes and not _confirmed(subject):
        print("nothing was erased")
        return 1
    for place in places:
        place.erase()
    left = {place.name: place.look() for place in places}
    if any(left.values()):
        _show(f"erased, but this is left or came back of {subject}:", left)
        return 1
    where = ", ".join(place.name for place in places[:-1])
    print(f"erased, and looked again: nothing of {subject} is left in {where} and {places[-1].name}")
    if alive:
        print(
            f"{subject.device} was heard {heard_s:.0f} s ago; what it sends from now on is stored like anything else"
        )
    return 0


def _show(title: str, found: Mapping[str, Mapping[str, int]]) -> None:
    print(title)
    for place, things in found.items():
        for what, count in things.items():
            print(f"  {place:9} {count:8}  {what}")


def _confirmed(subject: Subject) -> bool:
    if not sys.stdin.isatty():
        raise TinymlError("nobody is there to confirm it; say --yes")
    word = subject.sample or subject.device
    return input(f"Erase all of this for ever? Say {word}: ").strip() == word
