"""Puts records into the stores: pictures first, then one transaction. A refused record costs only itself."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import RecordRefused
from .intake import Record, gather
from .pictures import PATIENCE_S, Pictures
from .stores.batch import Batch, Letter
from .stores.ports import EventStore, ObjectStore
from .stores.traffic import UNREADABLE


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
        if letters:
            batch = Batch(letters=list(letters), live=self.live)
            for letter in letters:
                batch.count(letter.device, UNREADABLE, len(letter.payload))
            self._commit(batch)
        return [*letters, *(self._file(list(records)) if records else ())]

    def _file(self, records: list[Record]) -> list[Letter]:
        batch = Batch(live=self.live)
        batch.letters = gather(records, batch)
        try:
            self._commit(batch)
        except RecordRefused as error:
            if len(records) == 1:
                letter = records[0].refused(str(error))
                self._commit(Batch(letters=[letter], live=self.live))
                return [letter]
            half = len(records) // 2
            return self._file(records[:half]) + self._file(records[half:])
        return batch.letters

    def _commit(self, batch: Batch) -> None:
        # A row never points to a picture that is not there: it is in the object store, or waits beside the row.
        batch.waiting = self.pictures.put(batch.pictures)
        self.new += self.events.store(batch)
