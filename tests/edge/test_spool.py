"""The spool keeps what it was given until the server has it, whatever is killed, full or damaged."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker import codec, topics
from broker.messages import DriftDetected, Header, LogRecord, Message, Predictions, SampleQuarantined
from broker.topics import Rank
from edge_actors.errors import SpoolTooNewError, StateDirectoryBusyError, StateDirectoryError
from edge_actors.ports.record import Record
from edge_actors.ports.spool import Spool
from edge_actors.ports.spool_file import SpoolFile
from edge_actors.ports.state_directory import StateDirectory
from tests.support import wait_until

ALL = 1 << 30


@contextmanager
def opened(directory: Path, **options: object) -> Iterator[Spool]:
    spool = Spool(directory, group_s=0.001, retry_s=0.05, **options)  # type: ignore[arg-type]
    try:
        yield spool
    finally:
        spool.close()


def put(spool: Spool, message: Message) -> int:
    seq = spool.next_seq
    header = Header(device="dev1", boot=spool.boot, seq=seq)
    spool.append(seq, topics.rank_of(message), topics.path_of(message), codec.encode(message, header))
    return seq


def drift(text: str = "") -> DriftDetected:
    return DriftDetected(episode=text)


def log(size: int = 0) -> LogRecord:
    return LogRecord(text="x" * size)


def sample(number: int, picture: int = 0) -> SampleQuarantined:
    return SampleQuarantined(
        sample=f"s-{number}", picture=b"p" * picture, picture_type="image/jpeg" if picture else ""
    )


def waiting(spool: Spool) -> list[Record]:
    return spool.next(100_000, ALL)


def keys(spool: Spool) -> list[tuple[str, int]]:
    return [(record.boot, record.seq) for record in waiting(spool)]


def size_of(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.iterdir())


def test_offers_what_ranks_highest_first_and_the_oldest_first_within_it(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for message in (Predictions(), drift("a"), log(), sample(1), sample(2, picture=9), drift("b")):
            put(spool, message)
        assert spool.flush()
        assert [record.seq for record in waiting(spool)] == [2, 6, 4, 5, 3, 1]
        assert [record.path for record in waiting(spool)][2] == "sample/s-1"


def test_offers_no_more_than_asked_for_and_none_that_is_on_its_way(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for _ in range(10):
            put(spool, log(1000))
        spool.flush()
        skip = {(spool.boot, 1), (spool.boot, 2)}
        assert [record.seq for record in spool.next(3, ALL, skip)] == [3, 4, 5]
        assert [record.seq for record in spool.next(100, 2500, skip)] == [3, 4]
        assert [record.seq for record in spool.next(100, 1, skip)] == [3]  # one is always offered, however large


def test_forgets_a_record_only_when_the_server_confirmed_it(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for _ in range(6):
            put(spool, drift())
        spool.flush()
        assert spool.confirm("00000000-000001", [(1, 6)]) == 0
        assert (
            spool.confirm(
                spool.boot,
                [(2, 3), (5, 5), (6, 2), (-9, 0), (50, 1 << 62), (1 << 62, (1 << 63) - 1), (-(1 << 63), -1)],
            )
            == 3
        )
        assert [record.seq for record in waiting(spool)] == [1, 4, 6]
        assert spool.confirm(spool.boot, [(2, 3)]) == 0


def test_keeps_the_records_of_earlier_boots_and_counts_the_boots(tmp_path: Path) -> None:
    boots = []
    for _ in range(3):
        with opened(tmp_path) as spool:
            boots.append(spool.boot)
            assert spool.next_seq == 1
            put(spool, drift())
            put(spool, log())
    installation = boots[0].split("-")[0]
    assert boots == [f"{installation}-{count:06d}" for count in (1, 2, 3)]
    with opened(tmp_path) as spool:
        assert keys(spool) == [(boot, 1) for boot in boots] + [(boot, 2) for boot in boots]
        assert spool.stats().produced == dict.fromkeys(boots, 2) | {spool.boot: 0}


def test_remembers_how_many_a_boot_produced_after_all_are_stored(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        boot = spool.boot
        for _ in range(5):
            put(spool, drift())
        spool.flush()
        assert spool.confirm(boot, [(1, 5)]) == 5
        assert spool.stats().records == 0
    with opened(tmp_path) as spool:
        assert spool.stats().produced[boot] == 5


def test_append_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, writing = threading.Event(), threading.Event()
    write = SpoolFile.write

    def slow_write(file: SpoolFile, batch: list[Record]) -> int:
        writing.set()
        assert go_on.wait(30)
        return write(file, batch)

    monkeypatch.setattr(SpoolFile, "write", slow_write)
    with opened(tmp_path) as spool:
        put(spool, drift())
        assert writing.wait(30)
        for _ in range(20):
            put(spool, drift())
        go_on.set()
        assert spool.flush()
        assert len(waiting(spool)) == 21


def test_the_second_process_on_a_state_directory_is_refused_in_one_sentence(tmp_path: Path) -> None:
    held = StateDirectory(tmp_path / "state")
    with pytest.raises(StateDirectoryBusyError, match=r"^the state directory .* another device process"):
        StateDirectory(tmp_path / "state")
    held.release()
    StateDirectory(tmp_path / "state").release()
    (tmp_path / "file").touch()
    with pytest.raises(StateDirectoryError, match="cannot be used: file exists"):
        StateDirectory(tmp_path / "file")


def test_a_spool_of_a_newer_version_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    database = sqlite3.connect(tmp_path / "spool.db")
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(SpoolTooNewError, match="format 99"):
        Spool(tmp_path)


# ---- shedding --------------------------------------------------------------------------------------------------

MAKERS: dict[Rank, Callable[[random.Random], Message]] = {
    Rank.PREDICTION: lambda chance: Predictions(each_frame=("f" * chance.randrange(2000),)),
    Rank.TELEMETRY: lambda chance: log(chance.randrange(2000)),
    Rank.PICTURE: lambda chance: sample(chance.randrange(10**9), picture=chance.randrange(1, 60_000)),
    Rank.SAMPLE: lambda chance: sample(chance.randrange(10**9)),
    Rank.VITAL: lambda chance: drift("d" * chance.randrange(500)),
}


@pytest.mark.parametrize("seed", range(2))
def test_a_full_spool_stays_within_its_bytes_and_counts_what_it_shed(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    limit = 1 << 20
    put_in: Counter[str] = Counter()
    with opened(tmp_path, max_bytes=limit) as spool:
        for _ in range(40):
            for _ in range(20):
                rank = chance.choice(list(Rank))
                put_in[rank.name] += 1
                put(spool, MAKERS[rank](chance))
            assert spool.flush()
            assert size_of(tmp_path) <= limit
        kept = Counter(Rank(record.rank).name for record in waiting(spool))
        stats = spool.stats()
        assert stats.records == kept.total()
        assert spool.faults() == frozenset()
        assert stats.given_up["PREDICTION"] == put_in["PREDICTION"] - kept["PREDICTION"] > 0
        assert kept["VITAL"] == put_in["VITAL"]
        samples = put_in["SAMPLE"] + put_in["PICTURE"] - kept["SAMPLE"] - kept["PICTURE"]
        assert stats.given_up.get("SAMPLE", 0) == samples
    with opened(tmp_path, max_bytes=limit) as spool:
        assert spool.stats().given_up == stats.given_up


@pytest.mark.parametrize("seed", range(2))
def test_sheds_the_lowest_rank_first_and_the_oldest_first_within_it(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    file = SpoolFile(tmp_path / "spool.db", 1 << 20)
    boot = file.begin_boot()
    held: dict[int, Record] = {}
    for seq in range(1, 250):
        message = MAKERS[chance.choice(list(Rank))](chance)
        data = codec.encode(message, Header(boot=boot, seq=seq))
        record = Record(boot, seq, topics.rank_of(message), topics.path_of(message), data)
        assert file.write([record]) == 0
        before = held | {seq: record}
        held = {kept.seq: kept for kept in file.next(1000, ALL, ())}
        given_way = {seq: r for seq, r in before.items() if seq not in held or held[seq].rank != r.rank}
        for rank in {r.rank for r in given_way.values()}:
            assert not [r for r in held.values() if r.rank < rank], "lower ranks are gone by now"
            mine = sorted(seq for seq, r in before.items() if r.rank == rank)
            gone = [seq for seq in mine if seq in given_way]
            assert gone == mine[: len(gone)], "the oldest give way"
        for number in {number for number in given_way if number in held}:
            header, message = codec.decode_record(held[number].data)
            assert isinstance(message, SampleQuarantined)
            assert (header.boot, header.seq, message.picture) == (boot, number, b"")
    assert {Rank.PREDICTION, Rank.TELEMETRY, Rank.PICTURE} <= {Rank[name] for name in file.given_up}
    file.close()


def test_pictures_give_way_before_the_samples_they_belong_to(tmp_path: Path) -> None:
    with opened(tmp_path, max_bytes=1 << 20) as spool:
        for number in range(100):
            put(spool, sample(number, picture=20_000))
        assert spool.flush()
        kept = waiting(spool)
        assert len(kept) == 100
        slim = {record.seq for record in kept if record.rank == Rank.SAMPLE}
        assert slim == set(range(1, len(slim) + 1))
        assert spool.stats().given_up == {"PICTURE": len(slim)}


def test_a_spool_full_of_vital_records_refuses_the_newest_and_says_so_until_there_is_room(tmp_path: Path) -> None:
    with opened(tmp_path, max_bytes=1 << 20) as spool:
        for _ in range(1500):
            put(spool, drift("d" * 900))
        assert spool.flush()
        kept = [record.seq for record in waiting(spool)]
        assert kept == list(range(1, len(kept) + 1))
        assert spool.stats().given_up == {"refused": 1500 - len(kept)}
        assert spool.faults() == {"spool_full"}
        put(spool, log(8000))
        assert spool.flush()
        assert [record.seq for record in waiting(spool)] == kept

        spool.confirm(spool.boot, [(1, 200)])
        assert spool.faults() == frozenset()
        late = put(spool, drift())
        spool.flush()
        assert late in [record.seq for record in waiting(spool)]


def test_a_spool_that_spares_the_disk_lets_records_wait_for_each_other_but_not_vital_ones(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        spool.spare(True)
        put(spool, log())
        put(spool, log())
        assert not waiting(spool)
        put(spool, drift())
        wait_until(lambda: len(waiting(spool)) == 3)
        spool.spare(False)
        put(spool, log())
        wait_until(lambda: len(waiting(spool)) == 4)


# ---- killed ----------------------------------------------------------------------------------------------------

APPENDER = """
import sys
from pathlib import Path
from broker import codec, topics
from broker.messages import DriftDetected, Header, LogRecord
from edge_actors.ports.spool import Spool

