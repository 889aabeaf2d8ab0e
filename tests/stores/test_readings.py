"""Every reading is one row, however often its message comes and whatever is deleted meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import Float32Array, Telemetry
from ingest.consumers.health import telemetry
from ingest.embedded import Postgres
from ingest.errors import Poison, StoreAway
from ingest.jobs import readings as jobs_readings
from ingest.jobs.job import Site
from ingest.settings import IngestSettings
from ingest.stores import readings
from ingest.stores.batch import EPOCH, Batch
from ingest.stores.events import PostgresEvents
from ingest.stores.migrate import available, migrate
from ingest.stores.readings import EPOCH_2000_US, Readings, microseconds
from tests.postgres import fresh_database
from tests.records import BOOT, DEVICE, NOON_US, header
from tests.support import wait_until

NAN = float("nan")
ALL = "SELECT device, at, name, value FROM v_telemetry ORDER BY device, at, name"


def message(
    names: tuple[str, ...] = ("a", "b"),
    ages: tuple[float, ...] = (1.0, 0.0),
    values: tuple[float, ...] = (1, 2, 3, 4),
) -> Telemetry:
    return Telemetry(at=9.0, names=names, ages=Float32Array.of(ages), values=Float32Array.of(values))


def batch_of(*messages: Telemetry, device: str = DEVICE, first: int = 1) -> Batch:
    batch = Batch()
    for seq, each in enumerate(messages, first):
        telemetry(header(seq, device), each, batch)
    return batch


class Scene:
    def __init__(self, url: str) -> None:
        self.url, self.store = url, PostgresEvents(url)
        self.eyes = psycopg.connect(url, autocommit=True, options="-c timezone=UTC")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.eyes.execute(query.encode()).fetchall()

    def delete_series(self) -> None:
        """As whoever forgets a device has to do it."""
        with self.eyes.transaction():
            gone = self.eyes.execute("DELETE FROM series RETURNING id").fetchall()
            self.eyes.execute("DELETE FROM reading WHERE series = ANY(%s)", [[number for (number,) in gone]])

    def close(self) -> None:
        self.store.close()
        self.eyes.close()


class ReadingsContract:
    @pytest.fixture
    def scene(self, server: Postgres) -> Iterator[Scene]:
        for url in fresh_database(server):
            scene = Scene(url)
            yield scene
            scene.close()

    def test_each_reading_is_a_row_at_the_time_it_was_read(self, scene: Scene) -> None:
        scene.store.store(batch_of(message(ages=(1.5, 0.25), values=(1, NAN, -0.0, 4))))
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=NOON_US + 1)
        early, late = at - timedelta(seconds=1.5), at - timedelta(seconds=0.25)
        assert scene.rows(ALL) == [(DEVICE, early, "a", 1.0), (DEVICE, late, "a", 0.0), (DEVICE, late, "b", 4.0)]
        assert scene.rows("SELECT size, seconds, names, ages, readings FROM telemetry") == [
            (3, 1.5, None, None, None)
        ]

    def test_a_message_that_comes_again_adds_nothing(self, scene: Scene) -> None:
        batch = batch_of(message(), message())
        assert scene.store.store(batch) == 2
        assert scene.store.store(batch) == 0
        assert scene.store.store(batch_of(message(), message(), message())) == 1
        assert scene.rows("SELECT count(*) FROM reading") == [(12,)]

    def test_more_than_is_copied_at_a_time_arrives_whole(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readings, "AT_ONCE", 10)
        large = message(ages=tuple(range(50)), values=tuple(range(100)))
        scene.store.store(batch_of(message(), large, message(), *[message((), (), ())] * 3, message()))
        assert scene.rows("SELECT count(*), sum(value) FROM reading") == [(112, 4980.0)]
        assert scene.rows("SELECT sum(size), count(*) FROM telemetry") == [(112, 7)]

    def test_a_name_of_two_devices_is_two_series(self, scene: Scene) -> None:
        scene.store.store(batch_of(message()))
        scene.store.store(batch_of(message(), device="lamp-2"))
        assert scene.rows("SELECT device, count(*) FROM v_telemetry GROUP BY 1 ORDER BY 1") == [
            (DEVICE, 4),
            ("lamp-2", 4),
        ]
        assert scene.rows("SELECT count(*) FROM series") == [(4,)]

    def test_what_is_not_remembered_is_looked_up_again(self, scene: Scene) -> None:
        scene.store._readings = Readings(remembered=4)
        for number in (1, 2, 3, 1, 2, 3):
            scene.store.store(batch_of(message(), device=f"lamp-{number}", first=number))
        for number in (1, 2, 3):
            scene.store.store(batch_of(message(), device=f"lamp-{number}", first=9))
        assert scene.rows("SELECT count(*), count(DISTINCT (device, name)) FROM v_telemetry") == [(24, 6)]
        assert len(scene.store._readings._ids) == 2

    def test_series_that_were_deleted_are_made_again_and_leave_no_readings_behind(self, scene: Scene) -> None:
        scene.store.store(batch_of(message()))
        scene.delete_series()
        assert scene.store.store(batch_of(message(), first=2)) == 1  # at the second attempt
        assert scene.rows("SELECT count(*) FROM reading r JOIN series s ON s.id = r.series") == [(4,)]
        assert scene.rows("SELECT count(*) FROM reading") == [(4,)]
        assert scene.rows("SELECT seq FROM telemetry ORDER BY seq") == [(1,), (2,)]

    def test_deleting_while_workers_write_leaves_no_reading_without_a_series(self, scene: Scene) -> None:
        threads = [Thread(target=_store_patiently, args=(scene.url, first)) for first in (1, 1000)]
        for thread in threads:
            thread.start()
        for told in range(0, 80, 8):  # not without pause, or no worker would get anywhere
            wait_until(lambda least=told: scene.rows("SELECT count(*) FROM telemetry") > [(least,)])  # type: ignore[misc]
            scene.delete_series()
        for thread in threads:
            thread.join()
        orphans = "SELECT count(*) FROM reading r WHERE NOT EXISTS (SELECT FROM series s WHERE s.id = r.series)"
        assert scene.rows(orphans) == [(0,)]
        assert scene.rows("SELECT count(*), count(DISTINCT seq) FROM telemetry") == [(80, 80)]

    def test_readings_from_before_there_were_rows_are_kept(self, server: Postgres) -> None:
        for url in fresh_database(server, migrated=False):
            with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
                migrate(connection, available()[:6])
                row = "INSERT INTO telemetry (device, boot, seq, at, clock, op_s, names, ages, readings, faults)"
                row += " VALUES (%s, %s, 1, %s, %s, 60, '{a,b}', '{1.5,0}', '{1,NaN,3,4}', '{}')"
                at = datetime(2024, 9, 1, tzinfo=UTC)
                connection.execute(row.encode(), [DEVICE, BOOT, at, "synced"])
                connection.execute(row.encode(), ["lamp-2", BOOT, at, "unsynced"])
                before = connection.execute(ALL.encode()).fetchall()
                assert len(before) == 6
                migrate(connection)
                assert connection.execute(ALL.encode()).fetchall() == before
                ledger = "SELECT size, seconds, names, cardinality(readings) FROM telemetry ORDER BY device"
                assert connection.execute(ledger.encode()).fetchall() == [
                    (3, 1.5, None, None),
                    (3, 1.5, ["a", "b"], 4),
                ]
                assert connection.execute("SELECT count(*) FROM reading").fetchall() == [(3,)]
                offset_us = (at - EPOCH) // timedelta(microseconds=1) - 60_000_000
                clocks = connection.execute("SELECT device, boot, offset_us FROM boot_clock").fetchall()
                assert clocks == [(DEVICE, BOOT, offset_us)]


def _store_patiently(url: str, first: int) -> None:
    store = PostgresEvents(url)
    for seq in range(first, first + 40):
        while True:
            try:
                store.store(batch_of(message(), first=seq))
            except StoreAway:
                continue
            break
    store.close()


class TestEmbedded(ReadingsContract):
    @pytest.fixture
    def server(self, embedded_server: Postgres) -> Postgres:
        return embedded_server


@pytest.mark.timescale
class TestTimescale(ReadingsContract):
    @pytest.fixture
    def server(self, timescale_server: Postgres) -> Postgres:
        return timescale_server

    def test_a_day_that_is_complete_gets_a_tree_and_today_is_summed_up(self, server: Postgres) -> None:
        for url in fresh_database(server):
            scene = Scene(url)
            for days in (0, 3):
                now_us = (datetime.now(UTC) - timedelta(days=days) - EPOCH) // timedelta(microseconds=1)
                batch = Batch()
                telemetry(header(1 + days, wall_us=now_us), message(), batch)
                scene.store.store(batch)
            assert self._indexes(scene) == {(False, "brin"): 2}
            _killed_while_it_planted(scene)
            site = Site(IngestSettings(database=url))
            assert jobs_readings.run(site) == "1 chunks of readings got a tree"
            assert jobs_readings.run(site) == ""
            assert self._indexes(scene) == {(False, "brin"): 2, (True, "btree"): 1}
            assert scene.rows("SELECT count(*) FROM v_telemetry") == [(8,)]
            site.close()
            scene.close()

    def _indexes(self, scene: Scene) -> dict[tuple[bool, str], int]:
        """How many chunks have an index of a kind, and whether that is on a chunk of the past."""
        rows = scene.rows(
            "SELECT a.amname = 'btree', a.amname, count(*) FROM timescaledb_information.chunks k"
            " JOIN pg_index i ON i.indisvalid"
            " AND i.indrelid = format('%I.%I', k.chunk_schema, k.chunk_name)::regclass"
            " JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am a ON a.oid = x.relam"
            " WHERE k.hypertable_name = 'reading' AND (a.amname = 'brin' OR k.range_end < now()) GROUP BY 1, 2"
        )
        return {(past, kind): count for past, kind, count in rows}


def _killed_while_it_planted(scene: Scene) -> None:
    """Leaves an invalid index on the chunk of three days ago, as CREATE INDEX CONCURRENTLY does."""
    ((chunk,),) = scene.rows(
        "SELECT format('%I.%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks"
        " WHERE hypertable_name = 'reading' AND range_end < now()"
    )
    scene.eyes.execute(f"CREATE INDEX half ON {chunk} (series, at)".encode())
    half = "'_timescaledb_internal.half'::regclass"
    scene.eyes.execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = {half}".encode())


# ---- what cannot be a reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (message(values=(1, 2, 3)), "3 readings are not 2 rows of 2 names"),
        (message(ages=(NAN, 0)), "within a year"),
        (message(ages=(4e7, 0)), "within a year"),
        (message(ages=(float("inf"), 0)), "within a year"),
        (message(names=("a", "b" * 129)), "129 characters"),
    ],
)
def test_what_no_row_can_be_made_of_is_poison(bad: Telemetry, reason: str) -> None:
    with pytest.raises(Poison, match=reason):
        batch_of(bad)


# ---- numbers -------------------------------------------------------------------------------------------------------


@given(st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)))
def test_a_time_is_counted_as_postgresql_does(at: datetime) -> None:
    assert EPOCH + timedelta(microseconds=microseconds(at) + EPOCH_2000_US) == at


@given(st.data())
def test_binary_rows_are_what_was_measured(data: st.DataObject) -> None:
    names = data.draw(st.integers(0, 4).map(lambda n: tuple(f"n{i}" for i in range(n))))
    ages = data.draw(st.lists(st.floats(0, 1e6, width=32), max_size=5))
    size = len(names) * len(ages)
    values = data.draw(st.lists(st.floats(width=32), min_size=size, max_size=size))
    about = message(names, tuple(ages), tuple(values))
    given: list[Any] = next(iter(batch_of(about).rows.values()))
    row = readings._Message(*given[0])
    writer = Readings()
    writer._ids[DEVICE, names] = np.arange(len(names)) + 7
    built = np.frombuffer(writer._binary([row]), readings.BINARY_ROW)
    expected = [
        (
            7 + column,
            microseconds(row.at) - round(float(np.float32(age)) * 1e6),
            np.float32(values[line * len(names) + column]),
        )
        for column in range(len(names))
        for line, age in enumerate(ages)
        if not np.isnan(values[line * len(names) + column])
    ]
    assert [(r["series"], r["at"], r["value"]) for r in built] == expected
