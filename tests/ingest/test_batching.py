"""Whatever comes in whatever order, and wherever the store fails: stored once, acknowledged and confirmed after that.

The worker is the real one; its link and its store are played here, so that every step can go wrong and be looked at.
At the end the same sequences run against the real database.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.address import BrokerAddress
from broker.codec import decode_as, encode
from broker.connection import State
from broker.messages import DeadLetter, DriftDetected, Float32Array, IngestState, LogRecord, Status, Stored, Telemetry
from broker.mqtt import Options
from ingest.errors import RecordRefused, StoreAway
from ingest.fast_link import Callbacks
from ingest.filing import Filing
from ingest.link import Link
from ingest.stores.batch import Batch
from ingest.stores.events import PostgresEvents
from ingest.stores.objects import Folder
from ingest.stores.ports import EventStore
from ingest.worker import Limits, Worker
from tests.records import header, sent

Key = tuple[str, str, int]  # device, boot, number
NUL = "a\0b"  # what the database alone refuses
BOOTS = ("0a1b2c3d-000001", "0a1b2c3d-000002")
GOOD = ("drift", "log", "telemetry")
NAMED = ("nul", "uneven", "misplaced")  # poison that says which record it is: it counts as stored
NAMELESS = ("garbage",)


class Came(NamedTuple):
    """A message as a link brings it."""

    topic: str
    payload: bytes
    packet_id: int | None
    retain: bool = False


def made(key: Key, kind: str) -> tuple[str, bytes]:
    """Topic and payload of a record of this kind."""
    device, boot, seq = key
    what: dict[str, Callable[[], tuple[str, bytes]]] = {
        "drift": lambda: sent(DriftDetected(at=float(seq), episode="e"), seq, device, boot),
        "log": lambda: sent(LogRecord(at=float(seq), text="fine"), seq, device, boot),
        "telemetry": lambda: sent(
            Telemetry(names=("a",), ages=Float32Array.of([0]), values=Float32Array.of([seq])), seq, device, boot
        ),
        "nul": lambda: sent(LogRecord(text=NUL), seq, device, boot),
        "uneven": lambda: sent(Telemetry(names=("a",), values=Float32Array.of([1])), seq, device, boot),
        "misplaced": lambda: (f"tinyml/{device}/log", encode(DriftDetected(), header(seq, device, boot))),
        "garbage": lambda: (f"tinyml/{device}/drift", b"\xff garbage of %d" % seq),
    }
    return what[kind]()


class Memory:
    """An event store in memory that refuses what a database would, and fails when it is told to."""

    def __init__(self, failures: Sequence[str] = ()) -> None:
        self.rows: Counter[Key] = Counter()
        self.letters: dict[tuple[str, str], Key | None] = {}
        self.failures = list(failures)  # of the next calls: "", "before" the commit, or "after" it
        self.names_rows = True  # whether a refusal says which rows it means

    def store(self, batch: Batch) -> int:
        failure = self.failures.pop(0) if self.failures else ""
        if failure == "before":
            raise StoreAway("database", "it went before the commit")
        for table, rows in batch.rows.items():
            if bad := frozenset(cast(Key, row[:3]) for row in rows if NUL in row):
                raise RecordRefused("a NUL", table.name, bad if self.names_rows else frozenset())
        new = {cast(Key, row[:3]) for rows in batch.rows.values() for row in rows} - self.rows.keys()
        self.rows.update(new)
        for letter in batch.letters:
            named = (letter.device, letter.boot, letter.seq) if letter.boot and letter.seq else None
            self.letters[letter.device, letter.digest] = named
        if failure == "after":
            raise StoreAway("database", "nobody heard that it was committed")
        return len(new)

    def done(self) -> set[Key]:
        """What a device may forget."""
        return set(self.rows) | {key for key in self.letters.values() if key}

    def level(self) -> str:
        return "plain"

    def close(self) -> None:
        """Nothing to close."""


class Failing:
    """A real store that goes away before or after a commit."""

    def __init__(self, inner: PostgresEvents, failures: Sequence[str]) -> None:
        self.inner, self.failures = inner, list(failures)

    def store(self, batch: Batch) -> int:
        failure = self.failures.pop(0) if self.failures else ""
        if failure == "before":
            raise StoreAway("database", "it went before the commit")
        new = self.inner.store(batch)
        if failure == "after":
            raise StoreAway("database", "nobody heard that it was committed")
        return new

    def level(self) -> str:
        return self.inner.level()

    def close(self) -> None:
        self.inner.close()


@dataclass
class PlayedLink:
    """A broker and devices: remembers what was acknowledged and said, and checks both against the store."""

    callbacks: Callbacks
    committed: Callable[[], set[Key]]
    session: int = 1
    sent: dict[int, tuple[str, bytes, Key | None]] = field(default_factory=dict)  # packet id -> in flight
    confirmed: set[Key] = field(default_factory=set)
    dead: list[DeadLetter] = field(default_factory=list)
    acknowledged: int = 0
    paused: bool = False
    can_pause: bool = True
    states: list[IngestState] = field(default_factory=list)

    @property
    def state(self) -> State:
        return State(connected=True, session=self.session, protocol="5", reason="", shared_subscriptions=True)

    def deliver(self, *messages: tuple[str, bytes, Key | None]) -> None:
        first = max(self.sent, default=0) + 1
        self.sent |= dict(enumerate(messages, first))
        self.callbacks.on_messages(
            self.session, [Came(topic, payload, mid) for mid, (topic, payload, _) in enumerate(messages, first)]
        )

    def breaks(self) -> None:
        self.session += 1
        self.sent.clear()

    def ack_many(self, session: int, packet_ids: Sequence[int]) -> bool:
        if session != self.session:
            return False
        done = self.committed()
        for mid in packet_ids:
            key = self.sent.pop(mid)[2]
            assert key is None or key in done, "acknowledged before it was committed"
            self.acknowledged += 1
        return True

    def publish_many(self, said: Sequence[tuple[str, bytes]]) -> bool:
        done = self.committed()
        for topic, payload in said:
            answer = decode_as(Stored, payload)
            keys = {(topic.split("/")[1], answer.boot, seq) for a, b in answer.ranges for seq in range(a, b + 1)}
            assert keys <= done, "a device would forget what is not committed"
            self.confirmed |= keys
        return True

    def publish(self, topic: str, payload: bytes, _qos: int = 1, _retain: bool = False) -> int:
        if topic.startswith("tinyml/_dead/"):
            self.dead.append(decode_as(DeadLetter, payload))
        else:
            self.states.append(decode_as(IngestState, payload))
        return 1

    def pause_reading(self) -> bool:
        self.paused = self.can_pause
        return self.can_pause

    def resume_reading(self) -> None:
        self.paused = False

    def wait_confirmed(self, _at_most: int, _timeout_s: float) -> bool:
        return True


class Play:
    """A worker between a played link and a store, one step at a time."""

    def __init__(self, events: EventStore, committed: Callable[[], set[Key]], folder: Path, **limits: int) -> None:
        self.links: list[PlayedLink] = []

        def connect(_: Options, callbacks: Callbacks) -> Link:
            self.links.append(PlayedLink(callbacks, committed))
            return cast(Link, self.links[-1])

        options = Options(address=BrokerAddress(), client_id="played")
        chosen: Any = {"pause_cap_s": 0.0, **limits}
        self.worker = Worker(Filing(events, Folder(folder)), options, limits=Limits(**chosen), connect=connect)
        (self.link,) = self.links

    def work(self) -> None:
        while len(self.worker.inbox):
            self.worker._work()

    def run(self, content: dict[Key, str], steps: Sequence[tuple[str, list[Key]]]) -> None:
        """Plays the steps; then devices send what was not confirmed until everything is."""
        for what, keys in steps:
            messages = [(*made(key, content[key]), None if content[key] in NAMELESS else key) for key in keys]
            self.link.deliver(*messages)
            if what == "break":
                self.link.breaks()
            if what != "wait":
                self.worker._work()
        self.work()
        wanted = {key for key, kind in content.items() if kind not in NAMELESS}
        sent = {key for _, keys in steps for key in keys}
        for _ in range(3):
            missing = sorted((wanted & sent) - self.link.confirmed)
            self.link.deliver(*((*made(key, content[key]), key) for key in missing))
            self.work()
        assert self.link.confirmed == wanted & sent
        assert not self.link.sent, "something was never acknowledged"
        assert not self.worker.inbox.full


KEYS = st.tuples(st.sampled_from(["lamp-1", "lamp-2", "lamp-3"]), st.sampled_from(BOOTS), st.integers(1, 8))


@st.composite
def games(draw: st.DrawFn) -> tuple[dict[Key, str], list[tuple[str, list[Key]]]]:
    """What each record is, and chunks of them as they arrive, with duplicates and in any order."""
    kinds = st.sampled_from([*GOOD * 3, *NAMED, *NAMELESS])
    content = draw(st.dictionaries(KEYS, kinds, min_size=1, max_size=25))
    chunk = st.lists(st.sampled_from(sorted(content)), min_size=1, max_size=8)
    what = st.sampled_from(["work", "work", "wait", "break"])
    return content, draw(st.lists(st.tuples(what, chunk), max_size=10))


def check(content: dict[Key, str], steps: Sequence[tuple[str, list[Key]]], rows: Counter[Key], letters: int) -> None:
    """Everything valid is there once; every different poison is one dead letter."""
    sent = {key for _, keys in steps for key in keys}
    assert rows == Counter(key for key in sent if content[key] in GOOD)
    poison = {made(key, content[key]) for key in sent if content[key] not in GOOD}
    assert letters == len(poison)


FAILURES = st.lists(st.sampled_from(["", "", "before", "after"]), max_size=12)


@settings(max_examples=150, deadline=None)
@given(games(), FAILURES, st.integers(1, 6), st.integers(1, 9), st.booleans())
def test_everything_valid_is_stored_once_and_nothing_is_acknowledged_before(
    game: tuple[dict[Key, str], list[tuple[str, list[Key]]]],
    failures: list[str],
    batch: int,
    room: int,
    names_rows: bool,
) -> None:
    content, steps = game
    events = Memory(failures)
    events.names_rows = names_rows
    play = Play(events, events.done, Path("nowhere"), batch=batch, room=room)
    play.run(content, steps)
    check(content, steps, events.rows, len(events.letters))
    assert play.link.confirmed == events.done()
    reasons = {made(key, content[key])[1] for _, keys in steps for key in keys if content[key] not in GOOD}
    assert {letter.payload for letter in play.link.dead} == reasons


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(1, 9))
def test_reading_pauses_while_the_inbox_is_full_and_always_goes_on(chunks: list[int], room: int) -> None:
    events, seq = Memory(), 0
    play = Play(events, events.done, Path("nowhere"), batch=5, room=room)
    for chunk in chunks:
        keys: list[Key] = [("lamp-1", BOOTS[0], seq + n) for n in range(1, chunk + 1)]
        seq += chunk
        play.link.deliver(*((*made(key, "log"), key) for key in keys))
        assert play.link.paused == (len(play.worker.inbox) >= room)
        while play.link.paused:
            play.worker._work()
    play.work()
    assert len(events.rows) == seq


def test_over_a_link_that_cannot_pause_it_drops_beyond_its_room_and_has_devices_send_again(tmp_path: Path) -> None:
    events = Memory()
    play = Play(events, events.done, tmp_path, room=5)
    play.link.can_pause, play.link.committed = False, lambda: {key for _, _, key in play.link.sent.values() if key}
    play.worker.beacon.up()
    keys: list[Key] = [("lamp-1", BOOTS[0], seq) for seq in range(1, 9)]
    for key in keys:
        play.link.deliver((*made(key, "log"), key))
    assert len(play.worker.inbox) == 5
    assert play.link.acknowledged == 3  # or they would clog the window; their devices keep them
    play.link.deliver((*sent(Status(state="online", session=1), 0), None))
    assert len(play.worker.inbox) == 6  # nobody sends a state again
    play.link.committed = events.done
    play.work()
    before = play.worker.beacon.worker
    play.worker._work()  # nothing waits: now there is room
    assert play.link.states[-1].worker == play.worker.beacon.worker != before
    assert play.link.confirmed == set(keys[:5])


def test_what_a_worker_has_in_hand_is_stored_before_it_leaves(tmp_path: Path) -> None:
    events = Memory()
    play = Play(events, events.done, tmp_path, batch=3)
    said: list[list[str]] = []
    play.link.unsubscribe = said.append  # type: ignore[attr-defined]
    keys: list[Key] = [("lamp-1", BOOTS[0], seq) for seq in range(1, 11)]
    play.link.deliver(*((*made(key, "log"), key) for key in keys))
    play.worker.stop()
    play.worker._drain()
    assert play.link.confirmed == set(keys)
    assert "$share/ingest/tinyml/+/drift" in said[0]
    assert not any("status" in name for name in said[0])


def test_a_worker_that_leaves_does_not_wait_for_a_database_that_is_away(tmp_path: Path) -> None:
    events = Memory(["before"] * 100)
    play = Play(events, events.done, tmp_path)
    play.link.unsubscribe = lambda _: None  # type: ignore[attr-defined]
    play.link.deliver((*made(("lamp-1", BOOTS[0], 1), "log"), None))
    play.worker.stop()
    play.worker._drain()
    assert play.link.acknowledged == 0
    assert len(events.failures) == 99


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_on_the_real_database(
    seed: int, database_url: str, eyes: psycopg.Connection, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    keys: list[Key] = [
        (f"lamp-{device}", boot, seq) for device in (1, 2, 3) for boot in BOOTS for seq in range(1, 61)
    ]
    kinds = [*GOOD * 20, *NAMED, *NAMELESS]
    content = {key: chance.choice(kinds) for key in keys}
    steps = [
        (chance.choice(["work", "work", "wait", "break"]), chance.choices(keys, k=chance.randint(1, 80)))
        for _ in range(25)
    ]
    failures = chance.choices(["", "", "before", "after"], k=40)

    def committed() -> set[Key]:
        rows = {key for table in ("drift_event", "log", "telemetry") for key in stored(eyes, table)}
        return rows | set(stored(eyes, "ingest_dead_letter WHERE seq IS NOT NULL"))

    events = PostgresEvents(database_url)
    try:
        Play(Failing(events, failures), committed, tmp_path, batch=50, room=100).run(content, steps)
    finally:
        events.close()
    rows = Counter(key for table in ("drift_event", "log", "telemetry") for key in stored(eyes, table))
    check(content, steps, rows, len(stored(eyes, "ingest_dead_letter")))


def stored(eyes: psycopg.Connection, table: str) -> list[Key]:
    return eyes.execute(f"SELECT device, boot, seq FROM {table}".encode()).fetchall()
