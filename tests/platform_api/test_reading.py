"""What people and programs read: devices, drift, samples and pictures, adaptations, models, health."""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg
import pytest

from broker.messages import LabelRequested
from ingest.consumers.samples import picture_key
from ingest.embedded import Postgres
from ingest.stores.models import MlflowRegistry
from ingest.stores.objects import Folder
from platform_api.database import Database
from platform_api.stores import Stores
from tests.platform_api.conftest import hasty_link
from tests.platform_api.fleet import NOON_US, Fleet, picture
from tests.platform_api.servers import Api
from tests.platform_api.test_labels import assert_problem
from tests.support import wait_until


@pytest.fixture
def database_url(emptied_database_url: str) -> str:
    return emptied_database_url


@pytest.fixture
def objects(module_objects: Folder) -> Folder:
    return module_objects


@pytest.fixture
def api(offline_api: Api, database_url: str) -> Api:
    return offline_api


def names(page: dict[str, Any], field: str) -> list[str]:
    return [item[field] for item in page["items"]]


def test_a_device_shows_who_it_is_and_what_goes_on(api: Api, fleet: Fleet) -> None:
    fleet.appears("pi-1")
    fleet.appears("pi-2")
    fleet.drifts("pi-1", "e1")
    fleet.quarantines("pi-1", "s1", "s2")
    api.label("pi-1", "s1")
    device = api.get("/devices/pi-1")
    assert device["state"] == "online"
    assert (device["in_drift"], device["episode"]) == (True, "e1")
    assert (device["samples_pending"], device["labels_outstanding"]) == (1, 1)
    assert (device["versions"], device["actors"], device["silent"]) == ({"tinymlops": "0.1.0"}, ["knn"], False)
    page = api.get("/devices", limit=1)
    assert names(page, "device") == ["pi-1"]
    assert names(api.get("/devices", after=page["next"]), "device") == ["pi-2"]
    assert_problem(api.client.get("/devices/pi-3"), 404, "unknown-device")


def test_drift_episodes_can_be_asked_for_by_device_end_and_time(api: Api, fleet: Fleet) -> None:
    fleet.drifts("pi-1", "e1", ended=True, wall_us=NOON_US)
    fleet.drifts("pi-1", "e2", wall_us=NOON_US + 60_000_000)
    fleet.drifts("pi-2", "e1", wall_us=NOON_US + 120_000_000)
    fleet.quarantines("pi-1", "s1", episode="e2")
    assert [(e["device"], e["episode"]) for e in api.get("/drift")["items"]] == [
        ("pi-2", "e1"),
        ("pi-1", "e2"),
        ("pi-1", "e1"),
    ]
    assert names(api.get("/drift", device="pi-1"), "episode") == ["e2", "e1"]
    assert names(api.get("/drift", device="pi-1", open=True), "episode") == ["e2"]
    assert names(api.get("/drift", open=False), "episode") == ["e1"]
    began = api.get("/drift/pi-1/e2")["begin_at"]
    assert names(api.get("/drift", since=began), "device") == ["pi-2", "pi-1"]
    ended = api.get("/drift/pi-1/e1")
    assert (ended["open"], ended["reason"], ended["events"], ended["samples"]) == (False, "over", 2, 0)
    assert api.get("/drift/pi-1/e2")["samples"] == 1
    assert_problem(api.client.get("/drift/pi-2/e2"), 404, "unknown-episode")


