"""Brings pictures into the object store without letting events wait for it.

A batch gives the store a short while for all its pictures together. What is not there by then waits in the database,
in the same transaction as its row; the job `objects` moves it later. A store that fails is left alone for a while.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from .consumers.samples import picture_key
from .errors import IngestError
from .stores.batch import Waiting
from .stores.ports import ObjectStore

log = logging.getLogger("tinyml.ingest")
THREADS = 8  # a put waits for the network; more than these gain little (measured: 960/s with one, 1,530/s with eight)
PATIENCE_S = 0.05
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0  # in which a store that failed is not tried

Put = Callable[[Waiting], object]


class Pictures:
    """`put` never raises and takes hardly longer than the patience, whatever the store does. For one thread."""

    def __init__(
        self,
        objects: ObjectStore,
        patience_s: float = PATIENCE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._putters = Putters(lambda item: objects.put(item.key, item.data, item.type))
        self._patience_s, self._monotonic = patience_s, monotonic
        self._why = ""  # the store failed; empty while it does not
        self._pause_s, self._again_at = FIRST_PAUSE_S, 0.0

    def put(self, pictures: Mapping[str, tuple[bytes, str]]) -> list[Waiting]:
        """Brings pictures (digest -> bytes and type) into the store; returns those that have to wait."""
        items = [Waiting(picture_key(digest), kind, data) for digest, (data, kind) in sorted(pictures.items())]
        if not items:
            return []
        if self._why and self._monotonic() < self._again_at:
            return [item.because(self._why) for item in items]
        if not self._why:
            failed = self._try(items)
        else:  # a store that failed has to take one picture before it gets the others
            failed = self._try(items[:1])
            rest = items[1:]
            failed |= self._try(rest) if rest and not self._why else dict.fromkeys((x.key for x in rest), self._why)
        return [item.because(failed[item.key]) for item in items if item.key in failed]

    def _try(self, items: Sequence[Waiting]) -> dict[str, str]:
        failed = self._putters.put_all(items, self._patience_s)
        self._judge(items, failed)
        return failed

    def _judge(self, tried: Sequence[Waiting], failed: Mapping[str, str]) -> None:
        """A store that took some of them is only slow; one that took none is away."""
        if len(failed) < len(tried):
            if self._why:
                log.info("the object store takes pictures again")
            self._why, self._pause_s = "", FIRST_PAUSE_S
            return
        if not self._why:
            log.warning("%s; pictures wait in the database", next(iter(failed.values())))
        self._why = next(iter(failed.values()))
        self._again_at = self._monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


class Putters:
    """Threads that put objects side by side; a store that hangs keeps them for as long as it likes, and nobody else.

    They are daemons: a process need not wait for a store that hangs before it may end.
    """

    def __init__(self, put: Put, threads: int = THREADS) -> None:
        self._put, self._threads = put, threads
        self._changed = threading.Condition()  # guards what follows
        self._todo: deque[tuple[_Round, Waiting]] = deque()
        self._alive = self._idle = 0

    def put_all(self, items: Sequence[Waiting], patience_s: float) -> dict[str, str]:
        """Why it is not in the store, of each key that is not there when the time is over."""
        one = _Round(len(items))
        with self._changed:
            self._todo.extend((one, item) for item in items)
            for _ in range(min(len(items) - self._idle, self._threads - self._alive)):
                self._alive += 1
                threading.Thread(target=self._work, name="put", daemon=True).start()
            self._changed.notify_all()
            self._changed.wait_for(lambda: one.open == 0, patience_s)
            if one.open:
                self._todo = deque(entry for entry in self._todo if entry[0] is not one)
            late = f"the object store is away: it did not take it within {patience_s:g} s"
            return {item.key: one.ended.get(item.key, late) for item in items if one.ended.get(item.key, late)}

    def _work(self) -> None:
        try:
            while True:
                with self._changed:
                    self._idle += 1
                    self._changed.wait_for(lambda: self._todo)
                    self._idle -= 1
                    one, item = self._todo.popleft()
                try:
                    self._put(item)
                    reason = ""
                except IngestError as error:
                    reason = str(error)
                with self._changed:
                    one.ended[item.key] = reason
                    one.open -= 1
                    self._changed.notify_all()
        finally:
            with self._changed:  # an error that nobody foresaw ends the thread; the next round starts another
                self._alive -= 1


class _Round:
    """What became of the objects of one call."""

    def __init__(self, size: int) -> None:
        self.open = size
        self.ended: dict[str, str] = {}  # key -> why not; "" where it is in the store