spool = Spool(Path(sys.argv[1]), group_s=0.0005)
print(spool.boot, flush=True)
for number in range(1, 1_000_000):
    message = LogRecord(text="x" * (number * 37 % 3000)) if number % 3 else DriftDetected(episode=str(number))
    data = codec.encode(message, Header(device="dev1", boot=spool.boot, seq=number))
    spool.append(number, topics.rank_of(message), topics.path_of(message), data)
    if number % 7 == 0 and spool.flush():
        print(number, flush=True)
"""


@pytest.mark.parametrize("seed", range(3))
def test_what_was_flushed_survives_kill_9_and_no_number_is_used_twice(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    flushed: dict[str, int] = {}
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", APPENDER, str(tmp_path)], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert child.stdout is not None
        boot = child.stdout.readline().strip()
        for _ in range(chance.randrange(1, 40)):
            flushed[boot] = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        for line in child.stdout:  # it may have got further before the signal
            flushed[boot] = int(line)
        child.wait()
        child.stdout.close()
    with opened(tmp_path) as spool:
        assert spool.faults() == frozenset()
        assert spool.boot not in flushed
        for boot, last in flushed.items():
            seqs = sorted(record.seq for record in waiting(spool) if record.boot == boot)
            assert seqs == list(range(1, len(seqs) + 1))
            assert len(seqs) >= last
        for record in waiting(spool):
            header, _ = codec.decode_record(record.data)
            assert (header.boot, header.seq) == (record.boot, record.seq)


# ---- damaged ---------------------------------------------------------------------------------------------------


def filled(directory: Path, records: int = 300) -> list[tuple[str, int]]:
    with opened(directory) as spool:
        for number in range(records):
            put(spool, sample(number, picture=4000) if number % 10 == 0 else drift(f"{number:0300d}"))
        spool.flush()
        return keys(spool)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_spool_is_salvaged_and_the_damaged_file_kept_aside(tmp_path: Path, share: float) -> None:
    before = filled(tmp_path)
    file = tmp_path / "spool.db"
    os.truncate(file, int(file.stat().st_size * share))
    with opened(tmp_path) as spool:
        wait_until(lambda: waiting(spool) and spool.stats().salvaged if share > 0.3 else spool.stats().salvaged)
        salvaged = spool.stats().salvaged
        assert salvaged is not None
        assert spool.faults() == {"spool_salvaged"}
        assert set(keys(spool)) <= set(before)
        assert len(keys(spool)) == salvaged.saved
        assert salvaged.saved >= len(before) * (share - 0.2)
        assert spool.boot not in {boot for boot, _ in before}
        assert (tmp_path / "spool.damaged").exists()
        put(spool, drift())
        assert spool.flush()
        count = len(keys(spool))
    with opened(tmp_path) as spool:
        assert len(keys(spool)) == count
        assert spool.faults() == frozenset()


def test_a_few_ruined_pages_cost_only_what_was_on_them(tmp_path: Path) -> None:
    before = filled(tmp_path, records=1000)
    file = tmp_path / "spool.db"
    pages = file.stat().st_size // 4096
    with file.open("r+b") as handle:
        for page in (pages // 3, pages // 2, pages - 20):
            handle.seek(page * 4096)
            handle.write(b"\xa5" * 4096)
    with opened(tmp_path) as spool:
        assert spool.faults() == {"spool_salvaged"}
        assert len(set(before) - set(keys(spool))) <= 60
        assert spool.boot.endswith("-000002")
        assert spool.boot.split("-")[0] != before[0][0].split("-")[0]


def test_damage_that_shows_while_running_is_salvaged_too(tmp_path: Path) -> None:
    before = filled(tmp_path, records=4000)  # more than the page cache holds
    with opened(tmp_path) as spool:
        with (tmp_path / "spool.db").open("r+b") as handle:
            handle.seek(150 * 4096)
            handle.write(b"\xa5" * 4096 * 10)
        wait_until(lambda: waiting(spool) and spool.stats().salvaged)
        assert spool.faults() == {"spool_salvaged"}
        kept = keys(spool)
        assert set(kept) < set(before)
        assert len(kept) > 3800
        put(spool, drift())
        assert spool.flush()
        assert len(keys(spool)) == len(kept) + 1


def test_a_salvage_cut_short_between_its_renames_is_finished_at_the_next_start(tmp_path: Path) -> None:
    before = filled(tmp_path)
    (tmp_path / "spool.db").rename(tmp_path / "spool-salvaged.db")
    (tmp_path / "spool.db-wal").write_bytes(b"of the damaged file")
    with opened(tmp_path) as spool:
        assert keys(spool) == before
        assert spool.faults() == frozenset()


# ---- full or failing disks -------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB, mounted for the test."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """A file of somebody else's that takes what is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as handle, contextlib.suppress(OSError):
        while handle.write(b"b" * 4096):
            pass
    return ballast


