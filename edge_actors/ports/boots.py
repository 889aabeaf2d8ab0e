"""The boots of a state directory: their ids, and how many records each has produced. Tables in the spool's file."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE boots (n INTEGER PRIMARY KEY, boot TEXT NOT NULL UNIQUE, produced INTEGER NOT NULL DEFAULT 0);
"""
KEPT = 64  # boots that are remembered after all their records are stored


class Boots:
    """Works inside the transactions of the spool's file."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.names: dict[int, str] = {}  # small number of a boot -> its id
        self.numbers: dict[str, int] = {}
        self.learn()

    def learn(self) -> None:
        """Reads the ids again."""
        self.names = dict(self._db.execute("SELECT n, boot FROM boots"))
        self.numbers = {boot: n for n, boot in self.names.items()}

    def begin(self, boot: str = "") -> str:
        """Registers a boot, by itself the next of this installation; returns its id."""
        if not boot:
            known = dict(self._db.execute("SELECT key, value FROM meta WHERE key IN ('installation', 'starts')"))
            installation = known.get("installation") or secrets.token_hex(4)
            starts = known.get("starts", 0) + 1
            self.set("installation", installation)
            self.set("starts", starts)
            boot = f"{installation}-{starts:06d}"
        self._db.execute("INSERT OR IGNORE INTO boots (boot) VALUES (?)", (boot,))
        self._db.execute(
            "DELETE FROM boots WHERE n <= (SELECT max(n) FROM boots) - ? AND NOT EXISTS"
            " (SELECT 1 FROM records WHERE id BETWEEN n << 40 AND (n + 1) << 40)",
            (KEPT,),
        )
        return boot

    def count(self, keys: Iterable[tuple[str, int]]) -> None:
        """Notes that these sequence numbers of these boots were produced."""
        highest: dict[str, int] = {}
        for boot, seq in keys:
            highest[boot] = max(seq, highest.get(boot, 0))
        for boot, seq in highest.items():
            self._db.execute("UPDATE boots SET produced = max(produced, ?) WHERE boot = ?", (seq, boot))

    def produced(self) -> dict[str, int]:
        """The highest sequence number each of the latest boots has reached."""
        return dict(self._db.execute("SELECT boot, produced FROM boots ORDER BY n"))

    def set(self, key: str, value: object) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
