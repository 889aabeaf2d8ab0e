"""Records the database refuses are found and buried; the others are stored, pictures first."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import Float32Array, LogRecord, Telemetry
from ingest.errors import RecordRefused, StoreAway
from ingest.filing import Filing
from ingest.intake import Record, read
from ingest.stores.batch import Batch, Letter, Waiting
from ingest.stores.objects import Folder
from tests.records import EVERY_KIND, sent


class Memory:
    """An event store that refuses what a database would, and counts its transactions."""

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.letters: list[Letter] = []
        self.waiting: list[Waiting] = []
        self.transactions = 0

    def store(self, batch: Batch) -> int:
        self.transactions += 1
        rows = [row for rows in batch.rows.values() for row in rows]
        if any("\0" in str(value) for row in rows for value in row):
            raise RecordRefused("a NUL")
        self.seqs += [row[2] for row in rows]  # type: ignore[misc]
        self.letters += batch.letters
        self.waiting += batch.waiting
        return len(rows)

    def level(self) -> str:
        return "plain"

    def close(self) -> None:
        """Nothing to close."""


class Away(Memory):
    def store(self, batch: Batch) -> int:
        raise StoreAway("database", "gone")


def record(seq: int, text: str = "fine") -> Record:
    made = read(*sent(LogRecord(text=text), seq))
    assert isinstance(made, Record)
    return made


@given(st.integers(1, 40).flatmap(lambda size: st.tuples(st.just(size), st.sets(st.integers(1, size)))))
def test_every_record_is_stored_or_buried_and_never_both(case: tuple[int, set[int]]) -> None:
    size, poison = case
    events = Memory()
    records = [record(seq, "a\0b" if seq in poison else "fine") for seq in range(1, size + 1)]
    filing = Filing(events, Folder(Path()))
    letters = filing.file(records)
    assert filing.new == size - len(poison)
    assert sorted(events.seqs) == [seq for seq in range(1, size + 1) if seq not in poison]
    assert {letter.seq for letter in letters} == {letter.seq for letter in events.letters} == poison


def test_one_poison_record_among_many_costs_few_transactions() -> None:
    events = Memory()
    Filing(events, Folder(Path())).file([record(seq, "a\0b" if seq == 777 else "fine") for seq in range(1, 1025)])
    assert len(events.seqs) == 1023
    assert events.transactions <= 2 * 10 + 2  # halving, and the dead letter


def test_a_poison_that_is_larger_than_the_others_is_found_at_once() -> None:
    events = Memory()
    texts = {777: "a\0b" + "x" * 5000, 20: "x" * 5000}
    letters = Filing(events, Folder(Path())).file([record(seq, texts.get(seq, "fine")) for seq in range(1, 1025)])
    assert [letter.seq for letter in letters] == [777]
    assert len(events.seqs) == 1023
    assert events.transactions == 5  # all, the small ones, each of the large ones, and the dead letter


def test_what_a_consumer_refuses_is_buried_in_the_same_transaction() -> None:
    events = Memory()
    uneven = read(*sent(Telemetry(names=("a",), values=Float32Array.of([1.0])), 2))
    assert isinstance(uneven, Record)
    letters = Filing(events, Folder(Path())).file([record(1), uneven])
    assert (events.seqs, events.transactions) == ([1], 1)
    assert [letter.seq for letter in letters] == [2]
    assert "1 readings are not 0 rows of 1 names" in letters[0].reason


def test_a_picture_waits_beside_its_row_where_the_object_store_does_not_take_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    events = Memory()
    sample = read(*sent(EVERY_KIND[5], 1))
    assert isinstance(sample, Record)
    Filing(events, Folder(tmp_path / "file"), patience_s=10).file([sample, record(2)])
    assert (sorted(events.seqs), events.transactions) == ([1, 2], 1)
    (waiting,) = events.waiting
    assert (waiting.data, waiting.type) == (b"\xff\xd8picture", "image/jpeg")
    assert waiting.reason.startswith("the object store is away: ")


def test_a_database_that_is_away_is_not_a_reason_to_bury(tmp_path: Path) -> None:
    with pytest.raises(StoreAway):
        Filing(Away(), Folder(tmp_path)).file([record(1), record(2)])