def test_a_full_disk_is_a_named_fault_and_costs_nothing_once_there_is_room(small_disk: Path) -> None:
    with opened(small_disk) as spool:
        put(spool, drift())
        assert spool.flush()
        ballast = fill(small_disk)
        for _ in range(600):
            put(spool, log(1000))
        assert not spool.flush()
        assert spool.faults() == {"disk_full"}
        assert spool.stats().queued > 0
        assert len(keys(spool)) + spool.stats().queued == 601
        ballast.unlink()
        assert spool.flush()
        assert spool.faults() == frozenset()
        assert sorted(seq for _, seq in keys(spool)) == list(range(1, 602))


def test_a_full_disk_does_not_keep_the_spool_from_forgetting_and_going_on(small_disk: Path) -> None:
    with opened(small_disk, max_bytes=8 << 20) as spool:  # larger than the disk
        while "disk_full" not in spool.faults():
            for _ in range(50):
                put(spool, drift("d" * 1000))
            spool.flush()
        stored: set[int] = set()
        for _ in range(40):  # more comes in than is confirmed
            for _ in range(20):
                put(spool, drift("d" * 4000))
            spool.flush()
            oldest = [seq for _, seq in keys(spool)][:10]
            assert spool.confirm(spool.boot, [(seq, seq) for seq in oldest]) == 10
            stored |= set(oldest)
            assert not stored & {seq for _, seq in keys(spool)}, "what is confirmed is forgotten, full or not"
        while rest := [seq for _, seq in keys(spool)]:
            assert spool.confirm(spool.boot, [(rest[0], rest[-1])]) == len(rest)
            stored |= set(rest)
            spool.flush()
        assert stored == set(range(1, spool.next_seq))
        assert spool.faults() == frozenset()


