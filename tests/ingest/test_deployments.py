"""What devices adapt and meet stands in the model registry, once, in one run a deployment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from broker.messages import AdaptationDecided, Birth, DriftCleared, DriftDetected, LabelAcknowledged, Message
from ingest.embedded import Postgres
from ingest.errors import RegistryError, StoreAway
from ingest.filing import Filing
from ingest.intake import Record, read
from ingest.jobs import registry as job
from ingest.jobs.job import Site
from ingest.settings import IngestSettings
from ingest.stores import deployment_runs
from ingest.stores.deployment_runs import EXPERIMENT
from ingest.stores.events import PostgresEvents
from ingest.stores.objects import Folder
from tests.postgres import fresh_database
from tests.records import BOOT, DEVICE, NOON_US, sent
from tests.registries import empty_registry

FIRST, SECOND = "a" * 64, "b" * 64
LATER_BOOT = "0a1b2c3d-000002"
NOON_MS = NOON_US // 1000


class Surroundings:
    """A database and a registry of one's own, and what a device sends into them."""

    def __init__(self, database: str, folder: Path) -> None:
        self.site = Site(IngestSettings(database=database, registry=empty_registry(folder)))
        self.events = PostgresEvents(database)
        self.filing = Filing(self.events, Folder(folder / "objects"))

    def store(self, *messages: Message, first: int = 1, device: str = DEVICE, boot: str = BOOT, **more: Any) -> None:
        """All in one transaction, as a worker does."""
        records = [read(*sent(message, seq, device, boot, **more)) for seq, message in enumerate(messages, first)]
        assert all(isinstance(record, Record) for record in records)
        assert self.filing.file(records) == []  # type: ignore[arg-type]

    def tell(self) -> str:
        return job.tell(self.site, lag_s=-1)  # what was stored in this very moment as well

    def runs(self) -> list[Any]:
        experiment = self.site.registry.found_experiment(EXPERIMENT)
        return [] if experiment is None else list(self.site.registry.client.search_runs([experiment]))

    def run_of(self, digest: str) -> Any:
        (run,) = [run for run in self.runs() if run.data.tags["digest"] == digest]
        return run

    def points(self, digest: str, name: str) -> list[tuple[float, int, int]]:
        """Value, wall time in ms, step."""
        history = self.site.registry.client.get_metric_history(self.run_of(digest).info.run_id, name)
        return [(point.value, point.timestamp, point.step) for point in history]

    def close(self) -> None:
        self.events.close()
        self.site.close()


@pytest.fixture
def here(embedded_server: Postgres, tmp_path: Path) -> Iterator[Surroundings]:
    for url in fresh_database(embedded_server):
        made = Surroundings(url, tmp_path)
        yield made
        made.close()


def adaptation(at: float, after: float = 0.9, outcome: str = "applied") -> AdaptationDecided:
    return AdaptationDecided(
        at=at, adaptation=f"a{at}", outcome=outcome, accuracy_before=0.8, accuracy_after=after, memory=200
    )


def test_adaptations_become_metrics_at_their_time_and_step(here: Surroundings) -> None:
    here.store(Birth(session=1, bundle=FIRST))
    here.store(adaptation(100.0, 0.9), adaptation(200.5, 0.95), adaptation(300.0, 0.5, "rolled-back"))
    assert here.tell() == "3 records of 1 deployments"
    assert here.points(FIRST, "accuracy_after") == [
        (0.9, NOON_MS, 100),
        (0.95, NOON_MS, 200),
        (0.5, NOON_MS, 300),
    ]
    assert [value for value, _, _ in here.points(FIRST, "adaptations_applied")] == [1, 2]
    assert here.run_of(FIRST).data.metrics["adaptations_rolled_back"] == 1
    assert here.run_of(FIRST).data.metrics["memory"] == 200


def test_drift_and_labels_are_counted(here: Surroundings) -> None:
    here.store(
        DriftDetected(at=10.0, episode="e1", statistic=9.5),
        DriftCleared(at=20.0, episode="e1"),
        LabelAcknowledged(at=30.0, sample="s1", revision=1, outcome="applied"),
        LabelAcknowledged(at=40.0, sample="s2", revision=1, outcome="rejected"),
    )
    here.store(Birth(session=1, bundle=FIRST))  # birth and records come different ways
    here.tell()
    assert here.run_of(FIRST).data.metrics == {
        "drifts_begun": 1,
        "drift_statistic": 9.5,
        "drifts_ended": 1,
        "labels_applied": 1,
        "labels_rejected": 1,
    }


