"""Puts records into the stores: pictures first, then one transaction. A refused record costs only itself."""

from __future__ import annotations

from collections.abc import Sequence

from .consumers.samples import picture_key
from .errors import RecordRefused
from .intake import Record, gather
from .stores.batch import Batch, Letter
from .stores.ports import EventStore, ObjectStore


class Filing:
    """Raises StoreAway when a store does not answer; then all of it can be filed again, which changes nothing."""

    def __init__(self, events: EventStore, objects: ObjectStore, *, live: bool = True) -> None:
        self.events, self.objects, self.live = events, objects, live
        self.new = 0  # record rows that were not there before

    def file(self, records: Sequence[Record], letters: Sequence[Letter] = ()) -> list[Letter]:
        """Commits everything; returns the dead letters, those given and those that records became."""
        if letters:
            self._commit(Batch(letters=list(letters), live=self.live))
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
        # A row never points to a picture that is not there; a picture without its row is only space.
        for digest, (picture, kind) in batch.pictures.items():
            self.objects.put(picture_key(digest), picture, kind)
        self.new += self.events.store(batch)
