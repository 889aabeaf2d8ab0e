"""Waiting for a store that is away, for a while, unless somebody wants to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

import psycopg

from broker.backoff import Backoff

from ..errors import PackageInterrupted, StoreAway
from ..filing import Filing
from ..intake import Record
from ..stores.batch import Letter
from ..stores.events import explained
from ..stores.ports import EventStore, ObjectStore

log = logging.getLogger("tinyml.packages")
T = TypeVar("T")
OBJECTS_S = 10.0


class Patience:
    """Does something again while a store is away, at most `patience_s`."""

    def __init__(self, patience_s: float, stopping: Callable[[], bool]) -> None:
        self.patience_s, self.stopping = patience_s, stopping

    def __call__(self, work: Callable[[], T]) -> T:
        """What `work` returns. Raises its own errors, StoreAway when the time is over, PackageInterrupted."""
        give_up_at = time.monotonic() + self.patience_s
        pauses = Backoff(Random(), 0.1, 2.0)  # noqa: S311  it only spreads attempts
        while True:
            try:
                return work()
            except (StoreAway, psycopg.Error) as error:
                sentence = explained(error) if isinstance(error, psycopg.Error) else error
                final = not isinstance(sentence, StoreAway) or sentence.final
                if final or time.monotonic() > give_up_at:
                    raise sentence from error
                log.warning("%s; trying again", sentence)
                self.go_on()
                time.sleep(pauses.pause())

    def go_on(self) -> None:
        """Raises PackageInterrupted when it is time to stop."""
        if self.stopping():
            raise PackageInterrupted("the package was not finished; bring it again")


class PatientFiling(Filing):
    """Files what a person brought, again where the database did not take it."""

    def __init__(self, events: EventStore, objects: ObjectStore, patiently: Patience) -> None:
        # No other event waits for a package, so the object store gets the time it needs for the pictures.
        super().__init__(events, objects, live=False, patience_s=OBJECTS_S)
        self._patiently = patiently

    def file(self, records: Sequence[Record], letters: Sequence[Letter] = ()) -> list[Letter]:
        file = super().file
        return self._patiently(lambda: file(records, letters))
