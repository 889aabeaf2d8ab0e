"""Puts records into the stores: pictures first, then one transaction. A refused record costs only itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .errors import RecordRefused
from .intake import Record, gather
from .pictures import PATIENCE_S, Pictures
from .stores.batch import Batch, Letter
from .stores.ports import EventStore, ObjectStore
from .stores.traffic import UNREADABLE

PIECES = 4  # into how many a batch is cut when one of its records is refused and nobody knows which

LARGE = 2000  # bytes of a record; an entry of an index may have 2700


class Filing:
    """Raises StoreAway when the database does not answer; then all of it can be filed again, which changes nothing.

    An object store that does not answer only delays the pictures: they wait in the database.
    """

    def __init__(
        self, events: EventStore, objects: ObjectStore, *, live: bool = True, patience_s: float = PATIENCE_S
    ) -> None:
        self.events, self.pictures, self.live = events, Pictures(objects, patience_s), live
        self.new = 0  # record rows that were not there before

    def file(self, records: Sequence[Record], letters: Sequence[Letter] = ()) -> list[Letter]:
        """Commits everything; returns the dead letters, those given and those that records became."""
        return [*letters, *self._file(records, letters)]

    def _file(self, records: Sequence[Record], letters: Sequence[Letter] = ()) -> list[Letter]:
        """In one transaction if that can be; returns the dead letters that records became."""
        if not records and not letters:
            return []
        batch = Batch(live=self.live)
        for letter in letters:
            batch.count(letter.device, UNREADABLE, len(letter.payload))
        refused = gather(records, batch)
        batch.letters = [*letters, *refused]
        try:
            self._commit(batch)
        except RecordRefused as refusal:
            return self._sift(records, letters, refusal)
        return refused

    def _sift(self, records: Sequence[Record], letters: Sequence[Letter], refusal: RecordRefused) -> list[Letter]:
        """Buries what cannot be stored, and stores the rest in as few transactions as can be."""
        if bad := _certain(records, refusal):
            buried = [record.refused(str(refusal)) for record in bad]
            known = set(map(id, bad))
            rest = [record for record in records if id(record) not in known]
            return buried + self._file(rest, [*letters, *buried])
        pieces = _pieces(records, refusal.table)
        became = self._file(pieces[0], letters)
        for piece in pieces[1:]:
            became += self._file(piece)
        return became

    def _commit(self, batch: Batch) -> None:
        # A row never points to a picture that is not there: it is in the object store, or waits beside the row.
        batch.waiting = self.pictures.put(batch.pictures)
        self.new += self.events.store(batch)


def _certain(records: Sequence[Record], refusal: RecordRefused) -> list[Record]:
    """Those that the refusal means without doubt: the only one, or the only one that has a key it names."""
    if len(records) == 1:
        return list(records)
    having = Counter(record.key for record in records if record.key in refusal.keys)
    return [record for record in records if having[record.key] == 1]


def _pieces(records: Sequence[Record], table: str) -> list[Sequence[Record]]:
    """All of them again: together those that are above suspicion, and in a few pieces those that are not.

    Suspect is what writes to the table (to none, if it is ""), and of that the large ones, where there are some: what
    the database alone refuses is nearly always too long for an index.
    """
    suspects = [record for record in records if table in _touched(record)] or list(records)
    suspects = [record for record in suspects if len(record.payload) > LARGE] or suspects
    known = set(map(id, suspects))
    others = [record for record in records if id(record) not in known]
    size = -(-len(suspects) // PIECES)
    pieces: list[Sequence[Record]] = [suspects[at : at + size] for at in range(0, len(suspects), size)]
    return [others, *pieces] if others else pieces


def _touched(record: Record) -> set[str]:
    """The names of the tables that a record has rows in; "" where it changes something else only."""
    alone = Batch()
    gather([record], alone)
    return {table.name for table in alone.rows} or {""}