def test_samples_can_be_asked_for_by_what_was_said_about_them(api: Api, fleet: Fleet) -> None:
    fleet.quarantines("pi-1", "s1", "s2", "s3", episode="e1")
    fleet.quarantines("pi-2", "s4", episode="e2")
    api.label("pi-1", "s1", "is", "pear")
    api.label("pi-1", "s2", "is-not", "pear")
    api.label("pi-2", "s4", "is", "pear")
    api.label("pi-2", "s4", "retract")
    assert names(api.get("/samples"), "sample") == ["s4", "s3", "s2", "s1"]
    assert names(api.get("/samples", pending=True), "sample") == ["s4", "s3"]
    assert names(api.get("/samples", pending=False), "sample") == ["s2", "s1"]
    assert names(api.get("/samples", label="pear"), "sample") == ["s1"]
    assert names(api.get("/samples", device="pi-1", episode="e1", pending=True), "sample") == ["s3"]
    fleet.says("pi-1", LabelRequested(sample="s3", episode="e1", reason="dense", asked=1, budget=50))
    assert names(api.get("/samples", asked=True), "sample") == ["s3"]
    assert names(api.get("/samples", asked=False), "sample") == ["s4", "s2", "s1"]
    assert api.get("/samples/pi-1/s3")["asked_reason"] == "dense"
    assert api.get("/samples/pi-1/s3")["label"] is None
    assert api.get("/samples/pi-1/s1")["label"]["label"] == "pear"
    assert_problem(api.client.get("/samples/pi-1/s4"), 404, "unknown-sample")


