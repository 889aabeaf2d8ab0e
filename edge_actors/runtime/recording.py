"""Keeps a journal of what the device lets in and of the records it leads to."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace

from broker.errors import JournalError
from broker.journal import Checkpoint, Journal, Opening
from broker.topics import Rank

from ..ports.outbox import Outbox

log = logging.getLogger(__name__)

RETRY_S = 60.0  # of message time, after the journal could not be written


class Outputs:
    """The outbox that the actors get: passes records on, and counts and digests them."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.begin()

    @property
    def boot(self) -> str:
        return self._outbox.boot

    @property
    def next_seq(self) -> int:
        return self._outbox.next_seq

    def append(self, seq: int, rank: Rank, path: str, record: bytes) -> None:
        self.records += 1
        self._digest.update(record)
        self._outbox.append(seq, rank, path, record)

    def begin(self) -> None:
        """Counts from here."""
        self.records = 0
        self._digest = hashlib.sha256()

    def checkpoint(self) -> Checkpoint:
        """The records so far."""
        return Checkpoint(records=self.records, digest=self._digest.digest())


class Recording:
    """Records for a device. A disk that refuses ends a recording, never the device; it is tried again later."""

    def __init__(self, journal: Journal, outputs: Outputs) -> None:
        self._journal, self._outputs = journal, outputs
        self._told = 0  # records of the latest checkpoint
        self._paused_until: float | None = None
        self.sparing = False  # nothing is recorded meanwhile; set by the rim

    @property
    def written_bytes(self) -> int:
        """What this process has recorded."""
        return self._journal.written_bytes

    def faults(self) -> frozenset[str]:
        """What is wrong, by name: journal_failing."""
        return frozenset() if self._paused_until is None else frozenset({"journal_failing"})

    def let_in(self, message: bytes, now: float, opening: Callable[[], Opening | None]) -> None:
        """Records a message before it is delivered; `opening` is asked where a segment begins."""
        if self.sparing:
            self.close()
            return
        if self._paused_until is not None and now < self._paused_until:
            return
        try:
            if not self._journal.has_room(len(message)):
                self._turn(opening)
            self._journal.append(message)
            self._paused_until = None
        except JournalError as error:
            self._pause(error, now)

    def handled(self, now: float, flush: bool) -> None:
        """Records what the message led to."""
        try:
            if self._outputs.records != self._told:
                self._checkpoint()
            if flush:
                self._journal.flush()
        except JournalError as error:
            self._pause(error, now)

    def close(self) -> None:
        """Ends the recording with a checkpoint. The journal may be gone by now; that is only logged."""
        try:
            self._checkpoint()
            self._journal.close()
        except JournalError as error:
            log.warning("%s", error)

    def _turn(self, opening: Callable[[], Opening | None]) -> None:
        self._checkpoint()
        self._journal.close()
        # Asking can make an actor fail, and that is reported: it has to belong to no segment.
        if (made := opening()) is None:
            raise JournalError("an actor cannot give its state")
        self._journal.begin(replace(made, next_seq=self._outputs.next_seq))
        self._outputs.begin()
        self._told = 0

    def _checkpoint(self) -> None:
        self._journal.checkpoint(self._outputs.checkpoint())
        self._told = self._outputs.records

    def _pause(self, error: JournalError, now: float) -> None:
        if self._paused_until is None:
            log.warning("nothing is recorded for now: %s", error)
        self._paused_until = now + RETRY_S
