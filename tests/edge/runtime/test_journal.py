"""A journal is a bounded ring of segments that each can be read alone, also after a power cut."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from broker import codec
from broker.errors import JournalError
from broker.journal import Checkpoint, Item, Journal, Opening, read, segments
from broker.messages import Float32Array, Frame, Tick

OPENING = Opening(
    device="dev1",
    boot="0badcafe-000003",
    bundle="b" * 64,
    settings='{"k": 5}',
    next_seq=7,
    at=12.5,
    applied=99,
    restarts=[1.0, 2.5],
    states={"knn": {"memory": Float32Array.of([1.0, 2.0]), "labels": ["cat"]}},
)


def tick(number: int) -> bytes:
    return codec.encode(Tick(at=float(number)))


def write(directory: Path, *items: Item, max_bytes: int = 1 << 16) -> None:
    journal = Journal(directory, max_bytes)
    for item in items:
        if isinstance(item, Opening):
            journal.begin(item)
        elif isinstance(item, Checkpoint):
            journal.checkpoint(item)
        else:
            journal.append(item)
    journal.close()


def size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


def test_reads_what_was_written_in_its_order(tmp_path: Path) -> None:
    items = [OPENING, tick(1), tick(2), Checkpoint(records=1, digest=b"d" * 32), tick(3), Checkpoint()]
    write(tmp_path, *items)
    assert list(read(tmp_path)) == items


def test_a_segment_is_a_cbor_sequence_of_messages_as_they_are(tmp_path: Path) -> None:
    write(tmp_path, OPENING, tick(1))
    (segment,) = segments(tmp_path)
    opening, message = codec.read_sequence(segment.read_bytes())
    assert codec.unpack(opening)[0] == "_opening"
    assert codec.decode(message) == Tick(at=1.0)


def test_a_newer_segment_may_say_more_than_this_version_knows(tmp_path: Path) -> None:
    opening = codec.pack(["_opening", {"device": "dev1", "weather": "rain"}])
    (tmp_path / "00000001.cborseq").write_bytes(opening + tick(1))
    assert list(read(tmp_path)) == [Opening(device="dev1"), tick(1)]


def test_never_holds_more_bytes_than_it_may(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_bytes=20_000)
    for number in range(3_000):
        if not journal.has_room(len(tick(number))):
            journal.begin(OPENING)
            assert size(tmp_path) <= 20_000
        journal.append(tick(number))
    journal.close()
    assert 10_000 < size(tmp_path) <= 20_000
    assert len(segments(tmp_path)) >= 3
    messages = [item for item in read(tmp_path) if isinstance(item, bytes)]
    assert messages == [tick(number) for number in range(3_000 - len(messages), 3_000)]


def test_a_large_state_gets_long_segments_instead_of_being_written_all_the_time(tmp_path: Path) -> None:
    large = Opening(states={"knn": {"memory": bytes(6_000)}})
    journal = Journal(tmp_path, max_bytes=20_000)
    openings = 0
    for number in range(2_000):
        if not journal.has_room(100):
            journal.begin(large)
            openings += 1
        journal.append(tick(number))
    journal.close()
    assert openings * 6_000 <= 2_000 * len(tick(1)) + 6_000
    assert size(tmp_path) <= 20_000


def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_bytes=20_000)
    with pytest.raises(JournalError, match=r"the state of 30\d+ bytes does not fit a journal of 20000 bytes"):
        journal.begin(Opening(states={"knn": {"memory": bytes(30_000)}}))
    journal.begin(OPENING)
    with pytest.raises(JournalError, match=r"a message of 300\d+ bytes does not fit"):
        journal.append(codec.encode(Frame(pixels=bytes(300_000))))
    assert size(tmp_path) <= 20_000


def test_another_process_goes_on_in_the_same_ring(tmp_path: Path) -> None:
    write(tmp_path, OPENING, tick(1))
    write(tmp_path, OPENING, tick(2))
    assert [path.name for path in segments(tmp_path)] == ["00000001.cborseq", "00000002.cborseq"]
    assert list(read(tmp_path)) == [OPENING, tick(1), OPENING, tick(2)]
    assert list(read(segments(tmp_path)[1])) == [OPENING, tick(2)]


def test_a_power_cut_at_any_byte_costs_only_what_comes_after(tmp_path: Path) -> None:
    items: list[Item] = [OPENING, tick(1), Checkpoint(records=1, digest=b"d" * 32), tick(2)]
    write(tmp_path, *items)
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    for cut in range(len(whole)):
        segment.write_bytes(whole[:cut])
        found = list(read(tmp_path))
        assert found == items[: len(found)]
        assert len(found) < len(items)


def test_damage_is_named_with_the_segment(tmp_path: Path) -> None:
    write(tmp_path, OPENING, tick(1))
    (segment,) = segments(tmp_path)
    segment.write_bytes(segment.read_bytes() + b"\xff" + tick(2))
    with pytest.raises(JournalError, match=r"00000001.cborseq is damaged: the item at offset \d+ is not CBOR"):
        list(read(tmp_path))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (tick(1), "it does not begin with an opening"),
        (codec.pack(["_opening", 7]), "needs a map"),
        (codec.pack(["_opening", {"states": []}]), "states cannot be list"),
    ],
)
def test_what_is_no_journal_is_refused(tmp_path: Path, data: bytes, sentence: str) -> None:
    (tmp_path / "00000001.cborseq").write_bytes(data)
    with pytest.raises(JournalError, match=sentence):
        list(read(tmp_path))


def test_a_place_without_a_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="holds no journal"):
        segments(tmp_path)
    with pytest.raises(JournalError, match="cannot be read: no such file"):
        list(read(tmp_path / "nothing.cborseq"))
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="file cannot be written: file exists"):
        Journal(tmp_path / "file").begin(OPENING)


FULL_DISK = """
import json, resource, sys
from pathlib import Path
from broker.messages import Predictions, Tick
from broker.journal import read
from tests.edge.runtime.scripted import Rig, frame

directory = Path(sys.argv[1])
rig = Rig(directory)
rig.admit(Tick(at=1.0), frame(at=2.0))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
rig.admit(*(frame(at=3.0, size=300) for _ in range(40)), Tick(at=4.0), frame(at=5.0))
full = sorted(rig.recording.faults())
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
rig.admit(Tick(at=30.0))
waiting = sorted(rig.recording.faults())
rig.admit(Tick(at=70.0), frame(at=71.0))
later = sorted(rig.recording.faults())
rig.recording.close()
recorded = sum(isinstance(item, bytes) for item in read(sorted(directory.iterdir())[-1]))
print(json.dumps([full, waiting, later, len(rig.sent.of(Predictions)), recorded]))
"""


def test_a_disk_that_takes_no_journal_stops_the_recording_for_a_while_and_never_the_device(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == [["journal_failing"], ["journal_failing"], [], 43, 2]
    assert "nothing is recorded for now: the journal in" in done.stderr
    assert "file too large" in done.stderr
