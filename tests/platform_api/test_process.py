"""The API as a process: started by its command, stopped politely, killed at the worst moment."""

from __future__ import annotations

import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, LiteralString

import httpx
import psycopg
import pytest

from broker import cli
from broker.process import BrokerProcess
from platform_api.settings import ApiSettings
from tests.platform_api.fleet import Fleet
from tests.platform_api.servers import ApiProcess, Onlooker, retained
from tests.support import wait_until

TOPIC = "tinyml/pi-1/label/s1"
KEY = {"Idempotency-Key": "one"}
GOOD = {"device": "pi-1", "sample": "s1", "verdict": "is", "label": "pear", "by": "ada"}


@pytest.fixture
def flags(database_url: str, broker: BrokerProcess, tmp_path: Path) -> list[str]:
    return [
        *("--database", database_url),
        *("--broker", broker.url),
        *("--objects", str(tmp_path / "objects")),
        *("--registry", f"sqlite:///{tmp_path / 'mlflow.db'}"),
        *("--backoff-cap-s", "0.2"),
        *("--log-level", "error"),
    ]


def ask(database_url: str, question: LiteralString) -> list[Any]:
    with psycopg.connect(database_url) as connection:
        return [row[0] for row in connection.execute(question).fetchall()]


def state(database_url: str) -> list[str]:
    return ask(database_url, "SELECT state FROM label ORDER BY sample, revision")


def waiting(database_url: str) -> bool:
    question = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%v_label%' AND wait_event_type = 'Lock'"
    return bool(ask(database_url, "SELECT 1 WHERE EXISTS (" + question + " HAVING count(*) > 0)"))


def test_killed_between_publishing_and_noting_it_the_api_still_sends_one_label(
    flags: list[str], fleet: Fleet, broker: BrokerProcess, database_url: str
) -> None:
    fleet.quarantines("pi-1", "s1")
    broker.stop()
    with psycopg.connect(database_url) as stall, ApiProcess(*flags) as api:
        assert httpx.post(f"{api.url}/labels", json=GOOD, headers=KEY).status_code == 201
        stall.execute("SELECT FROM label FOR UPDATE")  # whoever wants to note something has to wait
        broker.start()
        device = Onlooker(broker.port)
        wait_until(lambda: TOPIC in device.holds())
        assert api.end(signal.SIGKILL) == -signal.SIGKILL
        # The server would still carry out what it was told; a machine that loses its power tells nothing.
        stall.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE application_name = 'tinyml-api' AND datname = current_database()"
        )
    assert state(database_url) == ["queued"]
    with device, ApiProcess(*flags) as api:
        wait_until(lambda: state(database_url) == ["published"])
        assert httpx.post(f"{api.url}/labels", json=GOOD, headers=KEY).json()["revision"] == 1
        assert api.end(signal.SIGTERM) == 0
    assert [topic for topic, _ in device.heard] == [TOPIC], "what was on the broker already was recognised"
    assert list(retained(broker.port)) == [TOPIC]


def test_a_request_that_is_being_answered_ends_before_the_process_does(flags: list[str], database_url: str) -> None:
    with ApiProcess(*flags) as api, psycopg.connect(database_url) as stall:
        stall.execute("LOCK TABLE label")
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(httpx.get, f"{api.url}/labels", timeout=10)
            wait_until(lambda: waiting(database_url))
            api.process.send_signal(signal.SIGTERM)
            stall.rollback()
            assert answer.result().status_code == 200
        assert api.process.wait(10) == 0


def test_the_command_prints_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["api", "openapi"]) == 0
    assert json.loads(capsys.readouterr().out)["info"]["title"] == "TinyMLOps"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--host", "0.0.0.0"], "set a token"),
        (["--host", "example.org"], "set a token"),
        (["--token", "short"], "16 printable"),
        (["--token", "sixteen letters\u00e9"], "16 printable"),
        (["--port", "70000"], "0 to 65535"),
        (["--connections", "0"], "more than 0"),
        (["--broker", "http://127.0.0.1"], "mqtt://"),
        (["--broker", "mqtts://127.0.0.1", "--ca-file", "{missing}"], "cannot be used as certificate authority"),
        (["--objects", "ftp://127.0.0.1"], "no object store"),
        (["--host", "127.0.0.1", "--port", "{taken}"], "cannot listen on 127.0.0.1"),
    ],
)
def test_a_setting_that_cannot_be_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, flags: list[str], sentence: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = [flag.format(taken=taken.getsockname()[1], missing=tmp_path / "ca.pem") for flag in flags]
        assert cli.main(["api", "run", "--port", "0", *told]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_only_a_token_opens_the_api_to_other_machines() -> None:
    assert ApiSettings(host="0.0.0.0", token="a-token-of-enough-letters").host == "0.0.0.0"
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        assert ApiSettings(host=host).token == ""