def test_a_deployment_has_one_run_which_goes_on(here: Surroundings) -> None:
    here.store(Birth(session=1, bundle=FIRST))
    assert here.tell() == "0 records of 1 deployments"
    for number in range(3):
        here.store(adaptation(number + 1.0), first=number + 1)
        here.tell()
    assert here.tell() == ""
    (run,) = here.runs()
    assert run.data.tags["device"] == DEVICE
    assert run.info.status == "RUNNING"
    assert len(here.points(FIRST, "accuracy_after")) == 3


def test_another_bundle_is_another_deployment_and_ends_the_one_before(here: Surroundings) -> None:
    here.store(Birth(session=1, bundle=FIRST))
    here.store(adaptation(1.0))
    here.store(Birth(session=1, bundle=SECOND), boot=LATER_BOOT)
    here.store(adaptation(2.0), boot=LATER_BOOT)
    here.tell()
    assert here.run_of(FIRST).info.status == "FINISHED"
    assert here.run_of(SECOND).info.status == "RUNNING"
    here.store(Birth(session=1, bundle=FIRST), boot="0a1b2c3d-000003")
    here.tell()
    assert here.run_of(FIRST).info.status == "RUNNING"
    assert here.run_of(SECOND).info.status == "FINISHED"
    rows = here.site.database.execute("SELECT digest, current, counts FROM v_deployment ORDER BY digest").fetchall()
    assert rows == [(FIRST, True, {"adaptations_applied": 1}), (SECOND, False, {"adaptations_applied": 1})]


