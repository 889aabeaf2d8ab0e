"""Hours stay when rows are given up, and nothing is given up that somebody still needs; on every PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from broker.errors import SettingsError
from broker.messages import (
    CommandReported,
    DriftCleared,
    DriftContinued,
    DriftDetected,
    Float32Array,
    Message,
    Predictions,
    SampleQuarantined,
    Telemetry,
)
from ingest.embedded import Postgres
from ingest.errors import IngestError
from ingest.keeping import community
from ingest.keeping.levels import STEADY, level_up
from ingest.keeping.periods import DEFAULTS, default_text, periods
from ingest.keeping.retention import KINDS, start
from ingest.keeping.rollups import AGGREGATES, sum_up
from ingest.keeping.spent import remove_spent
from ingest.stores import queries
from ingest.stores.batch import Batch
from ingest.stores.events import PostgresEvents, server_level
from ingest.stores.migrate import Migration, available, migrate
from ingest.stores.objects import Folder
from ingest.wiring import CONSUMERS
from tests.postgres import PostgresContainer, emptied_database, fresh_database
from tests.records import BOOT, DEVICE, drift, header
from tests.rows import fill

LATE = timedelta(days=30)
FOREVER: dict[str, timedelta | None] = dict.fromkeys(DEFAULTS)
HOUR = timedelta(hours=1)


def ago(days: float) -> datetime:
    """A quarter past an hour of UTC, about so many days ago."""
    then = datetime.now(UTC) - timedelta(days=days)
    return then.replace(minute=15, second=0, microsecond=0)


def predictions(frames: int, median: float) -> Predictions:
    quantiles = Float32Array.of([median - 0.25, median, median, median, median + 0.25])
    return Predictions(
        seconds=60.0, frames=frames, labels=("pear", "kiwi"), counts=(frames - 1, 1), confidence=quantiles
    )


def readings(*values: float) -> Telemetry:
    ages = Float32Array.of([60.0 * i for i in reversed(range(len(values)))])
    return Telemetry(names=("fps",), ages=ages, values=Float32Array.of(values))


class Site:
    """A database that records are stored in, and what the jobs do with it."""

    def __init__(self, url: str) -> None:
        self.store = PostgresEvents(url)
        self.eyes = psycopg.connect(url, autocommit=True, options="-c timezone=Asia/Kolkata")
        self.seq = 0

    def record(self, message: Message, at: datetime, *, device: str = DEVICE, clock: str = "synced") -> None:
        self.seq += 1
        batch = Batch()
        wall_us = round(at.timestamp() * 1e6)
        head = header(self.seq, device, BOOT, wall_us=wall_us, clock=clock)
        CONSUMERS[type(message)](head, message, batch)
        self.store.store(batch)

    def sum_up(self) -> int:
        return sum_up(self.eyes, time.monotonic() + 20)

    def keep(self, **kinds: int) -> dict[str, str]:
        """Gives up what is older than so many days."""
        kept = {**FOREVER, **{kind.replace("_", "-"): timedelta(days=days) for kind, days in kinds.items()}}
        return start(self.eyes, 20, server_level(self.eyes)).give_up(kept)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.eyes.execute(query.encode()).fetchall()

    def count(self, table: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])

    def receive_earlier(self, table: str, days: float) -> None:
        self.eyes.execute(f"UPDATE {table} SET received_at = received_at - {days} * interval '1 day'".encode())

    def close(self) -> None:
        self.store.close()
        self.eyes.close()


class KeepingContract:
    """What holds on every PostgreSQL."""

    @pytest.fixture
    def site(self, server: Postgres) -> Iterator[Site]:
        site = Site(emptied_database(server))
        yield site
        site.close()

    def test_sums_predictions_up_by_device_and_hour(self, site: Site) -> None:
        site.record(predictions(10, 0.5), ago(1))
        site.record(predictions(30, 0.7), ago(1) + timedelta(minutes=1))
        site.sum_up()
        (row,) = site.rows(
            "SELECT windows, frames, confidence_low, round(confidence_median::numeric, 3), confidence_high, counts"
            " FROM v_prediction_hour"
        )
        assert row[:2] == (2, 40)
        assert [float(number) for number in row[2:5]] == pytest.approx([0.25, 0.65, 0.95])
        assert row[5] == {"pear": 38, "kiwi": 2}

    def test_sums_drift_up_by_detector(self, site: Site) -> None:
        site.record(DriftDetected(episode="e", detector="cusum", severity=1.5, statistic=4.0), ago(1))
        site.record(DriftContinued(episode="e", detector="cusum", severity=2.5, statistic=9.0), ago(1))
        site.record(DriftCleared(episode="e", detector="cusum"), ago(1))
        site.record(DriftDetected(episode="f", detector="knn"), ago(1))
        site.sum_up()
        columns = "detector, begins, continues, ends, peak_severity, peak_statistic"
        assert site.rows(f"SELECT {columns} FROM v_drift_hour ORDER BY detector") == [
            ("cusum", 1, 1, 1, 2.5, 9.0),
            ("knn", 1, 0, 0, 0.0, 0.0),
        ]

    def test_sums_readings_up_where_they_belong_whatever_message_brought_them(self, site: Site) -> None:
        start_of_hour = ago(1).replace(minute=0)
        site.record(readings(1.0, 2.0, 6.0), start_of_hour + timedelta(minutes=1))  # 1 and a minute before, 2 minutes
        site.sum_up()
        rows = site.rows("SELECT hour, name, min, max, mean, count FROM v_reading_hour ORDER BY hour")
        assert rows == [
            (start_of_hour - HOUR, "fps", 1.0, 1.0, 1.0, 1),
            (start_of_hour, "fps", 2.0, 6.0, 4.0, 2),
        ]

    def test_counts_what_comes_late_in_its_own_hour(self, site: Site) -> None:
        site.record(predictions(10, 0.5), ago(20))
        site.sum_up()
        site.record(predictions(5, 0.5), ago(20))
        site.sum_up()
        assert site.rows("SELECT windows, frames FROM v_prediction_hour") == [(2, 15)]

    def test_summing_up_again_changes_nothing(self, site: Site) -> None:
        site.record(readings(1.0, 2.0), ago(2))
        site.sum_up()
        before = site.rows("SELECT xmin, * FROM reading_hour")
        site.sum_up()
        assert site.rows("SELECT xmin, * FROM reading_hour") == before

    def test_leaves_out_what_has_a_clock_that_cannot_be_trusted(self, site: Site) -> None:
        site.record(predictions(10, 0.5), ago(2), clock="unsynced")
        site.record(predictions(10, 0.5), datetime.now(UTC) + timedelta(days=400))
        site.sum_up()
        assert site.count("v_prediction_hour") == 0

    def test_sums_up_hours_that_rows_were_moved_to(self, site: Site) -> None:
        site.record(predictions(10, 0.5), ago(2), clock="unsynced")
        site.receive_earlier("prediction", 1)
        site.sum_up()
        site.eyes.execute("UPDATE prediction SET clock = 'retimed'")
        site.eyes.execute(
            "INSERT INTO rollup_touched SELECT 'prediction', device, date_trunc('hour', at, 'UTC') FROM prediction"
        )
        site.sum_up()
        assert site.rows("SELECT frames FROM v_prediction_hour") == [(10,)]
        assert site.count("rollup_touched") == 0

    def test_gives_up_old_rows_and_keeps_their_hours(self, site: Site) -> None:
        for days in (100, 1):
            site.record(predictions(10, 0.5), ago(days))
            site.record(readings(1.0), ago(days))
        site.sum_up()
        site.keep(prediction=60, telemetry=60)
        assert (site.count("prediction"), site.count("reading"), site.count("telemetry")) == (1, 1, 1)
        site.sum_up()
        assert (site.count("v_prediction_hour"), site.count("v_reading_hour")) == (2, 2)

    def test_what_comes_after_its_hour_was_given_up_does_not_spoil_the_hour(self, site: Site) -> None:
        site.record(predictions(10, 0.5), ago(100))
        site.sum_up()
        site.keep(prediction=60)
        site.record(predictions(3, 0.5), ago(100))
        site.sum_up()
        assert site.rows("SELECT frames FROM v_prediction_hour") == [(10,)]

    def test_keeps_rows_that_are_not_summed_up_yet(self, site: Site) -> None:
        site.record(predictions(10, 0.5), ago(100))
        assert site.keep(prediction=60) == {"prediction": "waits for its hours to be summed up"}
        site.sum_up()
        site.record(predictions(10, 0.5), ago(99))
        assert site.keep(prediction=60) == {"prediction": "waits for its hours to be summed up"}
        assert site.count("prediction") == 2

    def test_keeps_what_came_lately_with_a_clock_that_is_far_behind(self, site: Site) -> None:
        site.record(predictions(10, 0.5), datetime(1970, 1, 2, tzinfo=UTC), clock="unsynced")
        site.record(predictions(10, 0.5), ago(100), clock="unsynced")
        site.record(predictions(10, 0.5), ago(100))
        site.sum_up()
        site.keep(prediction=60)
        assert site.rows("SELECT DISTINCT clock FROM prediction") == [("unsynced",)]
        assert site.count("prediction") == 2
        site.receive_earlier("prediction", 61)
        site.keep(prediction=60)
        assert site.count("prediction") == 0

    def test_keeps_drift_that_goes_on(self, site: Site) -> None:
        site.record(drift(1), ago(400))
        site.record(drift(2), ago(400))
        site.record(DriftCleared(episode="e2", detector="cusum"), ago(399))
        site.sum_up()
        site.keep(drift=60)
        assert site.rows("SELECT episode FROM drift_event") == [("e1",)]

    def test_keeps_commands_that_were_not_answered(self, site: Site) -> None:
        site.record(CommandReported(command="c1", verb="snapshot", state="done"), ago(400))
        site.record(CommandReported(command="c2", verb="snapshot", state="running"), ago(400))
        site.keep(command=60)
        assert site.rows("SELECT command FROM command_report") == [("c2",)]

    def test_gives_up_samples_with_their_labels_and_pictures(self, site: Site, tmp_path: Path) -> None:
        objects = Folder(tmp_path)
        for sample, picture in (("s1", b"one"), ("s2", b"two"), ("s3", b"one")):
            message = SampleQuarantined(sample=sample, picture=picture, picture_type="image/png")
            site.record(message, ago(1 if sample == "s3" else 400))
        for (digest,) in site.rows("SELECT picture_digest FROM sample"):
            objects.put(f"pictures/{digest[:2]}/{digest}", b"picture")
        self._label(site, "s1", "applied", cleared=True)
        site.keep(sample=60)
        assert site.rows("SELECT sample FROM sample") == [("s3",)]
        assert site.count("label") == 0
        assert remove_spent(site.eyes, objects) == 0  # a record with the same picture may be on its way
        assert remove_spent(site.eyes, objects, age_s=0) == 1
        assert len(list(objects.list())) == 1  # s3 has the picture that s1 had
        assert site.count("object_to_remove") == 0

    @pytest.mark.parametrize(("state", "cleared"), [("queued", False), ("published", False), ("applied", False)])
    def test_keeps_a_sample_whose_label_is_still_out(self, site: Site, state: str, cleared: bool) -> None:
        site.record(SampleQuarantined(sample="s1"), ago(400))
        self._label(site, "s1", state, cleared=cleared)
        site.keep(sample=60)
        assert site.count("sample") == 1

    def test_keeps_a_sample_of_an_episode_that_goes_on(self, site: Site) -> None:
        site.record(drift(1), ago(400))
        site.record(SampleQuarantined(sample="s1", episode="e1"), ago(400))
        site.keep(sample=60)
        assert site.count("sample") == 1

    def test_folds_old_traffic_into_days(self, site: Site) -> None:
        for hours in (0, 1, 24):
            site.eyes.execute(
                "INSERT INTO traffic SELECT 'a', date_trunc('day', now(), 'UTC') - interval '100 days'"
                " + %s * interval '1 hour', 'Telemetry', 1, 100",
                [hours],
            )
        before = site.rows("SELECT * FROM v_traffic_day ORDER BY day")
        site.keep(traffic=60)
        assert site.count("traffic") == 0
        assert site.rows("SELECT * FROM v_traffic_day ORDER BY day") == before
        assert [row[3:] for row in before] == [(2, 200), (1, 100)]

    def test_keeps_the_last_word_on_the_presence_of_a_device(self, site: Site) -> None:
        for days, presence in ((400, "online"), (300, "offline")):
            site.eyes.execute(
                "INSERT INTO presence_event (device, at, noted_at, heard_at, presence, reason, source)"
                " SELECT 'a', t, t, t, %s, '', 'status' FROM (SELECT now() - %s * interval '1 day') x (t)",
                [presence, days],
            )
        site.keep(presence=60)
        assert site.rows("SELECT presence FROM presence_event") == [("offline",)]

    def test_keeps_what_is_not_over(self, site: Site) -> None:
        fill(site.eyes)
        site.eyes.execute("UPDATE notification SET notified_at = now() - interval '1 year', over_at = NULL")
        site.eyes.execute("UPDATE incident SET closed_at = NULL")
        site.eyes.execute("UPDATE package SET ended_at = NULL, received_at = now() - interval '1 year'")
        site.eyes.execute("UPDATE episode_state SET status = 'open', last_heard_at = now() - interval '1 year'")
        tables = ("notification", "incident", "package", "episode_state")
        kept = dict.fromkeys(("notification", "incident", "package", "drift", "camera", "presence"), 60)
        site.keep(**kept)
        assert [site.count(table) for table in tables] == [1, 1, 1, 1]
        site.eyes.execute("UPDATE notification SET over_at = now()")
        site.eyes.execute("UPDATE incident SET closed_at = now() - interval '1 year'")
        site.eyes.execute("UPDATE package SET ended_at = now()")
        site.eyes.execute("UPDATE episode_state SET status = 'resolved'")
        site.keep(**kept)
        assert [site.count(table) for table in tables] == [0, 0, 0, 0]

    def test_every_kind_can_be_given_up_where_there_is_nothing(self, site: Site) -> None:
        site.sum_up()
        assert site.keep(**dict.fromkeys((kind.replace("-", "_") for kind in DEFAULTS), 60)) == {}

    @staticmethod
    def _label(site: Site, sample: str, state: str, *, cleared: bool) -> None:
        site.eyes.execute(
            "INSERT INTO label"
            " (device, sample, revision, verdict, by, features, bundle, state, published_at, cleared_at)"
            " VALUES (%s, %s, 1, 'is', 'ada', '', '', %s, now(), CASE WHEN %s THEN now() END)",
            [DEVICE, sample, state, cleared],
        )


class TestEmbedded(KeepingContract):
    @pytest.fixture
    def server(self, embedded_server: Postgres) -> Postgres:
        return embedded_server

    def test_a_plain_server_has_no_other_level(self, site: Site) -> None:
        assert level_up(site.eyes, LATE, FOREVER) == ""


@pytest.mark.timescale
class TestTimescale(KeepingContract):
    @pytest.fixture
    def server(self, timescale_server: Postgres) -> Postgres:
        return timescale_server

    def test_the_tables_that_flow_are_hypertables(self, site: Site) -> None:
        names = site.rows("SELECT hypertable_name::text FROM timescaledb_information.hypertables")
        assert {name for (name,) in names} == set(STEADY)

    def test_drops_whole_chunks(self, site: Site) -> None:
        site.record(predictions(10, 0.5), ago(100))
        site.record(predictions(10, 0.5), ago(1))
        site.sum_up()
        assert site.keep(prediction=60) == {"prediction": "1 chunks"}
        assert site.count("prediction") == 1


HOURLY = ("v_prediction_hour", "v_drift_hour", "v_reading_hour")


@pytest.mark.timescale
def test_the_aggregates_of_the_community_edition_say_the_same_as_the_tables_of_hours(
    timescale_server: Postgres,
) -> None:
    """Their queries as plain views: the Apache edition has no continuous aggregates, but it can do this."""
    for url in fresh_database(timescale_server):
        site = Site(url)
        for days, frames in ((3, 10), (2, 20), (2, 30)):
            site.record(predictions(frames, 0.5), ago(days))
            site.record(readings(1.0, float(frames)), ago(days))
            site.record(drift(frames), ago(days))
        site.record(predictions(40, 0.5), ago(2), clock="unsynced")
        site.sum_up()
        before = [site.rows(f"SELECT * FROM {view} ORDER BY 1, 2, 3") for view in HOURLY]
        statements = queries.statements("ingest.keeping.community")
        for hours, aggregate in AGGREGATES.items():
            select = statements[aggregate].partition(" AS\n")[2].removesuffix("WITH NO DATA")
            site.eyes.execute(f"CREATE VIEW {aggregate} AS {select}".encode())
            site.eyes.execute(statements[f"show_{hours}"])
        both = [site.rows(f"SELECT * FROM {view} ORDER BY 1, 2, 3") for view in HOURLY]
        site.eyes.execute("TRUNCATE prediction_hour, drift_hour, reading_hour")
        alone = [site.rows(f"SELECT * FROM {view} ORDER BY 1, 2, 3") for view in HOURLY]
        assert len(before[0]) == 2
        assert before == both == alone
        site.sum_up()
        assert site.count("prediction_hour") == 0  # nobody sums up what the aggregate does
        site.close()


@pytest.mark.timescale
def test_what_the_server_refuses_is_said_in_sentences_and_leaves_nothing_behind(timescale_server: Postgres) -> None:
    for url in fresh_database(timescale_server):
        site = Site(url)
        if server_level(site.eyes) == "timescale-apache":
            with pytest.raises(
                IngestError, match="TimescaleDB Community refuses the aggregate aggregate_prediction_hour"
            ):
                community.set_up(site.eyes, LATE, DEFAULTS)
        site.record(predictions(10, 0.5), ago(2))
        site.sum_up()
        assert site.count("v_prediction_hour") == 1
        site.close()


@pytest.mark.container
class TestTimescaleImage(KeepingContract):
    """The image that compose.yaml runs; the published one is the Community edition."""

    @pytest.fixture
    def server(self, timescale_container: PostgresContainer) -> PostgresContainer:
        return timescale_container

    def test_the_community_edition_keeps_hours_compresses_and_drops_by_itself(
        self, timescale_container: PostgresContainer
    ) -> None:
        for url in fresh_database(timescale_container):
            site = Site(url)
            community = server_level(site.eyes) == "timescale-community"
            if community:
                self._check_community(site)
            site.close()
            if not community:
                pytest.skip("this image has the Apache edition")

    @staticmethod
    def _check_community(site: Site) -> None:
        site.record(predictions(10, 0.5), ago(100))
        site.sum_up()
        site.eyes.execute("DELETE FROM prediction")
        site.record(predictions(20, 0.5), ago(2))
        site.record(readings(1.0, 3.0), ago(2))
        said = level_up(site.eyes, LATE, {**DEFAULTS, "telemetry": timedelta(days=60)})
        assert "aggregate aggregate_prediction_hour" in said
        assert "compression of reading" in said
        assert "retention of reading" in said
        assert level_up(site.eyes, LATE, {**DEFAULTS, "telemetry": timedelta(days=60)}) == ""
        assert site.rows("SELECT frames FROM v_prediction_hour ORDER BY hour") == [(10,), (20,)]
        assert site.rows("SELECT sum(count) FROM v_reading_hour") == [(2,)]


@pytest.mark.timescale
def test_a_database_made_on_plain_postgresql_becomes_hypertables_with_all_its_rows(
    timescale_server: Postgres,
) -> None:
    for url in fresh_database(timescale_server, migrated=False):
        site = Site(url)
        migrate(site.eyes, [_plain(migration) for migration in available()])
        assert server_level(site.eyes) == "plain"
        for days in (200, 100, 1):
            site.record(predictions(10, 0.5), ago(days))
            site.record(readings(1.0), ago(days))
        site.store.close()
        said = level_up(site.eyes, LATE, FOREVER)
        assert all(f"hypertable {table}" in said for table in STEADY)
        assert level_up(site.eyes, LATE, FOREVER) == ""
        assert (site.count("prediction"), site.count("reading")) == (3, 3)
        site.record(predictions(10, 0.5), ago(0))
        assert site.count("prediction") == 4
        site.close()


def _plain(migration: Migration) -> Migration:
    """The migration as it works where TimescaleDB is not offered."""
    text = migration.text.replace("WHERE name = 'timescaledb'", "WHERE name = 'nothing'")
    return Migration(migration.number, migration.name, text)


def test_every_kind_has_rows_and_a_default() -> None:
    assert set(KINDS) == set(DEFAULTS)
    assert periods(default_text(), LATE) == DEFAULTS


def test_reads_what_a_person_wrote() -> None:
    chosen = periods("log=2w, drift=2y,prediction=forever,hourly=forever", LATE)
    assert chosen == {
        **DEFAULTS,
        "log": timedelta(days=14),
        "drift": timedelta(days=730),
        "prediction": None,
        "hourly": None,
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("logs=3d", "did you mean 'log'"),
        ("cheese=3d", "there is no such kind; there are telemetry"),
        ("log", "retention of log cannot be ''"),
        ("log=3", "cannot be '3': 90d, 12w, 2y"),
        ("log=0d", "cannot be '0d'"),
        ("log=99999y", "up to 100y"),
        ("telemetry=30d", "longer than the 30 days"),
        ("prediction=3y", "hourly is 730d; it cannot be shorter than that of prediction"),
        ("telemetry=forever", "cannot be shorter than that of telemetry"),
    ],
)
def test_refuses_what_cannot_be_meant(text: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        periods(text, LATE)
