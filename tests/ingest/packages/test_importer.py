"""Whatever is in a package is stored as if it had come by MQTT, once, and each step says what came of it."""

from __future__ import annotations

import gzip
import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import codec
from broker.messages import Birth, Frame, LabelAssigned, LogRecord, Status
from ingest.consumers.samples import picture_key
from ingest.errors import EntryRefused, PackageInterrupted, StoreAway
from ingest.filing import Filing
from ingest.intake import Record, read
from ingest.packages import records as records_step
from ingest.packages.contents import kind_of
from ingest.packages.ledger import Step
from ingest.packages.limits import Limits
from ingest.packages.streams import Peekable
from ingest.stores.batch import Batch, Letter
from ingest.stores.events import PostgresEvents
from ingest.stores.objects import Folder
from tests.ingest.packages.conftest import Desk, Registry
from tests.ingest.packages.made import bomb, exported, picture, records, sample, tar, zipped, zstd
from tests.ingest.packages.test_contents import mutated
from tests.records import BOOT, DEVICE, EVERY_KIND, drift, header
from tests.stores.bundle_files import bundle as write_bundle
from tests.support import wait_until

ALL = len(EVERY_KIND)
POISON = [
    codec.encode(drift(), header(101))[:-1] + b"\xf6",  # a header that is none
    codec.pack(["Unheard", {}, {"device": DEVICE, "boot": BOOT, "seq": 102}]),
    codec.encode(LogRecord(text="a\0b"), header(103)),
    codec.encode(drift(), header(104, boot="?")),
    codec.encode(LabelAssigned(sample="s1"), header(105)),
    codec.encode(Frame(), header(106)),
]


def by_name(steps: Sequence[Step]) -> dict[str, Step]:
    return {step.name: step for step in steps[2:]}


PACKS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstd,
    "tar": lambda data: tar({"x": data}),
    "zip": lambda data: zipped({"x": data}),
}


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_an_export_is_stored_whole_and_a_second_time_changes_nothing(
    desk: Desk, pack: Callable[[bytes], bytes]
) -> None:
    package = pack(exported())
    outcome = desk.bring(package)
    (step,) = outcome.steps[2:]
    assert (outcome.state, step.state, step.device) == ("done", "done", DEVICE)
    assert (step.records, step.new, step.known, step.letters) == (ALL, ALL, 0, 0)
    assert desk.seqs() == [ALL]
    before = desk.everything()
    (step,) = desk.bring(package).steps[2:]
    assert (step.records, step.new, step.known, step.letters) == (ALL, 0, ALL, 0)
    assert desk.everything() == before
    assert outcome.stored == {(DEVICE, BOOT): ((1, ALL),)}


def test_a_package_makes_no_device_look_alive(desk: Desk) -> None:
    said = [codec.encode(message, header(0)) for message in (Status(state="online", session=1), Birth(session=1))]
    (step,) = desk.bring(b"".join([*records([drift()]), *said])).steps[2:]
    assert (step.records, step.new, step.known) == (3, 1, 0)
    assert desk.rows("SELECT device, extract(epoch FROM heard_at) FROM device") == [(DEVICE, 0)]


def test_what_cannot_be_taken_becomes_a_dead_letter_and_the_rest_is_stored(desk: Desk) -> None:
    package = b"".join([*records([drift()]), *POISON, *records([drift()], 2)])
    for known in (0, 2):
        outcome = desk.bring(package)
        (step,) = outcome.steps[2:]
        assert (outcome.state, step.records, step.letters) == ("done", 8, 6)
        assert (step.new, step.known) == (2 - known, known)
        assert desk.rows("SELECT count(*), max(times) FROM ingest_dead_letter") == [(6, 1)]
    # What named itself counts as stored: nobody can do better with it, and the device may forget it.
    assert outcome.stored[DEVICE, BOOT] == ((1, 2), (102, 103), (105, 106))


def test_a_dead_letter_is_the_same_whichever_way_it_came(desk: Desk) -> None:
    payload = codec.pack(["DriftDetected", {"episode": 7}, {"device": DEVICE, "boot": BOOT, "seq": 5}])
    desk.bring(payload)
    letter = read(f"tinyml/{DEVICE}/drift", payload)
    assert isinstance(letter, Letter)
    assert desk.rows("SELECT digest, seq FROM ingest_dead_letter") == [(letter.digest, 5)]


