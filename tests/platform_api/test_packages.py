"""Packages can be uploaded, are worked off by and by, and survive whatever is switched off meanwhile."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.address import BrokerAddress
from broker.process import BrokerProcess
from ingest.packages.importer import Importer, Outcome
from ingest.packages.ledger import Ledger
from ingest.packages.limits import Limits
from ingest.stores.events import PostgresEvents
from platform_api.app import create_app
from platform_api.broker_link import Link
from platform_api.database import Database
from platform_api.desk import Desk
from platform_api.stores import Stores
from tests.ingest.harness import Fleet as Listening
from tests.ingest.packages.made import exported, picture, records, tar
from tests.platform_api.conftest import hasty_link
from tests.platform_api.fleet import Fleet
from tests.platform_api.servers import Api
from tests.platform_api.test_labels import assert_problem
from tests.records import BOOT, DEVICE, EVERY_KIND, drift
from tests.support import wait_until

ALL = len(EVERY_KIND)
TOKEN = "a token of sixteen or more"


@contextmanager
def running(stores: Stores, folder: Path, link: Link, token: str = "", **more: Any) -> Iterator[Api]:
    """An API with a desk of its own."""
    database = Database(stores.database.url, patience_s=3.0)
    ours = Stores(database, stores.objects, stores.models)
    desk = Desk(ours, folder, link.broker, patience_s=3.0, **more)
    with Api(ours, link, token, create_app(ours, link, token, desk)) as api:
        yield api


@pytest.fixture
def api(stores: Stores, tmp_path: Path) -> Iterator[Api]:
    with running(stores, tmp_path / "packages", hasty_link(1), limits=Limits(packed_bytes=1 << 20)) as api:
        yield api


def upload(api: Api, data: bytes, **query: Any) -> Any:
    answer = api.client.post("/packages", content=data, params=query)
    assert answer.status_code in (200, 202), answer.text
    assert answer.headers["location"] == f"/packages/{hashlib.sha256(data).hexdigest()}"
    return answer.json()


def done(api: Api, package: str) -> Any:
    wait_until(lambda: api.get(f"/packages/{package}")["state"] in ("done", "failed", "refused"), timeout=20)
    return api.get(f"/packages/{package}")


def test_an_upload_is_worked_off_and_says_how_far_it_is(api: Api, tmp_path: Path) -> None:
    made = upload(api, exported(), name="lamp.cborseq")
    assert (made["state"], made["name"]) == ("waiting", "lamp.cborseq")
    found = done(api, made["package"])
    assert (found["state"], found["progress"], found["new"], found["known"]) == ("done", 1.0, ALL, 0)
    assert [(step["kind"], step["state"]) for step in found["items"]] == [
        ("open", "done"),
        ("inspect", "done"),
        ("export", "done"),
    ]
    assert api.get("/devices")["items"][0]["silent"]
    assert len(api.get("/samples")["items"]) == 1
    assert list((tmp_path / "packages").iterdir()) == []


def test_the_same_file_again_is_the_same_package(api: Api) -> None:
    first = done(api, upload(api, exported())["package"])
    assert upload(api, exported()) == {
        **{k: v for k, v in first.items() if k not in ("items", "next")},
        "name": "upload",
    }
    assert api.client.post("/packages", content=exported()).status_code == 200
    assert len(api.get("/packages")["items"]) == 1
    waiting = upload(api, exported(), again=True)
    assert (waiting["progress"], waiting["steps"]) == (0.0, 0)
    again = done(api, waiting["package"])
    assert (again["times"], again["new"], again["known"]) == (2, 0, ALL)


def test_what_failed_is_done_again_when_it_is_uploaded_again(api: Api, fleet: Fleet) -> None:
    package = tar({f"{DEVICE}/s1.png": picture()})
    failed = done(api, upload(api, package)["package"])
    assert (failed["state"], failed["items"][2]["state"]) == ("failed", "failed")
    upload(api, exported())
    repaired = done(api, upload(api, package)["package"])
    assert repaired["times"] == 2
    assert repaired["items"][2]["state"] in ("done", "skipped")


def test_packages_come_in_pages_and_so_do_their_steps(api: Api) -> None:
    files = {f"x{number}": b"".join(records([drift(number)], number + 1)) for number in range(5)}
    bad, good = upload(api, b"hello")["package"], upload(api, tar(files))["package"]
    assert (done(api, bad)["state"], done(api, good)["state"]) == ("refused", "done")
    page = api.get("/packages", limit=1)
    assert [item["package"] for item in page["items"]] == [good]
    assert [item["package"] for item in api.get("/packages", after=page["next"])["items"]] == [bad]
    assert [item["package"] for item in api.get("/packages", state="refused")["items"]] == [bad]
    first = api.get(f"/packages/{good}", limit=4)
    rest = api.get(f"/packages/{good}", after=first["next"])
    assert [step["name"] for step in [*first["items"], *rest["items"]]][2:] == list(files)
    assert_problem(api.client.get(f"/packages/{'0' * 64}"), 404, "unknown-package")
    assert_problem(api.client.get("/packages/x"), 422, "invalid-request")


def test_what_is_too_large_is_refused_before_and_while_it_arrives(api: Api, tmp_path: Path) -> None:
    assert_problem(api.client.post("/packages", content=bytes(1_100_000)), 413, "body-too-large")
    chunks = (bytes(100_000) for _ in range(11))
    assert api.client.post("/packages", content=chunks).status_code == 413
    assert list((tmp_path / "packages").glob("*")) == []
    assert api.client.post("/labels", content=bytes(70_000)).status_code == 413


def test_only_who_has_the_token_may_upload(stores: Stores, tmp_path: Path) -> None:
    with running(stores, tmp_path / "packages", hasty_link(1), TOKEN) as api:
        assert_problem(api.client.post("/packages", content=exported()), 401, "token-needed")
        assert not (tmp_path / "packages").exists()
        shown = {"Authorization": f"Bearer {TOKEN}"}
        assert api.client.post("/packages", content=exported(), headers=shown).status_code == 202


def test_an_upload_that_breaks_off_leaves_nothing(api: Api, tmp_path: Path) -> None:
    def breaking() -> Iterator[bytes]:
        yield exported()
        raise RuntimeError("the stick was pulled out")

    with pytest.raises((RuntimeError, httpx.HTTPError)):
        api.client.post("/packages", content=breaking())
    wait_until(lambda: list((tmp_path / "packages").glob("*")) == [])
    assert api.get("/packages")["items"] == []


def test_an_api_that_is_started_again_goes_on(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, store = threading.Event(), PostgresEvents.store
    began = threading.Event()

    def slow(self: PostgresEvents, batch: Any) -> int:
        began.set()
        assert held.wait(10)
        return store(self, batch)

    monkeypatch.setattr("ingest.packages.records.BATCH", 5)
    monkeypatch.setattr(PostgresEvents, "store", slow)
    link, folder = hasty_link(1), tmp_path / "packages"
    with running(stores, folder, link) as api:
        package = upload(api, exported())["package"]
        assert began.wait(10)
        second = upload(api, b"".join(records()))["package"]
        threading.Timer(0.3, held.set).start()
    assert len(list(folder.iterdir())) == 2
    with running(stores, folder, link) as api:
        assert done(api, package)["state"] == done(api, second)["state"] == "done"
        assert api.get(f"/packages/{package}")["known"] > 0
    assert list(folder.iterdir()) == []


def test_what_nobody_works_on_any_more_is_shown_as_interrupted(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = threading.Event()

    def interrupted(self: Importer, _path: Path, _package: str) -> Outcome:
        began.set()
        wait_until(self.stopping)
        self._patiently.go_on()
        raise AssertionError

    with monkeypatch.context() as patched:
        patched.setattr(Importer, "work", interrupted)
        with running(stores, tmp_path / "packages", hasty_link(1)) as api:
            package = upload(api, exported())["package"]
            assert began.wait(10)
    with running(stores, tmp_path / "elsewhere", hasty_link(1)) as api:
        assert api.get(f"/packages/{package}")["state"] == "interrupted"
        assert [item["package"] for item in api.get("/packages", state="interrupted")["items"]] == [package]
        upload(api, exported())
        assert done(api, package)["state"] == "done"


def test_what_another_api_left_is_found_once_the_database_sees_that_it_is_gone(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform_api.desk.LOOK_S", 0.2)
    data, folder = exported(), tmp_path / "packages"
    package = hashlib.sha256(data).hexdigest()
    folder.mkdir()
    (folder / f"{package}-0123.package").write_bytes(data)
    gone = Ledger(stores.database.url)
    gone.hold()
    assert gone.bring(package, "left", len(data))
    with running(stores, folder, hasty_link(1)) as api:
        assert api.get(f"/packages/{package}")["state"] == "waiting"
        gone.close()
        assert done(api, package)["state"] == "done"


def test_a_package_that_nobody_thought_of_stops_no_other(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Importer.work

    def failing(self: Importer, path: Path, package: str) -> Outcome:
        if b"hello" in path.read_bytes():
            raise RuntimeError("a bug")
        return work(self, path, package)

    monkeypatch.setattr(Importer, "work", failing)
    bad, good = upload(api, b"hello")["package"], upload(api, exported())["package"]
    assert done(api, bad)["reason"] == "the server failed on it; its log says why"
    assert done(api, good)["state"] == "done"


def test_devices_that_are_online_hear_what_is_stored(stores: Stores, broker: BrokerProcess, tmp_path: Path) -> None:
    link = Link(broker=BrokerAddress(port=broker.port))
    with Listening(broker.url) as listening, running(stores, tmp_path / "packages", link) as api:
        upload(api, exported())
        wait_until(lambda: listening.stored[DEVICE, BOOT] == set(range(1, ALL + 1)))
