"""Records of a boot without a clock get their time once it has one, by whatever way they come and how often."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from threading import Thread
from typing import Any

import psycopg
import pytest

from broker.messages import Birth, DriftDetected, Float32Array, LogRecord, Message, Status, Telemetry
from ingest.embedded import Postgres
from ingest.jobs import retime
from ingest.jobs.job import Site
from ingest.settings import IngestSettings
from ingest.stores.batch import Batch
from ingest.stores.events import PostgresEvents
from ingest.wiring import CONSUMERS
from tests.postgres import fresh_database
from tests.records import BOOT, DEVICE, EVERY_KIND, header
from tests.support import wait_until

OFFSET_US = 1_700_000_000_123_457  # the clock of the boot
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATE = "clock = 'unsynced'"


def said(seq: int, at: float, clock: str = "synced", *, off_us: int = 0, **more: Any) -> Any:
    """A header at message time `at`; without a synced clock the device believes in 1970."""
    mono_us = round(at * 1e6)
    wall_us = mono_us + (OFFSET_US + off_us if clock == "synced" else 1_000_000)
    return header(seq, **{"wall_us": wall_us, "mono_us": mono_us, "clock": clock, **more})


def right(at: float) -> datetime:
    return EPOCH + timedelta(microseconds=OFFSET_US + round(at * 1e6))


def told(*messages: Message, clock: str = "unsynced", first: int = 1) -> Batch:
    batch = Batch()
    for seq, message in enumerate(messages, first):
        CONSUMERS[type(message)](said(seq, message.at, clock), message, batch)  # type: ignore[attr-defined]
    return batch


def anchor(at: float = 100.0, *, off_us: int = 0, clock: str = "synced", mono_us: int | None = None) -> Batch:
    """A status that tells the clock of the boot."""
    about = said(0, at, clock, off_us=off_us, **({} if mono_us is None else {"mono_us": mono_us}))
    return Batch(statuses=[(about, Status(state="online", session=1))])


def drift(at: float) -> DriftDetected:
    return DriftDetected(at=at, episode=f"e{at}", detector="cusum", statistic=3.0, threshold=2.0)


class Scene:
    """A database, stores of several workers on it, and the job."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.eyes = psycopg.connect(url, autocommit=True, options="-c timezone=UTC")
        self.store = PostgresEvents(url)
        self.site = Site(IngestSettings(database=url))
        self.stores = [self.store]

    def another(self) -> PostgresEvents:
        self.stores.append(PostgresEvents(self.url))
        return self.stores[-1]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.eyes.execute(query.encode()).fetchall()

    def drifts(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT at, clock, op_s FROM drift_event ORDER BY seq, at")

    def retime(self) -> str:
        return retime.run(self.site)

    def count(self) -> tuple[Any, ...]:
        (row,) = self.rows("SELECT records, numbers, last_seq FROM v_record_count")
        return row

    def close(self) -> None:
        self.eyes.close()
        self.site.close()
        for store in self.stores:
            store.close()


class ClockContract:
    @pytest.fixture
    def scene(self, server: Postgres) -> Iterator[Scene]:
        for url in fresh_database(server):
            scene = Scene(url)
            yield scene
            scene.close()

    def test_an_unsynced_record_of_a_boot_with_a_clock_is_stored_at_its_right_time(self, scene: Scene) -> None:
        scene.store.store(told(drift(50.25), clock="synced", first=9))
        for store in (scene.store, scene.another()):  # one knows the clock, the other has to ask
            store.store(told(drift(7.125)))
        assert scene.drifts() == [(right(7.125), "retimed", 7.125), (right(50.25), "synced", 50.25)]

    def test_the_clock_may_come_in_the_same_batch(self, scene: Scene) -> None:
        batch = told(drift(1.5), drift(2.5))
        batch.add(next(iter(batch.rows)), said(3, 60.0), 60.0, next(iter(batch.rows.values()))[0][6:])
        scene.store.store(batch)
        assert [clock for _, clock, _ in scene.drifts()] == ["retimed", "retimed", "synced"]

    def test_every_kind_of_record_that_came_before_the_clock_is_moved(self, scene: Scene) -> None:
        scene.store.store(told(*EVERY_KIND))
        ticks = {message.at for message in EVERY_KIND}  # type: ignore[attr-defined]
        assert scene.retime() == ""
        scene.store.store(anchor())
        assert scene.retime() == f"{len(EVERY_KIND)} records moved to the time of their boot's clock"
        tables = dict(retime.record_tables(scene.eyes))
        union = " UNION ALL ".join(f"SELECT at, clock, op_s FROM {table}" for table in tables)
        assert sorted(scene.rows(union)) == sorted((right(at), "retimed", at) for at in ticks)
        assert scene.count() == (len(EVERY_KIND),) * 3
        assert scene.retime() == ""

    def test_every_table_that_consumers_write_records_to_is_found(self, scene: Scene) -> None:
        written = {table.name for table in told(*EVERY_KIND).rows}
        assert written <= {name for name, _ in retime.record_tables(scene.eyes)}
        scene.eyes.execute("CREATE TABLE newest (LIKE log INCLUDING ALL, more text)")
        assert "newest" in dict(retime.record_tables(scene.eyes))

    @pytest.mark.parametrize("view", ["v_boot", "v_record_count"])
    def test_every_table_of_records_is_in_the_views_that_count_them(self, scene: Scene, view: str) -> None:
        used = scene.rows(f"SELECT table_name FROM information_schema.view_table_usage WHERE view_name = '{view}'")
        assert {name for name, _ in retime.record_tables(scene.eyes)} <= {name for (name,) in used}

    def test_a_boot_that_never_gets_a_clock_lies_between_its_neighbours(self, scene: Scene) -> None:
        batch = Batch()
        for boot, clock, at in (
            (1, "synced", 50.0),
            (2, "unsynced", 60.0),
            (3, "synced", 70.0),
            (4, "unsynced", 1.0),
        ):
            about = said(1, at, clock, boot=f"0a1b2c3d-{boot:06d}")
            CONSUMERS[DriftDetected](about, drift(at), batch)
        CONSUMERS[DriftDetected](said(1, 65.0, boot="ffffffff-000002"), drift(65.0), batch)  # another installation
        scene.store.store(batch)
        known = scene.rows(
            "SELECT has_clock, unsynced, first_at, not_before, not_after, not_after = last_received_at FROM v_boot"
            " WHERE boot < 'f' ORDER BY boot"
        )
        received = known[3][4]
        assert known == [
            (True, 0, right(50.0), None, None, None),
            (False, 1, None, right(50.0), right(70.0), False),
            (True, 0, right(70.0), None, None, None),
            (False, 1, None, right(70.0), received, True),
        ]

    def test_readings_wait_with_their_message_and_become_rows_with_it(self, scene: Scene) -> None:
        message = next(message for message in EVERY_KIND if isinstance(message, Telemetry))
        scene.store.store(told(message))
        believed = EPOCH + timedelta(seconds=1 + message.at)
        assert scene.rows("SELECT max(at), count(*) FROM v_telemetry") == [(believed, 3)]
        assert scene.rows("SELECT FROM reading") == []
        scene.store.store(anchor())
        scene.retime()
        shown = [
            (right(3.0), "fps", 9.0),
            (right(3.0), "rss_mb", 50.0),
            (right(4.0), "rss_mb", 51.0),
        ]
        assert scene.rows("SELECT at, name, value FROM v_telemetry ORDER BY at, name") == shown
        assert scene.rows("SELECT clock, names, ages, readings, size FROM telemetry") == [
            ("retimed", None, None, None, 3)
        ]

    def test_a_synced_record_is_never_moved_and_the_first_clock_stands(self, scene: Scene) -> None:
        scene.store.store(told(drift(10.0), clock="synced"))
        scene.another().store(anchor(20.0, off_us=3_000_000))  # the wall clock was corrected by three seconds
        later = Batch()
        CONSUMERS[DriftDetected](said(2, 30.0, off_us=3_000_000), drift(30.0), later)
        CONSUMERS[DriftDetected](said(3, 31.0, "unsynced"), drift(31.0), later)
        scene.another().store(later)
        scene.retime()
        corrected = right(30.0) + timedelta(seconds=3)
        assert [at for at, _, _ in scene.drifts()] == [right(10.0), corrected, right(31.0)]

    @pytest.mark.parametrize(
        "batch",
        [
            anchor(off_us=10 * 366 * 86_400 * 1_000_000),
            anchor(off_us=-OFFSET_US),
            anchor(mono_us=0),
            anchor(clock="unsynced"),
            anchor(clock="retimed"),
        ],
        ids=["in ten years", "in 1970", "without message time", "unsynced", "of another word"],
    )
    def test_what_cannot_be_believed_sets_no_clock(self, scene: Scene, batch: Batch) -> None:
        scene.store.store(told(drift(1.0)))
        scene.store.store(batch)
        scene.retime()
        assert [clock for _, clock, _ in scene.drifts()] == ["unsynced"]
        scene.store.store(anchor())
        scene.retime()
        assert scene.drifts() == [(right(1.0), "retimed", 1.0)]

    def test_a_birth_tells_the_clock_as_well(self, scene: Scene) -> None:
        scene.store.store(told(drift(1.0)))
        scene.store.store(Batch(births=[(said(0, 5.0), Birth(session=1))]))
        scene.retime()
        assert scene.drifts() == [(right(1.0), "retimed", 1.0)]

    def test_other_boots_and_devices_keep_what_they_have(self, scene: Scene) -> None:
        batch = Batch()
        for device, boot in ((DEVICE, "0a1b2c3d-000002"), ("lamp-2", BOOT)):
            CONSUMERS[LogRecord](said(1, 1.0, "unsynced", device=device, boot=boot), LogRecord(at=1.0), batch)
        scene.store.store(batch)
        scene.store.store(anchor())
        scene.retime()
        assert scene.rows("SELECT DISTINCT clock FROM log") == [("unsynced",)]

    def test_a_record_that_comes_again_after_the_clock_stays_one(self, scene: Scene) -> None:
        twice = told(*EVERY_KIND)
        assert scene.store.store(twice) == len(EVERY_KIND)
        scene.another().store(anchor())
        for store in (scene.store, scene.another()):
            assert store.store(twice) == 0
            assert scene.count() == (len(EVERY_KIND),) * 3
        scene.retime()
        assert scene.store.store(twice) == 0
        assert scene.count() == (len(EVERY_KIND),) * 3
        assert scene.rows("SELECT count(*) FROM reading") == [(3,)]

    def test_a_record_that_two_workers_stored_at_two_times_becomes_one(self, scene: Scene) -> None:
        twice = told(*EVERY_KIND)
        scene.store.store(anchor())
        scene.store.store(twice)
        scene.eyes.execute("DELETE FROM boot_clock")  # the other one looked before it was set, and was slow
        scene.another().store(twice)
        scene.another().store(anchor())
        assert scene.count()[0] == 2 * len(EVERY_KIND)
        scene.retime()
        assert scene.count() == (len(EVERY_KIND),) * 3
        assert scene.rows("SELECT count(*) FROM reading") == [(3,)]
        assert scene.rows("SELECT count(*) FROM drift_event WHERE " + LATE) == [(0,)]

    def test_a_record_whose_own_clock_was_right_all_along_is_still_there(self, scene: Scene) -> None:
        batch = Batch()
        about = said(1, 5.0, "synced")
        for kind in (
            drift(5.0),
            Telemetry(at=5.0, names=("a",), ages=Float32Array.of([0]), values=Float32Array.of([1])),
        ):
            CONSUMERS[type(kind)](
                header(1, wall_us=about.wall_us, mono_us=about.mono_us, clock="unsynced"), kind, batch
            )
        scene.store.store(batch)
        scene.store.store(anchor())
        scene.retime()
        assert scene.drifts() == [(right(5.0), "retimed", 5.0)]
        assert scene.rows("SELECT at, value FROM v_telemetry") == [(right(5.0), 1.0)]
        assert scene.rows("SELECT clock FROM telemetry") == [("retimed",)]

    def test_worker_and_job_compute_the_same_time_to_the_microsecond(self, scene: Scene) -> None:
        chance = Random(7)
        ticks = [chance.uniform(0.000001, 10 ** chance.uniform(-3, 8)) for _ in range(400)]
        batch = told(*[drift(at) for at in ticks])
        scene.store.store(batch)
        scene.store.store(anchor())
        scene.retime()
        moved = scene.drifts()
        scene.store.store(batch)
        assert scene.drifts() == moved
        assert {at for at, _, _ in moved} == {right(tick) for tick in ticks}

    def test_workers_that_race_with_the_clock_and_the_job_leave_one_row_a_record(self, scene: Scene) -> None:
        records = [told(*_mixed(number), first=1 + 4 * number) for number in range(30)]
        work = [[*records, anchor()], [*reversed(records)], [*records[15:], anchor(), *records[:15]]]
        threads = [Thread(target=_store_all, args=(scene.another(), batches)) for batches in work]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            scene.retime()
        for thread in threads:
            thread.join()
        scene.retime()
        assert scene.count() == (120, 120, 120)
        assert scene.rows("SELECT count(*), count(DISTINCT (series, at, value)) FROM reading") == [(180, 180)]
        assert scene.rows("SELECT DISTINCT clock FROM telemetry UNION SELECT clock FROM drift_event") == [
            ("retimed",)
        ]

    def test_a_job_that_is_killed_anywhere_loses_and_doubles_nothing(self, scene: Scene) -> None:
        for number in range(0, 300, 50):
            scene.store.store(told(*[m for n in range(number, number + 50) for m in _mixed(n)], first=1 + 4 * number))
        scene.store.store(anchor())
        for _ in range(3):
            before = self._late(scene)
            job = subprocess.Popen([sys.executable, "-c", JOB_IN_SMALL_STEPS, scene.url])
            wait_until(lambda seen=before: self._late(scene) < seen, timeout=30)  # type: ignore[misc]
            os.kill(job.pid, signal.SIGKILL)
            job.wait()
        assert self._late(scene) > 0, "the job was done before it could be killed"
        scene.retime()
        assert self._late(scene) == 0
        assert scene.count() == (1200, 1200, 1200)
        assert scene.rows("SELECT count(*), count(DISTINCT (series, at, value)) FROM reading") == [(1800, 1800)]

    def _late(self, scene: Scene) -> int:
        (row,) = scene.rows(
            f"SELECT (SELECT count(*) FROM drift_event WHERE {LATE}) + count(*) FROM telemetry WHERE {LATE}"
        )
        return int(row[0])


JOB_IN_SMALL_STEPS = """
import sys, time
from ingest.jobs import retime
from ingest.jobs.job import Site
from ingest.settings import IngestSettings

retime.AT_ONCE = 7
retime.RUN_S = 60.0
site = Site(IngestSettings(database=sys.argv[1]))
retime.run(site)
"""


def _mixed(number: int) -> list[Message]:
    """Four records, of which two are messages with three readings each."""
    at = 1.0 + number
    readings = [
        Telemetry(
            at=at + part,
            names=("a", "b"),
            ages=Float32Array.of([0.25, 0.125]),
            values=Float32Array.of([number, 1, float("nan"), 2]),
        )
        for part in (0.0, 0.5)
    ]
    return [drift(at), *readings, drift(at + 0.25)]


def _store_all(store: PostgresEvents, batches: list[Batch]) -> None:
    for batch in batches:
        store.store(batch)


class TestEmbedded(ClockContract):
    @pytest.fixture
    def server(self, embedded_server: Postgres) -> Postgres:
        return embedded_server


@pytest.mark.timescale
class TestTimescale(ClockContract):
    @pytest.fixture
    def server(self, timescale_server: Postgres) -> Postgres:
        return timescale_server
