"""One simulated device: a boot, numbered records, a spool, a window, and a link that it uses as a real one does."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from broker import codec, topics
from broker.errors import DecodeError
from broker.messages import (
    Birth,
    Header,
    IngestState,
    LabelAcknowledged,
    LabelAssigned,
    Message,
    SampleQuarantined,
    Status,
    Stored,
)
from broker.mqtt5_protocol import ConnAckPacket, Mqtt5Protocol, PublishPacket
from edge_actors.in_flight import InFlight, Key
from edge_actors.ports.record import Record

from .contents import Life
from .settings import SimulateSettings
from .tally import NOBODY, REFUSED, Tally

AT_ONCE = 50  # records sent in one go
ANSWERED = 512  # labels a device remembers to have answered
LONGEST_WAIT_S = 120.0
SHORTEST_ANSWER_S = 0.1
SYNC_S = 5.0  # from the link to the right time
STOPPED, STORM = "stopped", "storm"  # reasons of links that ended because they were to


class World(Protocol):
    """What happens around the devices."""

    def sample_stored(self, device: str, sample: str) -> None:
        """A person can see this sample now."""

    def label_proved(self, device: str, sample: str) -> None:
        """The server knows that the label was applied."""


@dataclass(slots=True)
class Kept:
    """A record in the spool."""

    record: Record
    made: float  # time.monotonic()
    sample: str = ""  # of a quarantined sample
    answers: str = ""  # the sample whose label it acknowledges
    delivered: bool = False


class Device:
    """Called on the event loop. `protocol` is the link while there is one; `over` is called when it ends."""

    def __init__(
        self,
        name: str,
        life: Life,
        chance: Random,
        installation: str,
        settings: SimulateSettings,
        tally: Tally,
        world: World,
    ) -> None:
        self.name, self.life, self.chance, self.settings = name, life, chance, settings
        self.tally, self.world = tally, world
        self.protocol: Mqtt5Protocol | None = None
        self.over: Callable[[], None] = lambda: None  # called when the link has ended
        self.produced: dict[str, int] = {}  # boot -> highest sequence number
        self.spool: OrderedDict[Key, Kept] = OrderedDict()
        self.in_flight = InFlight(settings.window, 1 << 20, settings.confirm_timeout_s, LONGEST_WAIT_S)
        self.worker, self.listening = "", False
        self.session = 0
        self._up = False
        self._base = f"{settings.root}/{name}/"
        self._stored_topic = self._base + "stored"
        self._state_topic = f"{settings.root}/{topics.INGEST_STATE}"
        self._todo: deque[Key] = deque()
        self._under_way: dict[int, Key] = {}  # packet id -> record
        self._applying: dict[str, int] = {}  # sample -> revision that is being applied
        self._answered: OrderedDict[str, int] = OrderedDict()
        self._installation, self._boots = installation, 0
        self._began_us = round(time.time() * 1e6 - settings.outage_h * 3.6e9)  # wall time of message time 0
        self.boot_anew()

    # ---- its own doing ---------------------------------------------------------------------------------------

    def boot_anew(self) -> None:
        """As after a power cut: another boot, the same spool."""
        self._boots += 1
        self.boot = f"{self._installation}-{self._boots:06}"
        self.session = 0
        self.synced = self.chance.random() >= self.settings.unsynced
        self._applying.clear()

    def make(self, message: Message | None = None, wall_us: int = 0, answers: str = "") -> bool:
        """Spools the next thing it has to say, or this one; False when the spool is full."""
        if len(self.spool) >= self.settings.spool and not answers:
            self.tally.skipped += 1
            return False
        at_us = (wall_us or time.time_ns() // 1000) - self._began_us
        said = self.life.next(self.boot, at_us / 1e6) if message is None else message
        seq = self.produced.get(self.boot, 0) + 1
        data = codec.encode(said, self._header(at_us, seq))
        record = Record(self.boot, seq, topics.rank_of(said), topics.path_of(said), data)
        self.produced[self.boot] = seq
        sample = said.sample if type(said) is SampleQuarantined else ""
        self.spool[record.boot, seq] = Kept(record, time.monotonic(), sample, answers)
        self._todo.append((record.boot, seq))
        self.tally.made += 1
        return True

    def send(self) -> None:
        """Publishes what the window has room for, unless nobody listens."""
        if self.protocol is None or not self.listening:
            return
        records, size = self.in_flight.free
        while self._todo and records > 0 and size > 0:
            batch: list[Kept] = []
            while self._todo and len(batch) < min(records, AT_ONCE):
                if kept := self.spool.get(self._todo.popleft()):
                    batch.append(kept)
            if len(batch) > 1 and self.chance.random() < self.settings.reorder:
                self.chance.shuffle(batch)
            for number, kept in enumerate(batch):
                if not self._publish(kept.record):
                    self._todo.extendleft((left.record.boot, left.record.seq) for left in reversed(batch[number:]))
                    return
            records, size = self.in_flight.free

    def look(self, now: float) -> None:
        """Once a second: what was not confirmed in time is sent again."""
        if self.in_flight.expire(now):
            self.tally.expired += 1
            self._line_up()
        self.send()

    def say_goodbye(self) -> None:
        if self.protocol is not None:
            self._publish_own(Status(state="stopped", session=self.session, reason="the simulation is over"))

    def break_link(self, reason: str) -> None:
        """The link is gone without a word."""
        if self.protocol is not None:
            self.protocol.abort(reason)

    def will(self) -> tuple[str, bytes]:
        status = Status(state="offline", session=self.session, reason="the link broke")
        return self._base + "status", codec.encode(status, self._header(self._now_us()))

    # ---- what the link says (`mqtt5_protocol.Session`) ---------------------------------------------------------

    def connected(self, _connack: ConnAckPacket) -> None:
        assert self.protocol is not None
        self._up = True
        self.tally.connections += 1
        self.tally.connected += 1
        self.tally.most_connected = max(self.tally.most_connected, self.tally.connected)
        self.listening = False  # the link says anew who listens
        self._under_way.clear()
        self.in_flight.forget()
        self._line_up()
        down = topics.filters("down", device=self.name, root=self.settings.root, mode="validated")
        self.protocol.subscribe([(name, 1) for name in (*down, self._state_topic)])
        self._publish_own(Status(state="online", session=self.session))
        self._publish_own(self._birth())
        if not self.synced:
            asyncio.get_running_loop().call_later(SYNC_S, self._sync, self.boot)

    def arrived(self, packets: Sequence[PublishPacket]) -> None:
        assert self.protocol is not None
        self.protocol.ack([packet.packet_id for packet in packets if packet.packet_id is not None])
        for packet in packets:
            self.tally.bytes_down += len(packet.topic) + len(packet.payload)
            try:
                self._hear(packet.topic, packet.payload)
            except DecodeError:
                self.tally.odd += 1
        self.send()

    def confirmed(self, answers: Sequence[tuple[int, int]]) -> None:
        for mid, code in answers:
            key = self._under_way.pop(mid, None)
            if key is None:
                continue  # a status or a birth
            kind = "refused" if code >= REFUSED else "nobody" if code == NOBODY else "taken"
            self.tally.answers[kind] += 1
            if kind == "taken" and (kept := self.spool.get(key)) and not kept.delivered:
                kept.delivered = True
                self.tally.delivered += 1

    def granted(self, _packet_id: int, codes: Sequence[int]) -> None:
        for code in codes:
            if code >= REFUSED:
                self.tally.reasons[f"the broker refuses a subscription ({code:#x})"] += 1

    def closed(self, reason: str, _code: int) -> None:
        wanted = reason in (STOPPED, STORM)
        if self._up:
            self.tally.connected -= 1
            self.tally.dropped += not wanted
        if not wanted:
            self.tally.reasons[reason] += 1
        self.protocol = None
        self._up = self.listening = False
        self.over()

    # ---- inside ----------------------------------------------------------------------------------------------

    def _sync(self, boot: str) -> None:
        self.synced = self.synced or boot == self.boot

    def _now_us(self) -> int:
        return time.time_ns() // 1000 - self._began_us

    def _header(self, at_us: int, seq: int = 0) -> Header:
        wall_us = at_us + self._began_us if self.synced else at_us  # without a clock the year is 1970
        clock = "synced" if self.synced else "unsynced"
        return Header(device=self.name, boot=self.boot, seq=seq, wall_us=wall_us, mono_us=at_us, clock=clock)

    def _birth(self) -> Birth:
        return Birth(
            session=self.session,
            versions={"tinyml": "simulated"},
            actors=("extractor", "knn", "drift_monitor", "quarantine", "adapter"),
            detectors=("cusum",),
            bundle=self.life.bundle,
            report_s=60.0,
        )

    def _publish_own(self, message: Message) -> None:
        data = codec.encode(message, self._header(self._now_us()))
        if self.protocol is not None:
            self.protocol.publish(self._base + topics.path_of(message), data, retain=True)
            self.tally.bytes_up += len(data)

    def _publish(self, record: Record) -> bool:
        assert self.protocol is not None
        topic = self._base + record.path
        times = 2 if self.settings.duplicate and self.chance.random() < self.settings.duplicate else 1
        for _ in range(times):
            mid = self.protocol.publish(topic, record.data)
            if mid is None:
                return False
            self._under_way[mid] = (record.boot, record.seq)
        self.tally.again += self.in_flight.sent(record, time.monotonic())
        self.tally.sent += times
        self.tally.duplicates += times - 1
        self.tally.bytes_up += times * (len(topic) + len(record.data))
        return True

    def _line_up(self) -> None:
        """Everything that is kept and not under way is to be sent, the oldest first."""
        self._todo = deque(key for key in self.spool if key not in self.in_flight)

    def _hear(self, topic: str, payload: bytes) -> None:
        if not payload:
            return  # a retained topic was cleared
        if topic == self._stored_topic:
            self._forget(codec.decode_as(Stored, payload))
        elif topic == self._state_topic:
            state = codec.decode_as(IngestState, payload)
            if state.worker != self.worker:
                self.worker = state.worker
                self.in_flight.forget()
                self._line_up()
            self.listening = state.listening
            self.tally.listened |= state.listening
        elif topic.startswith(self._base + "label/"):
            self._take(codec.decode_as(LabelAssigned, payload))

    def _forget(self, stored: Stored) -> None:
        now = time.monotonic()
        self.in_flight.confirmed(stored.boot, stored.ranges)
        for first, last in stored.ranges:
            for seq in range(first, min(last, self.produced.get(stored.boot, 0)) + 1):
                if kept := self.spool.pop((stored.boot, seq), None):
                    self._stored(kept, now)

    def _stored(self, kept: Kept, now: float) -> None:
        self.tally.stored += 1
        self.tally.delivered += not kept.delivered  # the server can have it from nowhere else
        self.tally.device_to_stored.add(now - kept.made)
        if kept.sample:
            self.world.sample_stored(self.name, kept.sample)
        if kept.answers:
            self.world.label_proved(self.name, kept.answers)

    # ---- labels ----------------------------------------------------------------------------------------------

    def _take(self, label: LabelAssigned) -> None:
        if self._applying.get(label.sample, 0) >= label.revision:
            return  # it came a second time while it is being applied
        self.tally.labels_heard += 1
        self._applying[label.sample] = label.revision
        pause = self.chance.uniform(min(SHORTEST_ANSWER_S, self.settings.answer_s), self.settings.answer_s)
        asyncio.get_running_loop().call_later(pause, self._answer, label, self.boot)

    def _answer(self, label: LabelAssigned, boot: str) -> None:
        if boot != self.boot or self._applying.get(label.sample) != label.revision:
            return  # it was not saved before the power cut, or a newer revision came; the topic has it
        del self._applying[label.sample]
        known = self._answered.get(label.sample, 0)
        outcome = "applied" if label.revision > known else "duplicate"
        self._answered[label.sample] = max(known, label.revision)
        while len(self._answered) > ANSWERED:
            self._answered.popitem(last=False)
        at = self._now_us() / 1e6
        saved = self.life.saved(at, "label")
        self.make(saved)
        told = LabelAcknowledged(
            at=at, sample=label.sample, revision=label.revision, outcome=outcome, snapshot=saved.snapshot
        )
        self.make(told, answers=label.sample)
        self.tally.labels_answered += 1
        self.send()