def test_a_picture_is_served_once_and_then_only_confirmed(api: Api, fleet: Fleet, stores: Stores) -> None:
    fleet.quarantines("pi-1", "s1")
    path = api.get("/samples/pi-1/s1")["picture"]
    answer = api.client.get(path)
    digest = hashlib.sha256(picture("s1")).hexdigest()
    assert (answer.status_code, answer.content) == (200, picture("s1"))
    assert (answer.headers["content-type"], answer.headers["etag"]) == ("image/png", f'"{digest}"')
    for tag in (f'"{digest}"', f'W/"{digest}"', f'"other", "{digest}"', "*"):
        again = api.client.get(path, headers={"If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", f'"{digest}"')
    assert api.client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    (fleet.objects.folder / picture_key(digest)).unlink()
    assert_problem(api.client.get(path), 404, "no-picture")
    assert_problem(api.client.get("/samples/pi-1/s9/picture"), 404, "unknown-sample")


def test_whatever_a_row_says_only_pictures_are_shown_as_pictures(api: Api, fleet: Fleet, database_url: str) -> None:
    fleet.quarantines("pi-1", "s1", "s2")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE sample SET picture_type = 'text/html' WHERE sample = 's1'")
        connection.execute("UPDATE sample SET picture_digest = NULL WHERE sample = 's2'")
    answer = api.client.get("/samples/pi-1/s1/picture")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert api.get("/samples/pi-1/s2")["picture"] is None
    assert_problem(api.client.get("/samples/pi-1/s2/picture"), 404, "no-picture")


def test_adaptations_come_with_their_decision(api: Api, fleet: Fleet) -> None:
    fleet.adapts("pi-1", "a1", "rolled-back")
    fleet.adapts("pi-2", "a1")
    assert names(api.get("/adaptations"), "device") == ["pi-2", "pi-1"]
    assert names(api.get("/adaptations", outcome="rolled-back"), "device") == ["pi-1"]
    (of_second,) = api.get("/adaptations", device="pi-2")["items"]
    assert names(api.get("/adaptations", since=of_second["at"]), "device") == ["pi-2"]


def test_labels_can_be_asked_for_by_state_and_device(api: Api, fleet: Fleet) -> None:
    fleet.quarantines("pi-1", "s1")
    fleet.quarantines("pi-2", "s2")
    api.label("pi-1", "s1")
    api.label("pi-1", "s1")
    api.label("pi-2", "s2")
    assert names(api.get("/labels", state="queued"), "sample") == ["s2", "s1"]
    assert [(i["revision"], i["current"]) for i in api.get("/labels", device="pi-1")["items"]] == [
        (2, True),
        (1, False),
    ]


def test_models_come_with_the_aliases_that_point_to_them(api: Api) -> None:
    assert [(m["model"], m["version"], m["aliases"]) for m in api.get("/models")["items"]] == [
        ("digits", 2, ["candidate"]),
        ("digits", 1, ["champion"]),
    ]
    assert api.get("/models")["items"][1]["digest"] == hashlib.sha256(b"one").hexdigest()


def test_health_names_what_is_away_and_why(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with Api(stores, hasty_link(1)) as api:
        wait_until(lambda: "refused" in api.get("/health")["broker"]["why"])
        health = api.get("/health")
        assert health["database"] == health["objects"] == health["registry"] == {"ok": True, "why": ""}
    nowhere = Stores(Database("host=127.0.0.1 port=1 dbname=x"), stores.objects, MlflowRegistry("http://127.0.0.1:1"))
    with Api(nowhere, hasty_link(1)) as api:
        answer = api.client.get("/health")
        assert (answer.status_code, answer.json()["database"]["ok"]) == (503, False)
        assert "refused" in answer.json()["database"]["why"]
        problem = assert_problem(api.client.get("/labels"), 503, "database-away")
        assert "refused" in problem["detail"]
        assert api.client.get("/labels").headers["retry-after"] == "2"
        wait_until(lambda: "registry is away" in api.client.get("/health").json()["registry"]["why"])
        assert_problem(api.client.get("/models"), 503, "registry-away")


def test_a_database_without_tables_says_what_to_do(embedded_server: Postgres, stores: Stores) -> None:
    url = embedded_server.create_database("empty")
    with Api(Stores(Database(url), stores.objects, stores.models), hasty_link(1)) as api:
        assert "tinyml ingest migrate" in assert_problem(api.client.get("/devices"), 503, "database-away")["detail"]
        assert "tinyml ingest migrate" in api.client.get("/health").json()["database"]["why"]
    embedded_server.drop_database("empty")


def test_when_all_connections_are_busy_a_request_is_told_so(stores: Stores, database_url: str) -> None:
    small = Database(database_url, size=1, patience_s=0.1)
    with Api(Stores(small, stores.objects, stores.models), hasty_link(1)) as api, small.connection():
        assert "busy" in assert_problem(api.client.get("/devices"), 503, "database-away")["detail"]
    with Api(Stores(small, stores.objects, stores.models), hasty_link(1)) as api:
        assert api.client.get("/devices").status_code == 200


def test_the_root_leads_to_the_documentation(api: Api) -> None:
    answer = api.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
    assert api.client.get("/docs").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/drift?since=yesterday",
        "/drift?since=2026-11-23T12:00:00",
        "/drift?open=perhaps",
        "/drift?limit=0",
        "/drift?limit=501",
        "/drift?limit=many",
        "/drift?device=%00",
        "/drift?device=Pi",
        "/drift?after=nonsense",
        "/drift?after=" + "x" * 600,
        "/drift?after=%ff%fe",
        "/drift?after=WzEsMiwzXQ",  # [1,2,3]
        "/drift?after=e30",  # {}
        "/devices?after=WyJcdTAwMDAiXQ",  # ["\u0000"]
        "/devices?after=WyJcdWQ4MDAiXQ",  # ["\ud800"]
        "/samples?episode=%00",
        "/samples?label=" + "x" * 200,
        "/samples?pending=2",
        "/adaptations?outcome=%0a",
        "/labels?state=done",
        "/samples/pi-1/%00",
        "/samples/pi-1/" + "s" * 97,
        "/samples/_pi/s1/picture",
        "/drift/pi-1/%00",
        "/devices/-",
    ],
)
def test_a_question_that_makes_no_sense_is_refused(api: Api, path: str) -> None:
    assert_problem(api.client.get(path), 422, "invalid-request")


def test_what_does_not_exist_is_told_in_the_same_form(api: Api) -> None:
    assert_problem(api.client.get("/nothing"), 404, None)
    answer = api.client.delete("/labels")
    assert_problem(answer, 405, None)
    assert answer.headers["allow"]
