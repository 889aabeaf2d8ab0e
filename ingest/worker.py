"""Takes what has arrived, stores it in one transaction, and only then acknowledges it and says `stored`.

What a worker holds when it dies is lost to nobody: the broker was not told, and the devices keep every record until
they hear that it is stored. So a worker has no state of its own, and there can be any number of them.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from broker import topics
from broker.backoff import Backoff
from broker.codec import encode
from broker.connection import CALLBACK_FAILED, Options
from broker.errors import RefusedError, TinymlError
from broker.messages import DeadLetter, Stored

from .beacon import Beacon
from .errors import IngestError, StoreAway
from .filing import Filing
from .heartbeat import Heartbeat
from .inbox import Arrived, Inbox
from .intake import SPOOLED, Record, read
from .link import Callbacks, Incoming, Link
from .ranges import merged
from .stores.batch import Letter

log = logging.getLogger("tinyml.ingest")
SHARE = "$share/ingest/"
NAP_S = 0.1  # how long the loop may sleep before it looks whether it shall stop
NOT_AUTHORISED = 0x87
STATES = ("/status", "/birth", "/reported")  # how the topics end that a device says only once
MOST_UNCONFIRMED = 10_000  # of what we say to devices
BROKER_PATIENCE_S = 2.0
SAY_S = 0.01  # while messages come thick, devices are told at most so often what is stored
MAX_TOLD = 64 << 10  # of a dead letter's payload, on the topic for people; the database has all of it


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a worker takes at a time and holds at most."""

    batch: int = 4_000
    batch_bytes: int = 8 << 20
    room: int = 16_000
    room_bytes: int = 32 << 20
    pause_cap_s: float = 5.0  # between two attempts to reach a store that is away
    drain_s: float = 5.0  # how long a worker that was told to stop goes on with what it has in hand


