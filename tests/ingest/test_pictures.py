"""An object store that is away delays pictures and nothing else; they are where they belong once it is back."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from broker.messages import SampleQuarantined
from ingest.embedded import Postgres
from ingest.errors import StoreAway
from ingest.jobs import objects as job
from ingest.jobs.job import Site
from ingest.pictures import LONGEST_PAUSE_S, Pictures
from ingest.settings import IngestSettings
from ingest.stores.batch import Batch, Waiting
from ingest.stores.events import PostgresEvents
from ingest.stores.objects import Folder
from ingest.stores.s3 import S3
from ingest.upkeep import Upkeep
from platform_api.demo.process import Process, tinyml
from tests.ingest.conftest import StartWorker
from tests.ingest.harness import Fleet
from tests.postgres import fresh_database
from tests.records import BOOT, DEVICE, drift, sent
from tests.stores.test_objects import ACCESS, SECRET, rclone
from tests.support import wait_until

__all__ = ["rclone"]


def picture(number: int) -> bytes:
    return b"\xff\xd8 picture %d" % number


def key(data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    return f"pictures/{digest[:2]}/{digest}"


def pictures(*numbers: int) -> dict[str, tuple[bytes, str]]:
    return {hashlib.sha256(picture(n)).hexdigest(): (picture(n), "image/jpeg") for n in numbers}


def sample(number: int) -> SampleQuarantined:
    return SampleQuarantined(sample=f"s{number}", picture=picture(number), picture_type="image/jpeg")


class Temperamental(Folder):
    """A folder that fails and hangs when it is told to, as a server would, and counts how often it was asked."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.refuses: Callable[[str], bool] = lambda _key: False
        self.hangs = threading.Event()
        self.wakes = threading.Event()
        self.asked: list[str] = []

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        self.asked.append(key)
        if self.hangs.is_set():
            self.wakes.wait(30)
        if self.refuses(key):
            raise StoreAway("object store", "it answers 500")
        super().put(key, data, content_type)


@pytest.fixture(scope="module")
def module_url(embedded_server: Postgres) -> Iterator[str]:
    yield from fresh_database(embedded_server)


@pytest.fixture
def database_url(module_url: str) -> str:
    """One database for all tests of this file, emptied before each."""
    with psycopg.connect(module_url, autocommit=True) as connection:
        connection.execute("TRUNCATE waiting_object, sample, drift_event, device, job CASCADE")
    return module_url


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Temperamental]:
    made = Temperamental(tmp_path / "objects")
    yield made
    made.wakes.set()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


# ---- within a batch --------------------------------------------------------------------------------------------


def test_all_is_well_and_nothing_waits(store: Temperamental) -> None:
    assert Pictures(store, 10).put(pictures(*range(40))) == []
    assert all(store.get(key(picture(n))) == picture(n) for n in range(40))


def test_only_what_failed_in_the_middle_waits(store: Temperamental) -> None:
    store.refuses = lambda wanted: wanted in (key(picture(3)), key(picture(5)))
    waiting = Pictures(store, 10).put(pictures(*range(8)))
    assert {item.data for item in waiting} == {picture(3), picture(5)}
    assert {item.reason for item in waiting} == {"the object store is away: it answers 500"}
    assert {item.key for item in waiting} == {key(item.data) for item in waiting}


def test_a_store_that_hangs_is_not_waited_for_longer_than_the_patience(store: Temperamental) -> None:
    store.hangs.set()
    for patience_s in (0.0, 0.01):
        (waiting,) = Pictures(store, patience_s).put(pictures(1))
        assert waiting.reason == f"the object store is away: it did not take it within {patience_s:g} s"


def test_a_store_that_failed_is_left_alone_and_asked_for_one_now_and_then(store: Temperamental) -> None:
    clock = Clock()
    tried = Pictures(store, 10, clock)
    store.refuses = lambda _key: True
    assert len(tried.put(pictures(*range(5)))) == len(store.asked) == 5
    for _ in range(10):
        assert len(tried.put(pictures(*range(5)))) == 5
    assert len(store.asked) == 5, "it was asked although it had just failed"
    clock.now += 1.0
    assert len(tried.put(pictures(*range(5)))) == 5
    assert len(store.asked) == 6, "one is enough to see that it is still away"
    store.refuses = lambda _key: False
    clock.now += LONGEST_PAUSE_S
    assert tried.put(pictures(*range(5))) == []
    assert len(store.asked) == 11


def test_a_store_that_hangs_for_ever_costs_a_few_threads_and_no_more(store: Temperamental) -> None:
    clock = Clock()
    tried = Pictures(store, 0.01, clock)
    store.hangs.set()
    before = threading.active_count()
    for _ in range(50):
        assert len(tried.put(pictures(*range(20)))) == 20
        clock.now += LONGEST_PAUSE_S
    assert threading.active_count() - before <= 8


# ---- a worker --------------------------------------------------------------------------------------------------


def waiting_in(eyes: psycopg.Connection) -> list[tuple[str, bytes]]:
    return eyes.execute("SELECT key, data FROM waiting_object ORDER BY key").fetchall()


