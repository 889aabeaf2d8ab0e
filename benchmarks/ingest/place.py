"""Where it is measured: Mosquitto with the limits we ship, PostgreSQL that keeps its promises, each a process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from broker.errors import TinymlError
from broker.process import BrokerProcess, shipped_limits
from ingest.embedded import EmbeddedPostgres, Postgres, TimescalePostgres
from ingest.stores.events import connect, server_level
from ingest.stores.migrate import migrate
from platform_api.demo.process import Process, tinyml

TICKS = os.sysconf("SC_CLK_TCK")


class Place:
    """Broker and database, up until it is left. Workers are started in it one measure at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        programs = os.environ.get("TINYML_TIMESCALE_BIN", "")
        self.database: Postgres
        told = {"track_commit_timestamp": "on"}  # when a row became one; it costs the database a little
        if programs:
            self.database = TimescalePostgres(Path(programs), directory / "database", told)
        else:
            self.database = EmbeddedPostgres(directory / "database", told)
        # More than 5,000 devices need more descriptors than the usual soft limit; our children inherit ours.
        self.broker = BrokerProcess(directory / "broker", kind="mosquitto", more=shipped_limits())
        self._numbers = 0

    def __enter__(self) -> Place:
        self.database.start()
        self.broker.start()
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            migrate(connection)
            row = connection.execute("SHOW fsync").fetchone()
            assert row is not None
            assert row[0] == "on"
        return self

    def __exit__(self, *_: object) -> None:
        self.broker.stop()
        self.database.remove()

    def about(self) -> str:
        """What it was measured on."""
        (version,) = self.ask("SHOW server_version")
        with connect(self.database.url) as connection:
            level = server_level(connection)
        return f"PostgreSQL {version} ({level}), fsync on, Mosquitto, {os.cpu_count()} processors"

    def launch(self, name: str, argv: Sequence[str]) -> Process:
        """A process, from now on."""
        self._numbers += 1
        process = Process(name, argv, self.directory / f"{self._numbers:03}-{name}.log")
        process.start()
        return process

    def start(self, name: str, argv: Sequence[str], ready: str) -> Process:
        """A process that has said it is ready."""
        process = self.launch(name, argv)
        try:
            process.wait_for(ready)
        except TinymlError:
            process.stop()
            raise
        return process

    def simulate(self, name: str, *more: str) -> Process:
        """`tinyml simulate` here, from the moment on at which all devices are connected."""
        report = self.directory / f"{self._numbers + 1:03}-{name}.json"
        where = ("--broker", self.broker.url, "--database", self.database.url, "--json", str(report))
        return self.start(name, tinyml("simulate", *where, *more), "making ")

    def report(self, process: Process) -> Path:
        """Where a simulation writes what it found."""
        return process.log.with_suffix(".json")

    def worker_argv(self) -> list[str]:
        where = ("--broker", self.broker.url, "--database", self.database.url)
        return tinyml("ingest", "run", *where, "--objects", str(self.directory / "objects"))

    @contextmanager
    def workers(self, count: int = 1) -> Iterator[list[Process]]:
        """Ingest workers of ours that listen; ended afterwards, and the tables emptied."""
        started: list[Process] = []
        try:
            started += (self.start("worker", self.worker_argv(), "listening") for _ in range(count))
            yield started
        finally:
            for worker in started:
                worker.stop()
            self.empty()

    def ask(self, statement: str) -> tuple[Any, ...]:
        """The one row that answers."""
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            row = connection.execute(statement.encode()).fetchone()
        assert row is not None
        return row

    def counted(self, table: str, boots: Sequence[str]) -> tuple[int, int]:
        """Rows and different records of these boots."""
        with connect(self.database.url) as connection:
            statement = f"SELECT count(*), count(DISTINCT (device, boot, seq)) FROM {table} WHERE boot = ANY(%s)"
            row = connection.execute(statement.encode(), [list(boots)]).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])

    def committed(self, table: str, boot: str) -> list[tuple[str, int, float]]:
        """When each record of a boot became a row, by device and sequence number: in seconds of the wall clock."""
        statement = (
            "SELECT device, seq, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8"
            f" FROM {table} WHERE boot = %s"
        )
        with connect(self.database.url) as connection:
            return connection.execute(statement.encode(), [boot]).fetchall()

    def empty(self) -> None:
        """So that no measure pays for another's rows."""
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            kept = ("migration", "job")
            found = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND NOT tablename = ANY(%s)",
                [list(kept)],
            ).fetchall()
            names = ", ".join(name for (name,) in found)
            connection.execute(f"TRUNCATE {names}".encode())
            connection.execute("CHECKPOINT")


@contextmanager
def asleep(processes: Sequence[Process]) -> Iterator[None]:
    """The processes do nothing meanwhile, and the broker keeps what comes for them."""
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process.pid, signal.SIGCONT)


def cpu_s(pid: int, children: bool = False) -> float:
    """Processor time of a process, or of all that it has started."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(stat.parent.name) == pid or (children and int(fields[1]) == pid):
            total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident memory now, and the most it ever was."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Vm")
    )
    return int(status["VmRSS"].split()[0]) / 1024, int(status["VmHWM"].split()[0]) / 1024


def others_busy(seconds: float = 1.0) -> float:
    """Share of all processors that somebody uses now: what a figure measured here is worth."""

    def idle() -> tuple[float, float]:
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        return float(fields[3] + fields[4]), float(sum(fields[:8]))

    before = idle()
    time.sleep(seconds)
    after = idle()
    return 1.0 - (after[0] - before[0]) / max(after[1] - before[1], 1.0)