class Worker:
    """Stores what arrives until it is stopped, or cannot go on.

    The link's thread reads and checks what comes, while the worker's thread stores the batch before.
    """

    def __init__(
        self,
        filing: Filing,
        options: Options,
        *,
        root: str = topics.ROOT,
        limits: Limits | None = None,
        heartbeat: Heartbeat | None = None,
        connect: Callable[[Options, Callbacks], Link] = Link,
    ) -> None:
        self.filing, self.root = filing, root
        self._heartbeat = heartbeat or Heartbeat("")
        self.limits = limits or Limits()
        self.beacon = Beacon(root)
        self.link = connect(
            replace(options, will=self.beacon.will, manual_ack=True, session_expiry_s=0),
            Callbacks(self._arrived, self._up, self._down, self._published, self._subscribed),
        )
        self.inbox = Inbox(self.limits.room, self.limits.room_bytes, self.link.resume_reading)
        self.beacon.publish = self.link.publish
        self._pauses = Backoff(Random(), 0.1, self.limits.pause_cap_s)  # noqa: S311  it only spreads attempts
        self._stopping = False
        self._overflowed = False
        self._fault = ""
        self._owed: defaultdict[tuple[str, str], list[int]] = defaultdict(list)  # device, boot -> what is stored
        self._said_at = -math.inf

    def stop(self) -> None:
        """Asks the worker to end after what it has in hand; a signal handler may call this."""
        self._stopping = True  # a plain flag: an event's lock could be held by the very thread the signal came to

    def run(self) -> int:
        """Works until `stop`; returns the exit status, which is 0 then."""
        reason, status = "the worker was stopped", 0
        self.link.start()
        try:
            while not self._stopping:
                self._work()
            self._drain()
        except TinymlError as error:
            log.critical("%s", error)
            reason, status = str(error), 1
        except Exception as error:
            # The one broad except of this process. Whoever starts it again sees why it left; devices see that it did.
            log.critical("the worker cannot go on", exc_info=error)
            reason, status = f"the worker failed: {type(error).__name__}", 1
        self.beacon.pause(reason)
        self.link.stop()
        self._heartbeat.stop()
        return status

    # ---- the loop's thread -----------------------------------------------------------------------------------

    def _work(self) -> None:
        self._check_link()
        if arrived := self.inbox.take(self.limits.batch, self.limits.batch_bytes, NAP_S):
            self._handle(arrived)
        elif self._overflowed:
            self._overflowed = False
            self.beacon.lost()

    def _drain(self) -> None:
        """Stores what was taken from the broker, which gives it no more, so that nobody has to send it again."""
        self.beacon.pause("the worker is stopping; it stores what it has in hand")
        self.link.unsubscribe(self._events())
        until = time.monotonic() + self.limits.drain_s
        while time.monotonic() < until:
            arrived = self.inbox.take(self.limits.batch, self.limits.batch_bytes, NAP_S)
            if not arrived or not self._handle(arrived):
                return  # what was stored has been said
        self._say_stored()

    def _check_link(self) -> None:
        self._heartbeat.beat()
        state = self.link.state
        if state.refused:
            raise RefusedError(state.reason)
        if state.reason == CALLBACK_FAILED:
            raise IngestError("the link to the broker ended by a failure of this worker; see above")
        if self._fault:
            raise IngestError(self._fault)

    def _handle(self, arrived: Sequence[Arrived]) -> bool:
        """Stores a batch, and then acknowledges it; False when that has to be left to others."""
        records = [message.taken for message in arrived if type(message.taken) is Record]
        letters = [message.taken for message in arrived if type(message.taken) is Letter]
        filed = self._file_patiently(records, letters)
        if filed is None:
            return False  # stopped while the stores were away: nothing is acknowledged, the devices keep it all
        for session in {message.session for message in arrived}:
            ids = [m.packet_id for m in arrived if m.packet_id is not None and m.session == session]
            self.link.ack_many(session, ids)
        self._owe(records, letters)
        if not len(self.inbox) or time.monotonic() - self._said_at >= SAY_S:
            self._say_stored()
        for letter in filed:
            self._tell_of(letter)
        return True

    def _file_patiently(self, records: list[Record], letters: list[Letter]) -> list[Letter] | None:
        while True:
            try:
                filed = self.filing.file(records, letters)
            except StoreAway as away:
                if self._stopping:
                    return None
                log.warning("%s; trying again", away)
                self._say_stored()
                self.beacon.pause(str(away))
                self._sleep(self._pauses.pause())
            else:
                if not self._stopping:
                    self._pauses.pause(lasted_s=self._pauses.stable_s)
                    self.beacon.listen()
                return filed

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < until:
            self._heartbeat.beat()
            time.sleep(min(NAP_S, seconds))

    def _owe(self, records: Sequence[Record], letters: Sequence[Letter]) -> None:
        """Notes what to tell devices. A dead letter that names its record counts: it is as stored as can be."""
        for record in records:
            if type(record.message) in SPOOLED:
                header = record.header
                self._owed[header.device, header.boot].append(header.seq)
        for letter in letters:
            if letter.boot is not None and letter.seq is not None:
                self._owed[letter.device, letter.boot].append(letter.seq)

    def _say_stored(self) -> None:
        """One message a device and boot, of one batch where it is quiet and of several where they come thick."""
        self._said_at = time.monotonic()
        owed, self._owed = self._owed, defaultdict(list)
        self._wait_for_broker()
        self.link.publish_many(
            [
                (topics.full(device, "stored", self.root), encode(Stored(boot=boot, ranges=merged(numbers))))
                for (device, boot), numbers in owed.items()
            ]
        )

    def _wait_for_broker(self) -> None:
        """Lets a broker that is slow to take what we say catch up a little; it is the brake on what we take."""
        if not self.link.wait_confirmed(MOST_UNCONFIRMED, 0.0):
            self.link.resume_reading()  # or its confirmations would never come
            self.link.wait_confirmed(MOST_UNCONFIRMED, BROKER_PATIENCE_S)

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
        self.link.publish(f"{self.root}/{topics.DEAD}/{device}", encode(told))

    # ---- the connection's thread -----------------------------------------------------------------------------

    def _up(self, _session: int, _present: bool) -> None:
        # Retained messages are not delivered to shared subscriptions, so states are read by every worker.
        states = topics.filters("up", retained=True, root=self.root)
        if self._stopping:
            return
        self.link.subscribe([(name, 1) for name in [*self._events(), *states, self.beacon.topic]])

    def _events(self) -> list[str]:
        share = SHARE if self.link.state.shared_subscriptions else ""
        return [share + name for name in topics.filters("up", retained=False, root=self.root)]

    def _subscribed(self, granted: dict[str, int]) -> None:
        for name, code in granted.items():
            if code >= 0x80:
                self._fault = f"the broker does not let this worker subscribe to {name} (code {code:#x})"
                return
        self.beacon.up()
        log.info("listening at %s as %s", self.link.options.address, self.beacon.worker)

    def _published(self, _mid: int, code: int) -> None:
        if code == NOT_AUTHORISED:
            self._fault = "the broker does not allow this worker to publish; its user needs the rights of ingest"

    def _down(self, reason: str) -> None:
        self.beacon.down()
        if not self._stopping:
            log.warning("no link to the broker: %s", reason)

    def _arrived(self, session: int, messages: Sequence[Incoming]) -> None:
        """Reads what came; nothing of it is believed before `intake.read` has checked it."""
        came: list[Arrived] = []
        at_once: list[int] = []
        crowded = self.inbox.full and not self.link.pause_reading()
        for message in messages:
            topic, payload, packet_id = message.topic, message.payload, message.packet_id
            if topic == self.beacon.topic:
                self.beacon.heard(payload)
            elif crowded and not message.retain and not topic.endswith(STATES):
                # Only paho gets here, which takes what the broker sends. The broker's window is not to be clogged,
                # and the device keeps what we forget; states are few, and nobody sends them again.
                self._overflowed = True
            else:
                came.append(Arrived(read(topic, payload, self.root), len(payload), session, packet_id))
                continue
            if packet_id is not None:
                at_once.append(packet_id)
        if at_once:
            self.link.ack_many(session, at_once)
        if came and not self.inbox.put(came):
            self.link.pause_reading()


def client_id() -> str:
    """A name for this worker's session that no other worker has."""
    return f"ingest-{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(3)}"