def settings(database: str, objects: str) -> IngestSettings:
    return IngestSettings(database=database, objects=objects)


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_events_are_stored_at_once_and_pictures_when_the_store_is_back(
    start_worker: StartWorker, fleet: Fleet, eyes: psycopg.Connection, database_url: str, rclone: str, how: str
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:  # takes connections and never answers
        port = silent.getsockname()[1] if how == "hangs" else 1
        start_worker(objects=S3(f"127.0.0.1:{port}", "bucket", ACCESS, SECRET, secure=False), patience_s=0.05)
        fleet.send(*[sent(sample(n), n) for n in range(1, 11)], *[sent(drift(n), n) for n in range(11, 21)])
        wait_until(lambda: fleet.stored[DEVICE, BOOT] == set(range(1, 21)))
    assert all(state.listening for state in fleet.states)
    assert waiting_in(eyes) == sorted((key(picture(n)), picture(n)) for n in range(1, 11))
    about = eyes.execute("SELECT what, objects, bytes, oldest IS NOT NULL FROM v_waiting_object").fetchall()
    assert about == [("pictures", 10, sum(len(picture(n)) for n in range(1, 11)), True)]

    chosen = settings(database_url, f"s3+http://{ACCESS}:{SECRET}@{rclone}/back-{how}")
    assert Upkeep(chosen, [job.JOB]).once(["objects"]) == 0
    assert waiting_in(eyes) == []
    back = S3(rclone, f"back-{how}", ACCESS, SECRET, secure=False)
    assert [back.get(key(picture(n))) for n in range(1, 11)] == [picture(n) for n in range(1, 11)]
    assert eyes.execute("SELECT said FROM job WHERE name = 'objects'").fetchall() == [
        ("10 objects moved into the object store",)
    ]


# ---- the job ---------------------------------------------------------------------------------------------------


def keep(database: str, *numbers: int) -> None:
    events = PostgresEvents(database)
    events.store(Batch(waiting=[Waiting(key(picture(n)), "image/jpeg", picture(n), "away") for n in numbers]))
    events.close()


def test_what_waits_goes_on_waiting_while_the_store_is_away(
    eyes: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    keep(database_url, 1, 2)
    (tmp_path / "file").write_bytes(b"")
    chosen = settings(database_url, str(tmp_path / "file"))
    assert Upkeep(chosen, [job.JOB]).once() == 1
    assert {data for _, data in waiting_in(eyes)} == {picture(1), picture(2)}
    rows = eyes.execute("SELECT tries, reason FROM waiting_object").fetchall()
    assert [tries for tries, _ in rows] == [1, 1]
    assert all(reason.startswith("the object store is away: ") for _, reason in rows)


def test_one_that_cannot_be_moved_does_not_keep_the_others_back(
    eyes: psycopg.Connection, database_url: str, store: Temperamental
) -> None:
    keep(database_url, *range(80))
    store.refuses = lambda wanted: wanted == key(picture(7))
    site = Site(settings(database_url, "unused"))
    site.__dict__["objects"] = store
    assert job.run(site) == "79 objects moved into the object store"
    assert waiting_in(eyes) == [(key(picture(7)), picture(7))]
    store.refuses = lambda _key: False
    assert job.run(site) == "1 objects moved into the object store"
    site.close()


def test_a_kill_between_the_store_and_the_database_changes_nothing(
    eyes: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    keep(database_url, 1)
    folder = Folder(tmp_path / "objects")
    folder.put(key(picture(1)), picture(1))  # and here the process was killed
    assert Upkeep(settings(database_url, str(folder.folder)), [job.JOB]).once() == 0
    assert (waiting_in(eyes), folder.get(key(picture(1)))) == ([], picture(1))


def test_a_process_that_is_killed_while_it_moves_them_loses_none(
    eyes: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    numbers = range(300)
    keep(database_url, *numbers)
    folder = Folder(tmp_path / "objects")
    words = ("ingest", "maintain", "--only", "objects", "--database", database_url, "--objects", str(folder.folder))
    moving = Process("maintain", tinyml(*words), tmp_path / "maintain.log")
    moving.start()
    wait_until(lambda: folder.folder.exists() and len(waiting_in(eyes)) < 300, 30)
    moving.kill()
    held = "SELECT FROM pg_locks JOIN pg_database d ON d.oid = database WHERE locktype = 'advisory' AND datname = %s"
    wait_until(lambda: not eyes.execute(held, [eyes.info.dbname]).fetchall())  # the server has seen that it is gone
    left = {wanted for wanted, _ in waiting_in(eyes)}
    assert left, "it had moved all of them before it was killed"
    assert left | set(folder.list()) == {key(picture(n)) for n in numbers}
    assert Upkeep(settings(database_url, str(folder.folder)), [job.JOB]).once(["objects"]) == 0
    assert waiting_in(eyes) == []
    assert all(folder.get(key(picture(n))) == picture(n) for n in numbers)


def test_a_store_that_gives_back_something_else_does_not_get_the_only_copy(
    eyes: psycopg.Connection, database_url: str, store: Temperamental, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database_url, 1)
    monkeypatch.setattr(store, "get", lambda _key: b"something else")
    site = Site(settings(database_url, "unused"))
    site.__dict__["objects"] = store
    with pytest.raises(StoreAway, match="1 of those that wait could not be moved"):
        job.run(site)
    site.close()
    assert eyes.execute("SELECT reason FROM waiting_object").fetchone() == (
        f"{key(picture(1))} reads otherwise than it was written",
    )
