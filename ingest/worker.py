"""Takes what has arrived, stores it in one transaction, and only then acknowledges it and says `stored`.

What a worker holds when it dies is lost to nobody: the broker was not told, and the devices keep every record until
they hear that it is stored. So a worker has no state of its own, and there can be any number of them.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from broker import topics
from broker.backoff import Backoff
from broker.codec import encode
from broker.connection import CALLBACK_FAILED, Connection, Delivery, Options
from broker.errors import RefusedError, TinymlError
from broker.messages import DeadLetter, Stored

from .beacon import Beacon
from .errors import IngestError, StoreAway
from .filing import Filing
from .inbox import Arrived, Inbox
from .intake import Record, read
from .ranges import merged
from .stores.batch import Letter

log = logging.getLogger("tinyml.ingest")
SHARE = "$share/ingest/"
NAP_S = 0.1  # how long the loop may sleep before it looks whether it shall stop
NOT_AUTHORISED = 0x87
MAX_TOLD = 64 << 10  # of a dead letter's payload, on the topic for people; the database has all of it


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a worker takes at a time and holds at most."""

    batch: int = 2_000
    batch_bytes: int = 16 << 20
    room: int = 10_000
    room_bytes: int = 64 << 20
    pause_cap_s: float = 5.0  # between two attempts to reach a store that is away


class Worker:
    """Stores what arrives until it is stopped, or cannot go on."""

    def __init__(self, filing: Filing, options: Options, *, root: str = topics.ROOT, limits: Limits | None = None):
        self.filing, self.root = filing, root
        self.limits = limits or Limits()
        self.inbox = Inbox(self.limits.room, self.limits.room_bytes)
        self.beacon = Beacon(root)
        self.connection = Connection(
            replace(options, will=self.beacon.will, manual_ack=True, session_expiry_s=0),
            on_message=self._arrived,
            on_up=self._up,
            on_down=self._down,
            on_subscribed=self._subscribed,
            on_published=self._published,
        )
        self.beacon.publish = self.connection.publish
        self._pauses = Backoff(Random(), 0.1, self.limits.pause_cap_s)  # noqa: S311  it only spreads attempts
        self._stopping = False
        self._overflowed = False
        self._fault = ""

    def stop(self) -> None:
        """Asks the worker to end after the batch in hand; a signal handler may call this."""
        self._stopping = True  # a plain flag: an event's lock could be held by the very thread the signal came to

    def run(self) -> int:
        """Works until `stop`; returns the exit status, which is 0 then."""
        reason, status = "the worker was stopped", 0
        self.connection.start()
        try:
            while not self._stopping:
                self._work()
        except TinymlError as error:
            log.critical("%s", error)
            reason, status = str(error), 1
        except Exception as error:
            # The one broad except of this process. Whoever starts it again sees why it left; devices see that it did.
            log.critical("the worker cannot go on", exc_info=error)
            reason, status = f"the worker failed: {type(error).__name__}", 1
        self.beacon.pause(reason)
        self.connection.stop()
        return status

    # ---- the loop's thread -----------------------------------------------------------------------------------

    def _work(self) -> None:
        self._check_link()
        if arrived := self.inbox.take(self.limits.batch, self.limits.batch_bytes, NAP_S):
            self._handle(arrived)
        elif self._overflowed:
            self._overflowed = False
            self.beacon.lost()

    def _check_link(self) -> None:
        state = self.connection.state
        if state.refused:
            raise RefusedError(state.reason)
        if state.reason == CALLBACK_FAILED:
            raise IngestError("the link to the broker ended by a failure of this worker; see above")
        if self._fault:
            raise IngestError(self._fault)

    def _handle(self, arrived: Sequence[Arrived]) -> None:
        taken = [read(message.topic, message.payload, self.root) for message in arrived]
        records = [item for item in taken if isinstance(item, Record)]
        letters = [item for item in taken if isinstance(item, Letter)]
        filed = self._file_patiently(records, letters)
        if filed is None:
            return  # stopped while the stores were away: nothing is acknowledged, the devices keep it all
        for message in arrived:
            self.connection.ack(message.delivery)
        self._say_stored(records, letters)
        for letter in filed:
            self._tell_of(letter)

    def _file_patiently(self, records: list[Record], letters: list[Letter]) -> list[Letter] | None:
        while not self._stopping:
            try:
                filed = self.filing.file(records, letters)
            except StoreAway as away:
                log.warning("%s; trying again", away)
                self.beacon.pause(str(away))
                self._sleep(self._pauses.pause())
            else:
                self._pauses.pause(lasted_s=self._pauses.stable_s)
                self.beacon.listen()
                return filed
        return None

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < until:
            time.sleep(min(NAP_S, seconds))

    def _say_stored(self, records: Sequence[Record], letters: Sequence[Letter]) -> None:
        """One message a device and boot. A dead letter that names its record counts: it is as stored as can be."""
        stored: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for record in records:
            if record.spooled:
                stored[record.header.device, record.header.boot].append(record.header.seq)
        for letter in letters:
            if letter.boot is not None and letter.seq is not None:
                stored[letter.device, letter.boot].append(letter.seq)
        for (device, boot), numbers in stored.items():
            topic = topics.full(device, "stored", self.root)
            self.connection.publish(topic, encode(Stored(boot=boot, ranges=merged(numbers))))

    def _tell_of(self, letter: Letter) -> None:
        device = letter.device or "_unknown"
        log.warning("dead letter from %s: %s", device, letter.reason)
        told = DeadLetter(
            where="ingest",
            topic=letter.topic,
            kind=letter.kind,
            reason=letter.reason,
            payload=letter.payload[:MAX_TOLD],
        )
        self.connection.publish(f"{self.root}/{topics.DEAD}/{device}", encode(told))

    # ---- the connection's thread -----------------------------------------------------------------------------

    def _up(self, _session: int, _present: bool) -> None:
        # Retained messages are not delivered to shared subscriptions, so states are read by every worker.
        share = SHARE if self.connection.state.shared_subscriptions else ""
        events = [share + name for name in topics.filters("up", retained=False, root=self.root)]
        states = topics.filters("up", retained=True, root=self.root)
        self.connection.subscribe([(name, 1) for name in [*events, *states, self.beacon.topic]])

    def _subscribed(self, granted: dict[str, int]) -> None:
        for name, code in granted.items():
            if code >= 0x80:
                self._fault = f"the broker does not let this worker subscribe to {name} (code {code:#x})"
                return
        self.beacon.up()
        log.info("listening at %s as %s", self.connection.options.address, self.beacon.worker)

    def _published(self, _mid: int, code: int) -> None:
        if code == NOT_AUTHORISED:
            self._fault = "the broker does not allow this worker to publish; its user needs the rights of ingest"

    def _down(self, reason: str) -> None:
        self.beacon.down()
        if not self._stopping:
            log.warning("no link to the broker: %s", reason)

    def _arrived(self, topic: str, payload: bytes, delivery: Delivery) -> None:
        if topic == self.beacon.topic:
            self.beacon.heard(payload)
            self.connection.ack(delivery)
            return
        state = delivery.retain or topic.endswith(
            ("/status", "/birth", "/reported")
        )  # few, and nobody sends them again
        if not self.inbox.put(Arrived(topic, payload, delivery), always=state):
            # Only a broker that does not know our receive maximum gets here. Its window is not to be clogged, and
            # the device keeps what we forget.
            self._overflowed = True
            self.connection.ack(delivery)


def client_id() -> str:
    """A name for this worker's session that no other worker has."""
    return f"ingest-{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(3)}"
