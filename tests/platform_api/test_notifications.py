"""What people read of incidents and notifications, and how they say that they have seen one."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from ingest.knowledge import episodes, incidents, presence
from ingest.knowledge.incidents import Measure
from ingest.knowledge.notifications import Patience, judge
from ingest.stores.objects import Folder
from tests.platform_api.fleet import Fleet
from tests.platform_api.servers import Api
from tests.platform_api.test_labels import assert_problem

PIS = ("pi-1", "pi-2", "pi-3")


@pytest.fixture
def database_url(emptied_database_url: str) -> str:
    with psycopg.connect(emptied_database_url, autocommit=True) as connection:
        connection.execute(
            "TRUNCATE presence_event, fleet_hour, knowledge_mark, episode_state, incident_device, incident,"
            " notification_delivery, notification CASCADE"
        )
    return emptied_database_url


@pytest.fixture
def objects(module_objects: Folder) -> Folder:
    return module_objects


@pytest.fixture
def api(offline_api: Api, database_url: str) -> Api:
    return offline_api


@pytest.fixture
def incident(fleet: Fleet) -> str:
    """Three devices drift."""
    for pi in PIS:
        fleet.appears(pi)
        fleet.drifts(pi, "e1")
    works(fleet)
    with psycopg.connect(fleet.url) as connection:
        (name,) = connection.execute("SELECT incident FROM incident").fetchone() or ("",)
    return str(name)


def works(fleet: Fleet) -> None:
    with psycopg.connect(fleet.url, autocommit=True) as connection:
        presence.watch(connection)
        episodes.refresh(connection)
        incidents.gather(connection, Measure())
        judge(connection, Patience(), ("webhook",))


def ids(page: dict[str, Any]) -> list[int]:
    return [item["id"] for item in page["items"]]


def test_an_incident_shows_its_devices(api: Api, incident: str) -> None:
    page = api.get("/incidents")
    assert [(i["incident"], i["status"], i["devices"], i["unresolved"]) for i in page["items"]] == [
        (incident, "open", 3, 3)
    ]
    one = api.get(f"/incidents/{incident}")
    assert (one["kind"], one["type"], one["bundle"], one["severity"]) == ("drift", "residual", "b1", "critical")
    assert [(m["device"], m["episode"], m["status"]) for m in one["members"]] == [(pi, "e1", "open") for pi in PIS]
    assert api.get("/incidents", status="closed")["items"] == api.get("/incidents", kind="camera")["items"] == []
    assert len(api.get("/incidents", kind="drift", since=one["begin_at"])["items"]) == 1
    assert_problem(api.client.get("/incidents/none"), 404, "unknown-incident")
    assert_problem(api.client.get("/incidents?status=gone"), 422, "invalid-request")


def test_episodes_show_their_status_and_devices_their_presence(api: Api, incident: str, fleet: Fleet) -> None:
    fleet.drifts("pi-4", "e9")  # nobody has judged it yet
    seen = [(e["device"], e["status"], e["status_by"]) for e in api.get("/drift")["items"]]
    assert sorted(seen) == [(pi, "open", "system") for pi in (*PIS, "pi-4")]
    assert {d["presence"] for d in api.get("/devices")["items"]} == {"online"}


def test_a_notification_says_what_to_do_and_is_acknowledged_once(api: Api, incident: str) -> None:
    (one,) = api.get("/notifications")["items"]
    assert (one["kind"], one["incident"], one["device"], one["active"]) == ("incident", incident, "", True)
    assert (one["link"], one["deliveries"]) == (f"/incidents/{incident}", {"webhook": "waiting"})
    path = f"/notifications/{one['id']}"
    assert api.get(path) == one
    for who in ("ada", "bob"):
        answer = api.client.post(f"{path}/ack", json={"by": who})
        assert (answer.status_code, answer.json()["acked_by"]) == (200, "ada")
    assert ids(api.get("/notifications", acked=False)) == []
    assert ids(api.get("/notifications", acked=True)) == [one["id"]]
    for said in ({}, {"by": ""}, {"by": "a\x00"}, {"by": "ada", "more": 1}):
        assert_problem(api.client.post(f"{path}/ack", json=said), 422, "invalid-request")
    assert_problem(api.client.post("/notifications/999999/ack", json={"by": "ada"}), 404, "unknown-notification")
    assert_problem(api.client.get("/notifications/999999"), 404, "unknown-notification")
    assert_problem(api.client.get("/notifications/0"), 422, "invalid-request")


def test_notifications_can_be_asked_for_and_come_in_pages(api: Api, incident: str, fleet: Fleet) -> None:
    with psycopg.connect(fleet.url, autocommit=True) as connection:
        for pi in PIS:
            connection.execute(
                "INSERT INTO label (device, sample, revision, verdict, by, features, bundle, state, answered_at)"
                " VALUES (%s, 's', 1, 'is', 'ada', '', 'b1', 'rejected', now())",
                [pi],
            )
    works(fleet)
    first = api.get("/notifications", limit=2)
    rest = api.get("/notifications", limit=2, after=first["next"])
    assert len(set(ids(first) + ids(rest))) == 4
    assert rest["next"] is None
    assert len(ids(api.get("/notifications", kind="label-rejected"))) == 3
    assert len(ids(api.get("/notifications", device="pi-2"))) == 1
    assert len(ids(api.get("/notifications", severity="critical"))) == 1
    assert ids(api.get("/notifications", active=False)) == []
