"""What people say: taken once, kept in order, and refused where it makes no sense."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import psycopg
import pytest

from ingest.stores.objects import Folder
from platform_api.access import MAX_BODY
from platform_api.stores import Stores
from tests.platform_api.conftest import hasty_link
from tests.platform_api.fleet import FEATURES, Fleet
from tests.platform_api.servers import Api

GOOD = {"device": "pi-1", "sample": "s1", "verdict": "is", "label": "pear", "by": "ada"}


@pytest.fixture
def database_url(emptied_database_url: str) -> str:
    return emptied_database_url


@pytest.fixture
def objects(module_objects: Folder) -> Folder:
    return module_objects


@pytest.fixture
def api(offline_api: Api, fleet: Fleet) -> Api:
    fleet.quarantines("pi-1", "s1")
    return offline_api


def assert_problem(response: httpx.Response, status: int, name: str | None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert set(problem) == {"type", "title", "status", "detail", "instance", "errors"}
    assert (problem["status"], problem["type"]) == (status, f"urn:tinyml:{name}" if name else "about:blank")
    return problem


def test_a_label_keeps_the_features_of_its_sample(api: Api, database_url: str) -> None:
    assert api.client.post("/labels", json=GOOD).status_code == 201
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT features, bundle, idempotency_key FROM label").fetchone()
    assert row == (bytes(FEATURES), "b1", None)


def test_the_answer_says_where_the_label_can_be_followed(api: Api) -> None:
    answer = api.client.post("/labels", json=GOOD)
    assert api.get(answer.headers["location"])["items"] == [answer.json()]


def test_a_label_is_written_in_one_spelling(api: Api) -> None:
    said = {**GOOD, "label": "  cafe\u0301 ", "by": " ada "}
    answer = api.client.post("/labels", json=said).json()
    assert (answer["label"], answer["by"]) == ("caf\u00e9", "ada")


def test_what_it_is_not_defaults_to_what_the_device_took_it_for(api: Api, fleet: Fleet) -> None:
    assert api.label("pi-1", "s1", "is-not").json()["label"] == "apple"
    assert api.label("pi-1", "s1", "is-not", "pear").json()["label"] == "pear"
    fleet.quarantines("pi-1", "s2", predicted="unknown")
    problem = assert_problem(api.label("pi-1", "s2", "is-not"), 422, "invalid-request")
    assert "which class is it not" in problem["detail"]


def test_the_same_key_makes_one_label_however_often_it_is_sent(api: Api) -> None:
    first = api.label("pi-1", "s1", "is-not", headers={"Idempotency-Key": "k-1"})
    again = api.label("pi-1", "s1", "is-not", headers={"Idempotency-Key": "k-1"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert api.label("pi-1", "s1", "is-not", headers={"Idempotency-Key": "k-2"}).json()["revision"] == 2
    assert api.label("pi-1", "s1", "is-not", headers={"Idempotency-Key": "k-1"}).json()["state"] == "superseded"
    assert len(api.get("/labels")["items"]) == 2


def test_a_key_is_not_taken_for_another_label(api: Api, fleet: Fleet) -> None:
    fleet.quarantines("pi-1", "s2")
    api.label("pi-1", "s1", "is", "pear", headers={"Idempotency-Key": "k-1"})
    for other in ({"label": "plum"}, {"sample": "s2"}, {"by": "bob"}, {"verdict": "is-not"}):
        answer = api.client.post("/labels", json={**GOOD, **other}, headers={"Idempotency-Key": "k-1"})
        assert_problem(answer, 422, "key-reused")


def test_many_at_once_get_a_revision_each_and_one_key_gets_one(api: Api) -> None:
    def say(number: int) -> None:
        key = {"Idempotency-Key": "same"} if number % 2 else {}
        answers.append(api.label("pi-1", "s1", "is", "pear", headers=key))

    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=say, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    history = api.get("/labels/pi-1/s1")["items"]
    assert [item["revision"] for item in history] == list(range(9, 0, -1))  # eight without a key, one with it
    assert [item["state"] for item in history] == ["queued"] + ["superseded"] * 8


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"verdict": "maybe"}, "body.verdict"),
        ({"verdict": None}, "body.verdict"),
        ({"label": ""}, "body"),
        ({"label": "   "}, "body"),
        ({"label": "unknown"}, "body"),
        ({"label": "x" * 65}, "body.label"),
        ({"label": "x" * 10_000}, "body.label"),
        ({"label": "pe\x00ar"}, "body.label"),
        ({"label": "pear\nplum"}, "body.label"),
        ({"label": "pear\u202e"}, "body.label"),
        ({"label": 7}, "body.label"),
        ({"by": ""}, "body"),
        ({"by": "a\x07da"}, "body.by"),
        ({"by": None}, "body.by"),
        ({"device": "Pi_1"}, "body.device"),
        ({"device": "_ingest"}, "body.device"),
        ({"device": "pi-1\n"}, "body.device"),
        ({"device": "x" * 64}, "body.device"),
        ({"sample": "s1/../s2"}, "body.sample"),
        ({"sample": "+"}, "body.sample"),
        ({"verdict": "unknown"}, "body"),
        ({"verdict": "retract"}, "body"),
        ({"colour": "red"}, "body.colour"),
    ],
)
def test_a_label_that_makes_no_sense_is_refused_with_the_place(api: Api, change: dict[str, Any], where: str) -> None:
    problem = assert_problem(api.client.post("/labels", json={**GOOD, **change}), 422, "invalid-request")
    assert where in [fault["at"] for fault in problem["errors"]]
    assert api.get("/labels")["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"pear"',
        b"\xff\xfe",
        b'{"device": "pi-1", "sample": "s1", "verdict": "is", "label": "\\ud800", "by": "ada"}',
        b'{"device": "\\udfff"}',
        b"[" * 20_000,
        b'{"label": NaN}',
    ],
)
def test_a_body_that_is_no_label_is_refused(api: Api, body: bytes) -> None:
    answer = api.client.post("/labels", content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_form_of_another_page_is_no_label(api: Api) -> None:
    # What a foreign page can send without asking the browser's permission.
    answer = api.client.post("/labels", content=b'{"device": "pi-1"}', headers={"Content-Type": "text/plain"})
    assert_problem(answer, 422, "invalid-request")


def test_a_body_that_is_too_large_is_not_read(api: Api) -> None:
    assert_problem(api.client.post("/labels", content=b" " * (MAX_BODY + 1)), 413, "body-too-large")

    def chunks() -> Any:
        for _ in range(MAX_BODY // 1024 + 2):
            yield b" " * 1024

    headers = {"Content-Type": "application/json"}
    assert_problem(api.client.post("/labels", content=chunks(), headers=headers), 413, None)


def test_a_key_has_to_be_a_word(api: Api) -> None:
    for key in ("", "two words", "x" * 129):
        answer = api.client.post("/labels", json=GOOD, headers={"Idempotency-Key": key})
        assert_problem(answer, 422, "invalid-request")


def test_a_sample_nobody_sent_cannot_be_labelled(api: Api) -> None:
    assert_problem(api.label("pi-1", "s9"), 404, "unknown-sample")
    assert_problem(api.label("pi-9", "s1"), 404, "unknown-sample")
    assert_problem(api.client.get("/labels/pi-1/s1"), 404, "not-labelled")


def test_only_what_was_said_can_be_taken_back(api: Api) -> None:
    assert_problem(api.label("pi-1", "s1", "retract"), 409, "nothing-to-retract")
    api.label("pi-1", "s1")
    assert api.label("pi-1", "s1", "retract").status_code == 201
    assert_problem(api.label("pi-1", "s1", "retract"), 409, "nothing-to-retract")


def test_a_token_is_asked_of_whoever_labels(stores: Stores, fleet: Fleet) -> None:
    fleet.quarantines("pi-1", "s1")
    with Api(stores, hasty_link(1), token="a-token-of-enough-letters") as api:
        assert_problem(api.client.post("/labels", json=GOOD), 401, "token-needed")
        for wrong in ("Bearer nonsense", "Basic YTpi", "Bearer", "a-token-of-enough-letters", "Bearer t\u00f6ken"):
            answer = api.client.post("/labels", json=GOOD, headers={"Authorization": wrong.encode()})
            assert_problem(answer, 401, "token-needed")
            assert answer.headers["www-authenticate"] == "Bearer"
        shown = {"Authorization": "Bearer a-token-of-enough-letters"}
        assert api.client.post("/labels", json=GOOD, headers=shown).status_code == 201
        assert api.client.get("/labels", headers={"Host": "api.example.org"}).status_code == 200


def test_without_a_token_a_foreign_name_is_not_answered(api: Api) -> None:
    for host in ("rebound.example.org", "127.0.0.1.example.org", "", "[::2]"):
        assert_problem(api.client.get("/labels", headers={"Host": host}), 421, "foreign-host")
    for host in ("localhost:8080", "LOCALHOST", "[::1]:80", "127.0.0.1"):
        assert api.client.get("/labels", headers={"Host": host}).status_code == 200
