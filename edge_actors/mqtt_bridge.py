"""Rim: empties the spool upwards while there is a link and somebody listens, and brings labels down.

The device never waits for this. A record leaves the spool only when the server says that it is stored; until then it
is in flight, and is sent again after a while, on every new link, and when the server's worker changes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from broker import codec, topics
from broker.connection import Connection, Delivery, Options, Will
from broker.errors import DecodeError, TooLargeError, TopicError
from broker.messages import Birth, BlobChunk, Header, IngestState, LabelAssigned, Message, Status, Stored, Tick

from .in_flight import InFlight
from .link_budget import FRAMING, LinkBudget
from .ports.record import Record
from .ports.spool import Spool
from .runtime.door import Doors

log = logging.getLogger(__name__)

KEPT_LABELS = 256  # the server has no more of them outstanding for a device
KEPT_ANSWERS = 1024  # a `Stored` that is dropped comes again when its records are sent again
IDLE_S = 0.5  # how long the bridge sleeps when nothing wakes it
AT_ONCE = 50  # records read from the spool in one go
BULK_AT_ONCE = 2  # chunks on their way to the broker: what a record may have to wait for on a slow link
BULK_RANK = topics.Rank.PICTURE  # whose budget on a metered link they use


class Bulk(Protocol):
    """Chunks that the server asked for; for any thread, and nobody waits."""

    def next(self) -> BlobChunk | None: ...

    def unsent(self, chunk: BlobChunk) -> None: ...


class MqttBridge:
    """`options` say where the broker is; will and client id are the bridge's own. `tick` gives the present time.

    `wanted` hears what people want of the device in mode managed, on the connection's thread, and must not wait.
    """

    def __init__(
        self,
        options: Options,
        *,
        device: str,
        birth: Birth,
        spool: Spool,
        doors: Doors,
        tick: Callable[[], Tick],
        mode: str = "validated",
        wanted: Callable[[Message], object] = lambda _message: None,
        root: str = topics.ROOT,
        in_flight: InFlight | None = None,
        budget: LinkBudget | None = None,
        bulk: Bulk | None = None,
    ) -> None:
        self.device, self.birth, self.root = topics.check_device(device), birth, root
        self.mode, self.wanted = mode, wanted
        self.spool, self.doors, self.tick = spool, doors, tick
        self.in_flight = InFlight() if in_flight is None else in_flight
        self.budget = LinkBudget() if budget is None else budget
        self.bulk = bulk
        self.counts: Counter[str] = Counter()
        self.connection = Connection(
            replace(options, client_id=device, will=self._will),
            on_message=self._on_message,
            on_up=self._on_up,
            on_down=self._on_down,
            on_published=self._on_published,
            on_subscribed=self._on_subscribed,
        )
        self._state_topic = f"{root}/{topics.INGEST_STATE}"
        down = topics.filters("down", device=device, root=root, mode=mode)
        self.connection.subscribe([(name, 1) for name in (*down, self._state_topic)])
        self._changed = threading.Condition()  # guards what follows; notified when there is something to do
        self._answers: deque[Stored] = deque(maxlen=KEPT_ANSWERS)
        self._labels: dict[str, LabelAssigned] = {}  # latest revision of each sample that no door has taken yet
        self._ingest: IngestState | None = None
        self._worker = ""  # whom the records in flight were sent to
        self._announce = self._woken = self._stopping = self._holds = False
        self._reported: dict[type[Message], Message] = {}  # what is retained beside status and birth
        self._unsaid: set[type[Message]] = set()  # of these, what the present link has not been told
        self._up_since: float | None = None
        self._chunks: set[int] = set()  # mids of chunks that the broker has not confirmed
        self._refusals: set[str] = set()
        self._device_faults: tuple[str, ...] = ()
        self._told = ""  # the reason for having no link that was logged last
        self._thread = threading.Thread(target=self._run, name="bridge", daemon=True)
        spool.on_written = self.wake

    def start(self) -> None:
        self.connection.start()
        self._thread.start()

    def stop(self, reason: str = "", timeout_s: float = 5.0) -> None:
        """Says goodbye and ends; what is not confirmed stays in the spool."""
        with self._changed:
            self._stopping = True
        self.wake()
        self._thread.join(timeout_s / 2)
        self._say_reports()
        self._publish_own(Status(state="stopped", session=self.connection.state.session, reason=reason))
        self.connection.stop(timeout_s / 2)

    def drain(self, timeout_s: float) -> bool:
        """Waits until everything is stored that may be sent; False when the time is over, or nobody is there."""
        end = time.monotonic() + timeout_s
        while self.spool.stats().records:  # never asked with the lock: the spool's writer wakes the bridge
            left_s = end - time.monotonic()
            if left_s <= 0 or not self._listening() or self._only_held():
                return False
            with self._changed:
                self._changed.wait(min(left_s, IDLE_S))
        return True

    def wake(self) -> None:
        """There may be something to do; safe to call from any thread."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def report(self, message: Message) -> None:
        """What the retained topic of this kind has to say from now on."""
        with self._changed:
            self._reported[type(message)] = message
            self._unsaid.add(type(message))
        self.wake()

    def hold_labels(self, holds: bool) -> None:
        """Whether labels wait here, unacknowledged, for the device to be ready for them."""
        with self._changed:
            self._holds = holds
        self.wake()

    def announce(self, birth: Birth | None = None) -> None:
        """Says anew who the device is and how it is."""
        with self._changed:
            self.birth = birth or self.birth
            self._announce = True
        self.wake()

    def tell_faults(self, faults: Iterable[str]) -> None:
        """What the retained status has to say; it is published anew when that changes."""
        named = tuple(sorted(faults))
        with self._changed:
            if named == self._device_faults:
                return
            self._device_faults = named
        self._say_online()

    def faults(self) -> frozenset[str]:
        """What is wrong: broker_refuses, publish_refused, subscribe_refused, record_too_large."""
        with self._changed:
            named = set(self._refusals)
        if self.connection.state.refused:
            named.add("broker_refuses")
        if self.in_flight.parked:
            named.add("record_too_large")
        return frozenset(named)

    def metrics(self) -> dict[str, float]:
        with self._changed:
            since = self._up_since
            counts = dict(self.counts)
        return {
            "link_up_s": 0.0 if since is None else time.monotonic() - since,
            "link_sessions": float(self.connection.state.session),
            "uplink_in_flight": float(len(self.in_flight)),
            "labels_waiting": float(len(self._labels)),
            **self.budget.metrics(),
            **{name: float(count) for name, count in counts.items()},
        }

    # ---- on the connection's thread ----------------------------------------------------------------------------

    def _on_up(self, _session: int, _present: bool) -> None:
        with self._changed:
            self._announce = True
            self._unsaid = set(self._reported)
            self._up_since = time.monotonic()
        self.wake()

    def _on_down(self, _reason: str) -> None:
        with self._changed:
            self._up_since = self._ingest = None  # the next link says anew who listens
            self._chunks.clear()  # the server asks again for those that did not arrive

    def _on_published(self, mid: int, code: int) -> None:
        with self._changed:
            if mid in self._chunks:
                self._chunks.discard(mid)
                self._woken = True
                self._changed.notify_all()
        if code >= 0x80:
            self._refused("publish_refused", f"the broker refuses what the device publishes (0x{code:02x})")

    def _on_subscribed(self, granted: dict[str, int]) -> None:
        for name, code in granted.items():
            if code >= 0x80:
                self._refused("subscribe_refused", f"the broker refuses the subscription to {name} (0x{code:02x})")

    def _refused(self, fault: str, sentence: str) -> None:
        with self._changed:
            if fault not in self._refusals:
                log.warning("%s", sentence)
            self._refusals.add(fault)

    def _on_message(self, topic: str, payload: bytes, _delivery: Delivery) -> None:
        if not payload:  # a retained topic was cleared, which means nothing else
            return
        try:
            if topic == self._state_topic:
                self._heard(codec.decode_as(IngestState, payload))
            else:
                address = topics.parse(topic, self.root)
                self._came_down(address, codec.decode_as(address.topic.kinds, payload))
        except (DecodeError, TopicError) as error:
            self.counts["down_undecodable"] += 1
            log.warning("what came on %s is ignored: %s", topic, error)

    def _heard(self, state: IngestState) -> None:
        with self._changed:
            self._ingest = state
        self.wake()

    def _came_down(self, address: topics.Address, message: Message) -> None:
        if not topics.taken_in(address.topic, self.mode):
            return  # an earlier session of this device was in another mode, and the broker remembers
        address.check(message)
        with self._changed:
            if isinstance(message, Stored):
                self._answers.append(message)
                self._refusals.discard("publish_refused")
            elif isinstance(message, LabelAssigned):
                self._keep(message)
            else:
                self.wanted(message)
        self.wake()

    def _keep(self, label: LabelAssigned) -> None:
        known = self._labels.get(label.sample)
        if known is None and len(self._labels) >= KEPT_LABELS:
            self.counts["labels_dropped"] += 1  # it is retained: the next link brings it again
        elif known is None or label.revision > known.revision:
            self._labels[label.sample] = label

    # ---- on the bridge's thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._woken or self._stopping, IDLE_S)
                self._woken = False
                if self._stopping:
                    return
                announce, self._announce = self._announce, False
                birth = self.birth
            if announce:
                self.in_flight.forget()
                self._say_online()
                self._publish_own(replace(birth, session=self.connection.state.session))
            self._say_reports()
            self._take_answers()
            self._deliver_labels()
            self._send()
            self._send_bulk()
            self._tell_no_link()

    def _take_answers(self) -> None:
        stored: dict[str, list[tuple[int, int]]] = {}
        while self._answers:
            answer = self._answers.popleft()
            stored.setdefault(answer.boot, []).extend(answer.ranges)
        for boot, ranges in stored.items():  # all in one go: every transaction is a write to an SD card
            confirmed = self.spool.confirm(boot, ranges)
            self.in_flight.confirmed(boot, ranges)
            with self._changed:
                self.counts["uplink_confirmed"] += confirmed
                self._changed.notify_all()

    def _deliver_labels(self) -> None:
        with self._changed:
            labels = [] if self._holds else list(self._labels.values())
        for label in labels:
            if not self.doors.post(label):
                return  # the door is full; the label is kept and tried again
            with self._changed:
                self.counts["labels_in"] += 1
                if self._labels.get(label.sample) is label:
                    del self._labels[label.sample]

    def _send(self) -> None:
        with self._changed:
            if not self._listening():
                return
            worker = self._ingest.worker if self._ingest else ""
        if worker != self._worker:
            self._worker = worker
            self.in_flight.forget()
        self.counts["uplink_expired"] += self.in_flight.expire(time.monotonic())
        while batch := self._next_batch():
            for record in batch:
                if not self._publish(record):
                    return

    def _listening(self) -> bool:
        return self._up_since is not None and self._ingest is not None and self._ingest.listening

    def _only_held(self) -> bool:
        """Whether all that waits is what the budget of the link holds back."""
        if not self.budget.holding or len(self.in_flight):
            return False
        return not self.spool.next(1, 1, self.in_flight, self.budget.open(self.tick()))

    def _next_batch(self) -> list[Record]:
        records, size = self.in_flight.free
        ranks = self.budget.open(self.tick())
        if records <= 0 or size <= 0 or not ranks:
            return []
        batch = self.spool.next(min(records, AT_ONCE), size, self.in_flight, ranks)
        if len(self.in_flight) and batch and len(batch[0].data) > size:
            return []  # a large one waits until it has the window for itself
        return batch

    def _publish(self, record: Record) -> bool:
        """Sends a record, unless the link's budget holds it back; False when there is no link any more."""
        topic = f"{self.root}/{self.device}/{record.path}"
        size = len(topic) + len(record.data) + FRAMING
        if not self.budget.admits(record.rank, size):
            return True
        try:
            mid = self.connection.publish(topic, record.data)
        except TooLargeError as error:
            log.warning("record %d of boot %s stays on the device: %s", record.seq, record.boot, error)
            self.in_flight.park(record)
            return True
        if mid is None:
            return False
        self.budget.sent(record.rank, size)
        again = self.in_flight.sent(record, time.monotonic())
        with self._changed:
            self.counts["uplink_resent" if again else "uplink_published"] += 1
            self.counts[f"uplink_{record.path.partition('/')[0]}_bytes"] += len(record.data)
        return True

    def _send_bulk(self) -> None:
        """Sends chunks while no record could be sent; the budget holds them back like pictures."""
        records, size = self.in_flight.free
        while self.bulk is not None and records > 0 and size > 0 and BULK_RANK in self.budget.open(self.tick()):
            with self._changed:
                if not self._listening() or len(self._chunks) >= BULK_AT_ONCE:
                    return
            chunk = self.bulk.next()
            if chunk is None or not self._publish_chunk(self.bulk, chunk):
                return

    def _publish_chunk(self, bulk: Bulk, chunk: BlobChunk) -> bool:
        """Sends a chunk; False where it has to wait."""
        topic = f"{self.root}/{self.device}/{topics.path_of(chunk)}"
        data = codec.encode(chunk, self._header())
        size = len(topic) + len(data) + FRAMING
        if not self.budget.admits(BULK_RANK, size):
            bulk.unsent(chunk)
            return False
        try:
            with self._changed:  # the broker may confirm it before `publish` returns
                mid = self.connection.publish(topic, data)
                if mid is not None:
                    self._chunks.add(mid)
                    self.counts["uplink_chunks"] += 1
                    self.counts["uplink_blob_bytes"] += len(data)
        except TooLargeError as error:
            log.warning("a chunk of %.12s stays on the device: %s", chunk.sha256, error)
            return True
        if mid is None:
            bulk.unsent(chunk)
            return False
        self.budget.sent(BULK_RANK, size)
        return True

    def _tell_no_link(self) -> None:
        state = self.connection.state
        if state.reason != self._told:
            self._told = state.reason
            if state.reason:
                log.log(logging.WARNING if state.refused else logging.INFO, "no link: %s", state.reason)

    # ---- what the device says of itself ------------------------------------------------------------------------

    def _say_online(self) -> None:
        with self._changed:
            faults = self._device_faults
        self._publish_own(Status(state="online", session=self.connection.state.session, faults=faults))

    def _say_reports(self) -> None:
        with self._changed:
            unsaid = {kind: self._reported[kind] for kind in self._unsaid}
        for kind, message in unsaid.items():
            if self._publish_own(message):
                with self._changed:
                    if self._reported[kind] is message:
                        self._unsaid.discard(kind)

    def _publish_own(self, message: Message) -> bool:
        """Publishes what is retained; False when there is no link."""
        path = topics.path_of(message)
        data = codec.encode(message, self._header())
        topic = f"{self.root}/{self.device}/{path}"
        if self.connection.publish(topic, data, retain=True) is None:
            return False
        self.budget.sent(topics.Rank.VITAL, len(topic) + len(data) + FRAMING)
        with self._changed:
            self.counts[f"uplink_{path.partition('/')[0]}_bytes"] += len(data)
        return True

    def _will(self, session: int) -> Will:
        status = Status(state="offline", session=session, reason="the link broke", faults=self._device_faults)
        return Will(topics.full(self.device, "status", self.root), codec.encode(status, self._header()))

    def _header(self) -> Header:
        now = self.tick()
        return Header(
            device=self.device,
            boot=self.spool.boot,
            wall_us=now.wall_us,
            mono_us=round(now.at * 1e6),
            clock=now.clock,
        )