def test_a_start_on_a_full_disk_gives_a_boot_of_its_own_and_sends_from_memory(small_disk: Path) -> None:
    fill(small_disk)
    with opened(small_disk) as spool:
        assert spool.faults() == {"disk_full"}
        first = spool.boot
        seq = put(spool, drift())
        assert keys(spool) == [(first, seq)]
        assert spool.confirm(first, [(seq, seq)]) == 1
        left = put(spool, drift())
        (small_disk / "ballast").unlink()
        assert spool.flush()
        assert spool.faults() == frozenset()
    with opened(small_disk) as spool:
        assert spool.boot != first
        assert keys(spool) == [(first, left)]


def test_memory_is_bounded_while_the_disk_refuses_and_sheds_in_the_same_order(small_disk: Path) -> None:
    fill(small_disk)
    with opened(small_disk, queue_bytes=100_000) as spool:
        for number in range(100):
            put(
                spool,
                sample(number, picture=900) if number % 3 == 0 else Predictions() if number % 3 == 1 else drift(),
            )
        for _ in range(100):
            put(spool, drift("d" * 1200))
        kept = spool.next(1000, ALL)
        assert sum(len(record.data) for record in kept) <= 100_000
        assert {record.rank for record in kept} == {Rank.VITAL}
        given_up = spool.stats().given_up
        assert (given_up["PREDICTION"], given_up["PICTURE"], given_up["SAMPLE"]) == (33, 34, 34)
        assert given_up["refused"] == 133 - len(kept)
        assert "spool_full" in spool.faults()


FAILING = """
import resource, sys
from pathlib import Path
from broker import codec
from broker.messages import Header, LogRecord
from edge_actors.ports.spool import Spool

spool = Spool(Path(sys.argv[1]), group_s=0.001, retry_s=0.05)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
for number in range(1, 401):
    data = codec.encode(LogRecord(text="x" * 1000), Header(device="dev1", boot=spool.boot, seq=number))
    spool.append(number, 1, "log", data)
print(spool.flush(0.5), sorted(spool.faults()))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(spool.flush(), sorted(spool.faults()), len(spool.next(1000, 1 << 30)), spool.close())
"""


def test_a_disk_that_fails_to_write_is_a_named_fault_and_is_tried_again(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILING, str(tmp_path)], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == ["False ['disk_failing']", "True [] 400 0"], done.stderr