@pytest.mark.parametrize("died_in", ["the middle of the log", "the database"])
def test_what_is_told_again_after_a_kill_is_there_once(
    here: Surroundings, died_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.store(Birth(session=1, bundle=FIRST))
    here.store(Birth(session=1, bundle=SECOND), device="lamp-2")
    here.store(*(adaptation(float(n)) for n in range(5)))
    here.store(*(adaptation(float(n)) for n in range(5)), device="lamp-2")
    told = 0

    def dies(*_: object) -> None:
        nonlocal told
        told += 1
        if died_in == "the database" or told == 2:
            raise psycopg.OperationalError("killed")

    with monkeypatch.context() as patch:
        if died_in == "the database":
            patch.setattr(job, "_note", dies)
        else:
            really = deployment_runs.log

            def logs(*what: Any) -> None:
                really(*what)
                dies()

            patch.setattr(deployment_runs, "log", logs)
        with pytest.raises(psycopg.OperationalError, match="killed"):
            here.tell()
    here.store(adaptation(9.0), first=6)  # and meanwhile there is more
    here.tell()
    assert len(here.runs()) == 2
    assert [step for _, _, step in here.points(FIRST, "accuracy_after")] == [0, 1, 2, 3, 4, 9]
    assert [value for value, _, _ in here.points(FIRST, "adaptations_applied")] == [1, 2, 3, 4, 5, 6]
    assert len(here.points(SECOND, "memory")) == 5


def test_a_backlog_is_told_page_by_page(here: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "PAGE", 4)
    monkeypatch.setattr(job, "MOST_PAGES", 2)
    here.store(Birth(session=1, bundle=FIRST))
    for number in range(20):
        here.store(adaptation(float(number)), first=number + 1)
    assert here.tell() == "8 records of 1 deployments"
    assert here.tell() == "8 records of 1 deployments"
    assert here.tell() == "4 records of 1 deployments"
    assert len(here.points(FIRST, "accuracy_after")) == 20


def test_a_boot_that_was_never_born_here_is_taken_for_its_neighbour(here: Surroundings) -> None:
    here.store(Birth(session=1, bundle=FIRST))
    here.store(adaptation(5.0), boot=LATER_BOOT)  # it had no link, and its records came with those of a later boot
    here.tell()
    assert len(here.points(FIRST, "accuracy_after")) == 1
    here.store(Birth(session=1, bundle=SECOND), boot=LATER_BOOT)  # what it says itself counts from now on
    here.store(adaptation(6.0), first=2, boot=LATER_BOOT)
    here.tell()
    assert [step for _, _, step in here.points(SECOND, "accuracy_after")] == [6]


def test_records_of_nobody_knows_which_bundle_are_left_out_and_said(here: Surroundings) -> None:
    here.store(adaptation(5.0))
    assert here.tell() == "1 records of 0 deployments; 1 of boots that never said their bundle"
    assert here.runs() == []


def test_a_wrong_clock_and_impossible_numbers_do_no_harm(here: Surroundings) -> None:
    here.store(Birth(session=1, bundle=FIRST))
    here.store(Birth(session=1, bundle="it's"), device="lamp-2")
    here.store(adaptation(0.0, 1e308), adaptation(-1e300), adaptation(1e300))
    here.store(adaptation(1.0), device="lamp-3", clock="unsynced", wall_us=0)
    here.store(Birth(session=1, bundle=SECOND), device="lamp-3")
    here.tell()
    assert sorted(step for _, _, step in here.points(FIRST, "accuracy_after")) == [0, 0, 1 << 53]
    ((_, at_ms, _),) = here.points(SECOND, "memory")
    assert at_ms > NOON_MS  # the server's time, which is better than none


def test_a_run_that_somebody_deleted_is_begun_again(here: Surroundings) -> None:
    here.store(Birth(session=1, bundle=FIRST))
    here.store(adaptation(1.0))
    here.tell()
    here.site.registry.client.delete_run(here.run_of(FIRST).info.run_id)
    here.store(adaptation(2.0), first=2)
    here.tell()
    assert [step for _, _, step in here.points(FIRST, "accuracy_after")] == [2]


def test_the_run_names_the_version_that_is_deployed(here: Surroundings, tmp_path: Path) -> None:
    (tmp_path / "digits.bundle").write_bytes(b"a bundle")
    here.site.registry.register(tmp_path / "digits.bundle", "digits", {"digest": FIRST})
    here.store(Birth(session=1, bundle=FIRST))
    here.tell()
    run = here.run_of(FIRST)
    assert (run.data.tags["model"], run.data.tags["model_version"]) == ("digits", "1")
    assert run.info.run_name == f"{DEVICE} digits 1"


def test_a_registry_that_is_away_costs_nothing_but_time(here: Surroundings) -> None:
    here.store(Birth(session=1, bundle=FIRST))
    url, away = here.site.settings.database, "http://127.0.0.1:1"
    nowhere = Site(IngestSettings(database=url, registry=away))
    with pytest.raises(StoreAway, match="the model registry is away: "):
        job.tell(nowhere, lag_s=-1)
    nowhere.close()
    here.store(adaptation(1.0))  # a worker stores as ever
    assert here.tell() == "1 records of 1 deployments"


def test_a_device_is_forgotten(here: Surroundings) -> None:
    registry = here.site.registry
    assert registry.forget_device(DEVICE) == 0
    here.store(Birth(session=1, bundle=FIRST))
    here.store(Birth(session=1, bundle=SECOND), device="lamp-2")
    here.tell()
    assert registry.of_device(DEVICE) == 1
    assert registry.forget_device(DEVICE) == 1
    assert registry.of_device(DEVICE) == 0
    assert [run.data.tags["device"] for run in here.runs()] == ["lamp-2"]
    everything = registry.client.search_runs([registry.found_experiment(EXPERIMENT)], run_view_type=3)
    assert DEVICE not in str([run.to_dictionary() for run in everything])
    with pytest.raises(RegistryError, match="not a name"):
        registry.forget_device("it's")


def test_what_a_slow_worker_has_not_committed_yet_is_waited_for(here: Surroundings) -> None:
    here.store(Birth(session=1, bundle=FIRST))
    here.store(adaptation(1.0))
    with psycopg.connect(here.site.settings.database, application_name="tinyml-ingest") as slow:
        slow.execute(
            "INSERT INTO adaptation SELECT device, boot, 2, at, clock, 2.0, adaptation, episode, kind, outcome,"
            " reason, label, samples, statistic, threshold, accuracy_before, accuracy_after, memory FROM adaptation"
        )  # received then, and to be seen only once it is committed
        here.store(adaptation(3.0), first=3)
        assert here.tell() == "1 records of 1 deployments"
    assert here.tell() == "2 records of 1 deployments"
    assert [step for _, _, step in here.points(FIRST, "accuracy_after")] == [1, 2, 3]
    assert [value for value, _, _ in here.points(FIRST, "adaptations_applied")] == [1, 2, 3]
