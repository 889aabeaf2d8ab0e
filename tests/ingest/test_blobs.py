"""What comes in chunks is asked for until it is there, is what was offered, and hostile senders change nothing."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import topics
from broker.codec import decode_as, encode
from broker.messages import BLOB_CHUNK, BlobChunk, BlobOffered, BlobWanted, Message, Tick
from edge_actors.ports.kept import Kept
from edge_actors.remote.blobs import Blobs
from ingest.blobs import assembly
from ingest.blobs.assembly import missing, work
from ingest.blobs.rows import blob_key
from ingest.embedded import Postgres
from ingest.errors import StoreAway
from ingest.filing import Filing
from ingest.intake import Record, read
from ingest.jobs.job import Site
from ingest.settings import IngestSettings
from ingest.stores.batch import Letter
from ingest.stores.events import PostgresEvents
from ingest.stores.objects import Folder
from tests.postgres import fresh_database
from tests.records import DEVICE, header, sent

DATA = random.Random(1).randbytes(3 * BLOB_CHUNK + 100)
DIGEST = hashlib.sha256(DATA).hexdigest()


class Scene(Site):
    """The stores of a server, a worker's way into them, and what the job says to devices."""

    def __init__(self, database: str, folder: Path, **settings: Any) -> None:
        super().__init__(IngestSettings(database=database, objects=str(folder), **settings))
        self.events = PostgresEvents(database)
        self.filing = Filing(self.events, Folder(folder), patience_s=10)
        self.said: list[tuple[str, BlobWanted]] = []
        self.seqs = count(1)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        assert not retain
        self.said.append((topic.split("/")[1], decode_as(BlobWanted, payload)))

    def take(self, *messages: Message, device: str = DEVICE) -> list[Letter]:
        records = []
        for message in messages:
            seq = next(self.seqs) if isinstance(message, BlobOffered) else 0
            record = read(*sent(message, seq, device))
            assert isinstance(record, Record), record
            records.append(record)
        return self.filing.file(records)

    def offer(self, data: bytes = DATA, device: str = DEVICE, **changes: Any) -> str:
        digest = hashlib.sha256(data).hexdigest()
        told = BlobOffered(sha256=digest, size=len(data), what="snapshot", name="s9")
        assert self.take(replace(told, **changes), device=device) == []
        return digest

    def send(self, data: bytes, *indices: int, device: str = DEVICE, sha256: str = "") -> None:
        digest = sha256 or hashlib.sha256(data).hexdigest()
        pieces = [
            BlobChunk(sha256=digest, index=i, data=data[i * BLOB_CHUNK : (i + 1) * BLOB_CHUNK])
            for i in indices or range(-(-len(data) // BLOB_CHUNK))
        ]
        assert self.take(*pieces, device=device) == []

    def run(self) -> list[tuple[str, BlobWanted]]:
        """One run of the job; what it said."""
        self.said = []
        work(self)
        return self.said

    def states(self) -> dict[tuple[str, str], str]:
        rows = self.database.execute("SELECT device, sha256, state FROM v_blob").fetchall()
        return {(device, sha256): state for device, sha256, state in rows}

    def state(self, sha256: str = DIGEST, device: str = DEVICE) -> tuple[str, str, int]:
        row = self.database.execute(
            "SELECT state, reason, got FROM v_blob WHERE device = %s AND sha256 = %s", (device, sha256)
        ).fetchone()
        assert row is not None
        return row

    def chunks(self) -> int:
        row = self.database.execute("SELECT count(*) FROM blob_chunk").fetchone()
        return row[0] if row else -1

    def pass_time(self, seconds: float) -> None:
        """As if everything so far had been so long ago."""
        ago = f"- {seconds} * interval '1 second'"
        self.database.execute(f"UPDATE blob SET asked_at = asked_at {ago}, offered_at = offered_at {ago}".encode())
        self.database.execute(f"UPDATE blob_chunk SET received_at = received_at {ago}".encode())


@pytest.fixture(scope="module")
def module_url(embedded_server: Postgres) -> Iterator[str]:
    yield from fresh_database(embedded_server)


@pytest.fixture
def database_url(module_url: str) -> str:
    """One database for all tests of this file, emptied before each."""
    with psycopg.connect(module_url, autocommit=True) as connection:
        connection.execute("TRUNCATE blob, blob_offer, device, ingest_dead_letter CASCADE")
    return module_url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def scene(database_url: str, folder: Path) -> Iterator[Scene]:
    made = Scene(database_url, folder)
    yield made
    made.events.close()
    made.close()


def ranges(said: list[tuple[str, BlobWanted]]) -> list[tuple[tuple[int, int], ...]]:
    return [wanted.ranges for _, wanted in said]


# ---- the way it is meant -----------------------------------------------------------------------------------------


def test_is_asked_for_put_together_kept_and_told(scene: Scene, folder: Path) -> None:
    scene.offer()
    assert scene.run() == [(DEVICE, BlobWanted(sha256=DIGEST, ranges=((0, 3),)))]
    scene.send(DATA, 3, 1)
    scene.send(DATA, 1, 0, 2, 3)  # some of them twice
    assert scene.state() == ("wanted", "", 4)
    assert scene.run() == [(DEVICE, BlobWanted(sha256=DIGEST))]
    assert Folder(folder).get(blob_key(DIGEST)) == DATA
    assert (scene.state(), scene.chunks()) == (("stored", "", 4), 0)
    assert scene.run() == [], "it is told once"
    offers = scene.database.execute("SELECT sha256, size, what, name FROM blob_offer").fetchall()
    assert offers == [(DIGEST, len(DATA), "snapshot", "s9")]
    counted = scene.database.execute("SELECT records, numbers, last_seq FROM v_record_count").fetchall()
    assert counted == [(1, 1, 1)], "chunks are no records"


def test_what_is_missing_is_asked_for_again_with_growing_pauses(scene: Scene) -> None:
    scene.offer()
    scene.run()
    scene.send(DATA, 1)
    assert scene.run() == [], "more may be on its way"
    scene.pass_time(11)
    assert ranges(scene.run()) == [((0, 0), (2, 3))]
    for silence in (10, 20, 40, 80, 160, 320, 600, 600):  # nothing comes any more
        scene.pass_time(silence - 2)
        assert scene.run() == [], f"asked again before {silence} s were over"
        scene.pass_time(3)
        assert ranges(scene.run()) == [((0, 0), (2, 3))]
    scene.send(DATA, 0)
    scene.pass_time(601)
    assert ranges(scene.run()) == [((2, 3),)]
    scene.pass_time(11)
    assert ranges(scene.run()) == [((2, 3),)], "what came makes it ask soon again"


def test_a_device_that_is_away_is_not_asked_until_it_is_back(scene: Scene) -> None:
    scene.offer()
    scene.database.execute("UPDATE device SET state = 'offline'")
    assert scene.run() == []
    scene.database.execute("UPDATE device SET state = 'online'")
    assert len(scene.run()) == 1


def test_only_a_few_come_at_a_time(scene: Scene) -> None:
    digests = {scene.offer(bytes([number]) * 100) for number in range(assembly.AT_ONCE + 5)}
    first = {wanted.sha256 for _, wanted in scene.run()}
    assert len(first) == assembly.AT_ONCE
    for number in range(assembly.AT_ONCE + 5):
        data = bytes([number]) * 100
        if hashlib.sha256(data).hexdigest() in first:
            scene.send(data)
    asked: set[str] = set()
    for _ in range(3):
        asked |= {wanted.sha256 for _, wanted in scene.run() if wanted.ranges}
    assert asked == digests - first


def test_a_device_that_offers_again_what_is_there_is_told_so_again(scene: Scene) -> None:
    scene.offer()
    scene.send(DATA)
    scene.run()
    scene.offer()
    assert scene.run() == [(DEVICE, BlobWanted(sha256=DIGEST))]
    assert scene.state()[0] == "stored"


def test_the_same_thing_of_two_devices_is_one_object_and_two_rows(scene: Scene, folder: Path) -> None:
    for device in ("lamp-1", "lamp-2"):
        scene.offer(device=device)
        scene.send(DATA, device=device)
    assert {device for device, _ in scene.run()} == {"lamp-1", "lamp-2"}
    assert list(Folder(folder).list()) == [blob_key(DIGEST)]
    assert set(scene.states().values()) == {"stored"}


def test_an_object_store_that_is_away_delays_it_and_loses_nothing(
    database_url: str, tmp_path: Path, scene: Scene
) -> None:
    scene.offer()
    scene.send(DATA)
    (tmp_path / "file").write_bytes(b"")
    broken = Scene(database_url, tmp_path / "file")
    with pytest.raises(StoreAway, match="object store"):
        broken.run()
    broken.close()
    assert (scene.state()[0], scene.chunks()) == ("wanted", 4)
    scene.run()
    assert scene.state()[0] == "stored"


def test_a_kill_after_the_object_was_put_changes_nothing(scene: Scene, folder: Path) -> None:
    scene.offer()
    scene.send(DATA)
    Folder(folder).put(blob_key(DIGEST), DATA)  # and here the process was killed
    scene.run()
    assert (scene.state()[0], Folder(folder).get(blob_key(DIGEST))) == ("stored", DATA)


@pytest.mark.parametrize("seed", range(3))
def test_arrives_whole_whatever_is_lost_doubled_and_out_of_order_on_the_way(
    scene: Scene, folder: Path, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    data = chance.randbytes(20 * BLOB_CHUNK + 7)
    file = tmp_path / "00000001.snapshot"
    file.write_bytes(data)
    now = 0.0
    offers: list[BlobOffered] = []

    def offer(message: BlobOffered) -> bool:
        if chance.random() < 0.7:
            offers.append(message)
        return True

    def start() -> Blobs:
        return Blobs(tmp_path / "blobs", Kept(tmp_path / "blobs.json"), offer, lambda: Tick(at=now))

    device = start()
    digest, _ = device.add(file, "snapshot", "s1")
    for _ in range(200):
        if chance.random() < 0.2:  # the device restarts
            device = start()
        now += 1800.0
        device.look()
        if not len(device):
            break
        on_the_way: list[Message] = [*offers]
        offers.clear()
        while (chunk := device.next()) is not None:
            on_the_way += [chunk] * chance.choice([0, 1, 1, 2])
        chance.shuffle(on_the_way)
        scene.take(*on_the_way)
        scene.pass_time(700)
        for _, wanted in scene.run():
            if chance.random() < 0.7:
                device.wanted(wanted)
    assert scene.state(digest)[0] == "stored"
    assert Folder(folder).get(blob_key(digest)) == data
    assert len(device) == 0, "the device heard that it need not keep it"


@given(st.sets(st.integers(0, 60)), st.integers(1, 61))
def test_missing_ranges_are_exactly_what_is_not_there(have: set[int], chunks: int) -> None:
    have = {index for index in have if index < chunks}
    gaps = missing(sorted(have), chunks)
    assert {index for low, high in gaps for index in range(low, high + 1)} == set(range(chunks)) - have
    assert all(low <= high for low, high in gaps)
    assert all(low > high + 1 for (_, high), (low, _) in pairwise(gaps))


# ---- it ends ---------------------------------------------------------------------------------------------------


def test_what_is_not_what_was_offered_is_asked_anew_a_few_times_and_then_refused(scene: Scene, folder: Path) -> None:
    scene.offer()
    for attempt in range(assembly.MOST_FAILURES):
        if attempt:
            assert ranges(scene.said) == [((0, 3),)], "it is asked for anew at once"
        scene.send(bytes(len(DATA)), sha256=DIGEST)
        scene.run()
        assert scene.chunks() == 0
    state, reason, _ = scene.state()
    assert state == "refused"
    assert reason.startswith(f"what came has {len(DATA)} bytes and the sha256 ")
    assert scene.said == [(DEVICE, BlobWanted(sha256=DIGEST, reason=reason))]
    assert list(Folder(folder).list()) == []


def test_what_never_arrives_expires_and_another_offer_begins_anew(scene: Scene) -> None:
    scene.offer()
    scene.run()
    scene.send(DATA, 0)
    scene.pass_time(7 * 86400 + 1)
    assert scene.run() == []
    assert (scene.state()[:2], scene.chunks()) == (("expired", "the device did not send all of it in time"), 0)
    scene.offer()
    assert ranges(scene.run()) == [((0, 3),)]


def test_what_is_too_large_is_refused_with_the_reason(database_url: str, folder: Path) -> None:
    scene = Scene(database_url, folder, blob_mb=1, blob_device_mb=2)
    scene.offer(size=(1 << 20) + 1)
    reason = "it has 1048577 bytes; 1048576 are taken"
    assert scene.run() == [(DEVICE, BlobWanted(sha256=DIGEST, reason=reason))]
    for letter in "abc":
        scene.offer(letter.encode(), size=1 << 20)
    said = scene.run()
    assert sorted(bool(wanted.ranges) for _, wanted in said) == [False, True, True]
    assert [one.reason for _, one in said if not one.ranges] == [
        "the device has offered more than 2097152 bytes at a time"
    ]
    scene.events.close()
    scene.close()


def test_the_oldest_of_a_device_give_way_and_what_another_one_has_stays(database_url: str, folder: Path) -> None:
    scene = Scene(database_url, folder, blob_device_mb=1)
    pieces = [random.Random(number).randbytes(400 << 10) for number in range(4)]
    scene.offer(pieces[0], device="lamp-2")
    scene.send(pieces[0], device="lamp-2")
    for piece in pieces:
        scene.offer(piece)
        scene.send(piece)
        scene.run()
    names = [hashlib.sha256(piece).hexdigest() for piece in pieces]
    assert [scene.state(name)[0] for name in names] == ["dropped", "dropped", "stored", "stored"]
    assert scene.state(names[0], "lamp-2")[0] == "stored"
    assert set(Folder(folder).list()) == {blob_key(names[n]) for n in (0, 2, 3)}
    scene.events.close()
    scene.close()


# ---- who means harm --------------------------------------------------------------------------------------------


def test_chunks_of_what_nobody_offered_are_not_kept(scene: Scene) -> None:
    scene.send(DATA)
    scene.offer(device="lamp-2")
    scene.send(DATA)  # another device's
    assert scene.chunks() == 0


@pytest.mark.parametrize(("index", "size"), [(4, 100), (999_999_999, BLOB_CHUNK), (0, 100), (3, 99), (3, BLOB_CHUNK)])
def test_chunks_that_do_not_fit_are_counted_and_not_kept(scene: Scene, index: int, size: int) -> None:
    scene.offer()
    assert scene.take(BlobChunk(sha256=DIGEST, index=index, data=bytes(size))) == []
    assert scene.chunks() == 0
    assert scene.database.execute("SELECT unfit FROM v_blob").fetchone() == (1,)


def test_too_many_chunks_that_do_not_fit_end_it(scene: Scene) -> None:
    scene.offer()
    scene.take(*[BlobChunk(sha256=DIGEST, index=9, data=b"x")] * (assembly.MOST_UNFIT + 1))
    said = scene.run()
    assert [wanted.reason for _, wanted in said] == ["101 chunks do not fit into what was offered"]


def test_the_first_of_two_different_chunks_counts_and_the_digest_decides(scene: Scene) -> None:
    scene.offer()
    scene.send(bytes(len(DATA)), 2, sha256=DIGEST)
    scene.send(DATA)
    assert ranges(scene.run()) == [((0, 3),)], "all are asked for anew: nobody knows which one was wrong"
    scene.send(DATA)
    scene.run()
    assert scene.state()[0] == "stored"


def test_another_size_begins_anew(scene: Scene) -> None:
    scene.offer(size=10 * BLOB_CHUNK)
    scene.send(DATA, 0, 1)
    scene.offer()
    assert scene.chunks() == 0
    scene.send(DATA)
    scene.run()
    assert scene.state()[0] == "stored"


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (BlobOffered(sha256=DIGEST, size=0), "a blob of 0 bytes; it can have 1 to 1099511627776"),
        (BlobOffered(sha256=DIGEST, size=1 << 62), f"a blob of {1 << 62} bytes; it can have 1 to 1099511627776"),
        (BlobOffered(sha256=DIGEST, size=1, what="w" * 65), "what of a blob has 65 characters; 64 are taken"),
        (BlobOffered(sha256=DIGEST, size=1, name="n" * 257), "name of a blob has 257 characters; 256 are taken"),
        (BlobChunk(sha256=DIGEST), "a chunk of 0 bytes; it can have 1 to 65536"),
        (BlobChunk(sha256=DIGEST, data=bytes(BLOB_CHUNK + 1)), "a chunk of 65537 bytes; it can have 1 to 65536"),
    ],
)
def test_what_cannot_be_is_a_dead_letter(scene: Scene, message: Message, why: str) -> None:
    assert [letter.reason for letter in scene.take(message)] == [why]
    assert scene.states() == {}


def test_a_topic_that_names_another_blob_or_chunk_is_refused() -> None:
    chunk = BlobChunk(sha256=DIGEST, index=1, data=b"x")
    payload = encode(chunk, header(0))
    for path in (f"blob/{DIGEST}/2", f"blob/{'0' * 64}/1", f"blob/{DIGEST}", f"blob/{DIGEST}/01"):
        letter = read(topics.full(DEVICE, path), payload)
        assert isinstance(letter, Letter), path
