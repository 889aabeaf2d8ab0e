"""What goes to the disk in a day is counted, and more than people allow is told and acted on."""

from __future__ import annotations

from pathlib import Path

from edge_actors.disk_writes import DAY_S, DiskWrites, kernel_written

MB = 1_000_000


class Disk:
    """Counters that a test moves, and the time."""

    def __init__(self, budget_mb: float = 0.0, kernel: bool = True) -> None:
        self.now, self.spool, self.journal, self.kernel = 0.0, 0, 0, 50 * MB
        self.told: list[bool] = []
        self.writes = DiskWrites(
            {"spool": lambda: self.spool, "journal": lambda: self.journal},
            budget_mb,
            spare=self.told.append,
            kernel=lambda: self.kernel if kernel else None,
            monotonic=lambda: self.now,
        )


def test_tells_what_each_part_wrote_and_what_the_kernel_says() -> None:
    disk = Disk()
    disk.spool, disk.journal, disk.kernel = 2 * MB, 3 * MB, 62 * MB
    assert disk.writes.metrics() == {
        "written_spool_mb": 2.0,
        "written_journal_mb": 3.0,
        "disk_written_mb": 62.0,
        "disk_written_day_mb": 12.0,
    }


def test_without_the_kernel_s_count_its_own_has_to_do() -> None:
    disk = Disk(budget_mb=4.0, kernel=False)
    disk.spool = 5 * MB
    told = disk.writes.metrics()
    assert "disk_written_mb" not in told
    assert told["disk_written_day_mb"] == 5.0
    assert disk.writes.faults() == {"write_budget"}


def test_the_larger_count_decides() -> None:
    disk = Disk()
    disk.spool, disk.kernel = 7 * MB, 51 * MB  # a disk in memory: the kernel counts nothing
    assert disk.writes.metrics()["disk_written_day_mb"] == 7.0


def test_more_than_the_budget_is_a_fault_until_it_is_clearly_less() -> None:
    disk = Disk(budget_mb=100.0)
    faults = []
    for hour in range(60):
        disk.now = hour * 3600.0
        disk.kernel += (10 if hour < 24 else 2) * MB
        disk.writes.metrics()
        faults.append(bool(disk.writes.faults()))
    assert disk.told == [True, False]
    assert faults.index(True) == 10, "the eleventh ten megabytes"
    last = len(faults) - 1 - faults[::-1].index(True)
    assert 36 < last < 48, "when the busy day is mostly over"
    assert not any(faults[last + 1 :])


def test_what_is_more_than_a_day_ago_does_not_count() -> None:
    disk = Disk(budget_mb=100.0)
    disk.kernel += 99 * MB
    disk.writes.metrics()
    disk.now = DAY_S + 1200.0
    disk.writes.metrics()
    disk.kernel += 99 * MB
    disk.now += 600.0
    assert disk.writes.metrics()["disk_written_day_mb"] < 100
    assert disk.told == []


def test_without_a_budget_nothing_is_too_much() -> None:
    disk = Disk()
    disk.kernel += 10**12
    disk.writes.metrics()
    assert (disk.writes.faults(), disk.told) == (frozenset(), [])


def test_memory_is_bounded_however_long_it_runs() -> None:
    disk = Disk(budget_mb=1.0)
    for reading in range(5000):
        disk.now = reading * 300.0
        disk.writes.metrics()
    assert len(disk.writes._slots) <= DAY_S // 600 + 2


def test_reads_the_kernel_s_count(tmp_path: Path) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    file = tmp_path / "proc" / "self" / "io"
    file.write_text("rchar: 5\nwchar: 6\nread_bytes: 7\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n")
    assert kernel_written(tmp_path) == 4096
    file.write_text("nonsense")
    assert kernel_written(tmp_path) is None
    assert kernel_written(tmp_path / "nowhere") is None
    assert kernel_written() is not None
