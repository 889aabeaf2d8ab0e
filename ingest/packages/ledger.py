"""What is known of packages, in the database: who works on which, and how far each step is."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import psycopg

from ..errors import StoreAway
from ..stores.events import connect, explained
from ..stores.queries import query

WAITING, RUNNING, DONE, FAILED, SKIPPED, REFUSED = "waiting", "running", "done", "failed", "skipped", "refused"


@dataclass(slots=True, kw_only=True)
class Step:
    """One thing that is done with a package."""

    step: int
    name: str
    kind: str
    state: str = WAITING
    reason: str = ""
    device: str = ""
    size: int = 0
    bytes: int = 0
    records: int = 0
    new: int = 0
    known: int = 0
    letters: int = 0


class Ledger:
    """Connects when it is first needed and again after every failure. Raises StoreAway, IngestError."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.worker = secrets.randbelow(2**31 - 1) + 1
        self._connection: psycopg.Connection | None = None

    @property
    def connection(self) -> psycopg.Connection:
        """A connection in autocommit that holds this worker's lock: while it lives, its packages are in hand."""
        if self._connection is None or self._connection.closed:
            try:
                self._connection = connect(self.url, "tinyml-packages")
                self._connection.execute(self._query("hold_worker"), [self.worker])
            except psycopg.Error as error:
                raise explained(error) from error
        return self._connection

    def hold(self) -> None:
        """Holds this worker's lock from now on."""
        _ = self.connection

    def bring(self, package: str, name: str, size: int) -> bool:
        """Takes a package in hand; False while somebody else has it."""
        values = {"package": package, "name": _plain(name), "size": size, "worker": self.worker}
        brought = bool(self._rows("bring", values))
        if brought:
            self._run("forget_steps", values)
        return brought

    def resume(self, package: str) -> str | None:
        """Takes a package in hand whose worker is gone; its name, or None where it is none of those."""
        rows = self._rows("resume", {"package": package, "worker": self.worker})
        return str(rows[0][0]) if rows else None

    def begin(self, package: str) -> str:
        """Work begins, and the steps of an earlier time are forgotten; what the file is called."""
        self._run("forget_steps", {"package": package})
        rows = self._rows("begin_package", {"package": package})
        return str(rows[0][0]) if rows else package

    def opened(self, package: str, kind: str) -> None:
        """How it is packed, and what it is."""
        self._run("open_package", {"package": package, "kind": kind})

    def plan(self, package: str, steps: Iterable[Step]) -> None:
        """Adds the steps that are to be done."""
        try:
            with self.connection.transaction(), self.connection.cursor() as cursor:
                cursor.executemany(self._query("add_step"), [_values(package, step) for step in steps])
        except psycopg.Error as error:
            raise self._failed(error) from error

    def note(self, package: str, step: Step) -> None:
        """How far a step is."""
        self._run("note_step", _values(package, step))

    def end(self, package: str, state: str, reason: str = "") -> None:
        """No more is done: done, failed or refused."""
        self._run("end_package", {"package": package, "state": state, "reason": _plain(reason)})

    def close(self) -> None:
        """Gives the connection and with it the worker's lock back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _run(self, name: str, values: dict[str, object]) -> None:
        try:
            self.connection.execute(self._query(name), values)
        except psycopg.Error as error:
            raise self._failed(error) from error

    def _rows(self, name: str, values: dict[str, object]) -> list[tuple[object, ...]]:
        try:
            return self.connection.execute(self._query(name), values).fetchall()
        except psycopg.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: psycopg.Error) -> Exception:
        if isinstance(sentence := explained(error), StoreAway):
            self.close()
        return sentence

    @staticmethod
    def _query(name: str) -> psycopg.sql.Composed:
        return query(name, package=__package__)


def _values(package: str, step: Step) -> dict[str, object]:
    return {**asdict(step), "package": package, "name": _plain(step.name), "reason": _plain(step.reason)}


def _plain(text: str) -> str:
    """Text that the database takes whatever it says."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()[:2000]