def test_an_export_that_is_not_whole_is_not_taken_at_all(desk: Desk) -> None:
    whole = exported()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    for spoiled in (whole[:-1], whole[: len(whole) // 2], bytes(changed), whole + b"\0"):
        outcome = desk.bring(tar({"bad": spoiled, "good": b"".join(records([drift()], 77))}))
        bad, good = outcome.steps[2:]
        assert (outcome.state, bad.state, good.state) == ("failed", "failed", "done")
        assert bad.reason
        assert desk.rows("SELECT seq FROM v_record_count, drift_event") == [(77,)]


def test_a_bare_sequence_that_is_cut_short_is_stored_as_far_as_it_goes(desk: Desk) -> None:
    data = b"".join(records([drift(number) for number in range(10)]))
    outcome = desk.bring(data[:-3])
    (step,) = outcome.steps[2:]
    assert (outcome.state, step.state, step.new) == ("failed", "failed", 9)
    assert "cut short" in step.reason
    outcome = desk.bring(data + b"\x5a\x7f\xff\xff\xff" + bytes(1000))
    assert "has more than" in outcome.steps[2].reason
    assert (outcome.steps[2].new, outcome.steps[2].known) == (1, 9)


def test_a_picture_joins_its_sample_and_says_why_where_it_cannot(desk: Desk, tmp_path: Path) -> None:
    shown = picture("JPEG")
    files = {
        f"{DEVICE}/s1.jpg": shown,  # before the sample it belongs to
        f"deep/down/{DEVICE}/s2.png": picture("PNG"),
        f"{DEVICE}/s9.png": picture("PNG"),
        f"{DEVICE}/s3.png": b"\x89PNG\r\n\x1a\nnot really",
        "Somewhere/x y.webp": picture("WEBP"),
        "x.cborseq": exported([sample("s1"), sample("s2", 2), sample("s3", 3)]),
        "readme.txt": b"hello",
    }
    outcome = desk.bring(tar(files))
    steps = by_name(outcome.steps)
    assert outcome.state == "failed"
    assert [(step.state, step.new) for step in steps.values()] == [
        ("done", 1),
        ("done", 1),
        ("failed", 0),
        ("failed", 0),
        ("failed", 0),
        ("done", 3),
        ("skipped", 0),
    ]
    assert "no sample s9" in steps[f"{DEVICE}/s9.png"].reason
    assert "no picture" in steps[f"{DEVICE}/s3.png"].reason
    assert "<device>/<sample>" in steps["Somewhere/x y.webp"].reason
    digest = hashlib.sha256(shown).hexdigest()
    assert desk.rows("SELECT picture_digest, picture_type, width, height FROM sample WHERE sample = 's1'") == [
        (digest, "image/jpeg", 8, 6)
    ]
    assert Folder(tmp_path / "objects").get(picture_key(digest)) == shown
    before = desk.everything()
    again = by_name(desk.bring(tar(files)).steps)
    assert (again[f"{DEVICE}/s1.jpg"].state, again[f"{DEVICE}/s1.jpg"].known) == ("done", 1)
    other = desk.bring(tar({f"{DEVICE}/s1.jpg": picture("JPEG", shade=200)}))
    assert (other.state, other.steps[2].state) == ("done", "skipped")
    assert desk.everything() == before


def test_a_bundle_is_registered_once_and_nothing_is_deployed(desk: Desk, registry: Registry, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "digits.bundle")
    for new in (1, 0):
        outcome = desk.bring(bundle.read_bytes(), "digits.bundle")
        assert (outcome.state, outcome.steps[2].kind, outcome.steps[2].new) == ("done", "bundle", new)
        assert outcome.steps[2].reason == "digits version 1"
    inside = desk.bring(
        tar(
            {
                "m/digits.bundle": bundle.read_bytes(),
                "x.zip": zipped({"a": b"b"}),
                "b.bundle": zipped({"manifest.json": b"{}"}),
            }
        )
    )
    assert [step.state for step in inside.steps[2:]] == ["done", "failed", "failed"]
    assert len(registry.known) == 1


NOTHING: dict[str, bytes] = {
    "empty": b"",
    "strange": b"hello",
    "empty-tar": tar({}),
    "strange-tar": tar({"notes.txt": b"hi"}),
    "empty-zip": zipped({}),
    "hostile": tar({"../x": exported()}),
}


@pytest.mark.parametrize("package", NOTHING.values(), ids=NOTHING)
def test_what_holds_nothing_or_is_hostile_is_refused_and_stores_nothing(desk: Desk, package: bytes) -> None:
    before = desk.everything()
    outcome = desk.bring(package)
    assert outcome.state == "refused"
    assert outcome.reason
    assert desk.everything() == before
    assert desk.rows("SELECT state, reason, progress FROM v_package") == [("refused", outcome.reason, 1.0)]


def test_a_package_cannot_fill_the_database_with_dead_letters(
    start_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_step, "BATCH", 10)
    desk = start_desk(limits=Limits(letters=15))
    rubbish = records([drift()])[0] + b"\0" * 10_000
    outcome = desk.bring(tar({"a": rubbish, "b": b"".join(records([drift()], 2)) + b"\1" * 10_000}))
    assert [(step.state, step.records) for step in outcome.steps[2:]] == [("failed", 20), ("failed", 10)]
    assert "more than 15 records" in outcome.steps[2].reason
    assert desk.rows("SELECT count(*) FROM ingest_dead_letter")[0][0] <= 30


def test_a_bomb_beside_good_records_stores_none_of_them(start_desk: Callable[..., Desk]) -> None:
    desk = start_desk(limits=Limits(unpacked_bytes=20 << 20))
    outcome = desk.bring(tar({"good": exported(), "bomb.gz": bomb()}, "w"))
    assert (outcome.state, desk.seqs()) == ("refused", [])
    assert [step.state for step in outcome.steps] == ["done", "failed"]


def test_what_was_interrupted_can_be_brought_again_and_ends_the_same(
    start_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_step, "BATCH", 10)
    hasty = start_desk(stopping=lambda: hasty.rows("SELECT count(*) FROM drift_event")[0][0] > 30)
    package = exported(records([drift(number) for number in range(100)]))
    with pytest.raises(PackageInterrupted):
        hasty.bring(package)
    assert hasty.rows("SELECT state FROM v_package") == [("running",)]
    assert not start_desk().importer.ledger.bring(hashlib.sha256(package).hexdigest(), "it", 1)
    hasty.importer.ledger.close()
    stored = hasty.rows("SELECT count(*) FROM drift_event")[0][0]
    assert 0 < stored < 100
    wait_until(lambda: hasty.rows("SELECT state FROM v_package") == [("interrupted",)])
    outcome = start_desk().bring(package)
    assert (outcome.state, outcome.steps[2].new, outcome.steps[2].known) == ("done", 100 - stored, stored)
    assert hasty.rows("SELECT state, times, records FROM v_package") == [("done", 2, 100)]


def test_a_database_that_is_away_for_a_moment_is_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    store, trouble = PostgresEvents.store, iter([True, False, True])

    def hesitant(self: PostgresEvents, batch: Batch) -> int:
        if next(trouble, False):
            raise StoreAway("database", "gone")
        return store(self, batch)

    monkeypatch.setattr(PostgresEvents, "store", hesitant)
    outcome = desk.bring(tar({"a": exported(), "b": exported()}))
    assert [(step.state, step.new) for step in outcome.steps[2:]] == [("done", ALL), ("done", 0)]


class Kept(Filing):
    """Remembers what would be stored."""

    def __init__(self) -> None:
        self.new, self.records, self.letters = 0, list[Record](), list[Letter]()

    def file(self, records: Sequence[Record], letters: Sequence[Letter] = ()) -> list[Letter]:
        self.records += records
        self.letters += letters
        self.new += len(records)
        return list(letters)


@settings(max_examples=400)
@given(st.booleans(), st.integers(0, 2**32))
def test_whatever_is_changed_only_what_would_have_been_taken_from_a_device_is_stored(bare: bool, seed: int) -> None:
    data = mutated(b"".join(records()) if bare else exported(), random.Random(seed))
    stream = Peekable(Bytes(data))
    kind = kind_of(stream.head())
    if kind not in ("export", "records"):
        return
    kept, known = Kept(), set(records())
    try:
        records_step.verify(kind, Peekable(Bytes(data)))
        for counts in records_step.store("it", kind, stream, kept, "tinyml"):
            assert counts.records == len(kept.records) + len(kept.letters)
    except EntryRefused:
        assert kind == "records" or not kept.records
    assert all(isinstance(read(record.topic, record.payload), Record) for record in kept.records)
    assert kind == "records" or {record.payload for record in kept.records} <= known


class Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int, /) -> bytes:
        taken, self._data = self._data[:size], self._data[size:]
        return taken


def test_ranges_are_joined_and_as_few_as_possible() -> None:
    assert records_step.join(((5, 9),), ((1, 2), (3, 4)), ((20, 21), (8, 12))) == ((1, 12), (20, 21))
