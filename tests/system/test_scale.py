"""compose.scale.yaml: as many workers as wanted on a broker, a database and an object store that are elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from broker.address import BrokerAddress
from broker.codec import decode_as
from broker.connection import Connection, Delivery, Options
from broker.messages import IngestState, Stored
from tests.contract.brokers import passwords
from tests.records import EVERY_KIND, drift, sent
from tests.support import missing, wait_until

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose.scale.yaml"
DEVICE = "lamp-1"
SECRETS = {
    "TINYML_BROKER": "mqtt://broker:1884",
    "TINYML_INGEST_PASSWORD": "secret-_ingest",
    "TINYML_API_PASSWORD": "secret-_api",
    "TINYML_DATABASE": "postgresql://tinyml:test-database@database/tinyml",
    "TINYML_OBJECTS": "s3+http://tinyml:test-objects@objects:9000/tinyml",
    "TINYML_REGISTRY": "http://nobody:5000",  # it may be away: events do not need it
    "TINYML_API_TOKEN": "test-token-of-32-characters-or-so",
}


def compose(*words: str, more: dict[str, str] | None = None, files: tuple[Path, ...] = (COMPOSE,)) -> str:
    done = attempt(*words, environment=SECRETS | (more or {}), files=files)
    assert done.returncode == 0, f"docker compose {words[0]}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def attempt(
    *words: str, environment: dict[str, str], files: tuple[Path, ...] = (COMPOSE,)
) -> subprocess.CompletedProcess[str]:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        missing("Docker engine")
    named = [part for file in files for part in ("-f", str(file))]
    command = ["docker", "compose", "--project-name", "tinyml-test-scale", "--project-directory", str(ROOT), *named]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TINYML_")}
    # Whatever .env a person has beside the file is not for tests.
    return subprocess.run(
        [*command, "--env-file", os.devnull, *words],
        env={**clean, "TINYML_IMAGE": "tinymlops:test", **environment},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.mark.container
@pytest.mark.parametrize("name", SECRETS)
def test_nothing_starts_while_a_value_is_missing(name: str) -> None:
    given = {other: value for other, value in SECRETS.items() if other != name}
    refused = attempt("config", "--quiet", environment=given)
    assert refused.returncode != 0
    assert f"required variable {name} is missing a value: the " in refused.stderr.replace(": 16 ", ": the 16 ")


@pytest.mark.container
def test_every_container_is_fenced_in() -> None:
    services = json.loads(compose("config", "--format", "json"))["services"]
    assert set(services) == {"worker", "maintain", "api"}
    for service in services.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]
        assert service["deploy"]["resources"]["limits"]["memory"]
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", []))


class Device:
    """Sends records, and again what was not said to be stored, as a device does."""

    def __init__(self, port: int) -> None:
        self.stored: set[int] = set()
        self.began_us = time.time_ns() // 1000  # what is old would be given up by retention
        self.listening = False
        address = BrokerAddress.of(f"mqtt://127.0.0.1:{port}", username=DEVICE, password=f"secret-{DEVICE}")
        self.link = Connection(Options(address=address, client_id=DEVICE, max_inflight=200), on_message=self._heard)
        self.link.subscribe([(f"tinyml/{DEVICE}/stored", 1), ("tinyml/_ingest/state", 1)])
        self.link.start()

    def send(self, seqs: range) -> None:
        for seq in seqs:
            if seq not in self.stored:
                message = EVERY_KIND[seq % len(EVERY_KIND)] if seq % 10 == 0 else drift(seq)
                self.link.publish(*sent(message, seq, DEVICE, wall_us=self.began_us + seq), 1)

    def _heard(self, topic: str, payload: bytes, _: Delivery) -> None:
        if topic.endswith("/stored"):
            for first, last in decode_as(Stored, payload).ranges:
                self.stored.update(range(first, last + 1))
        else:
            self.listening = decode_as(IngestState, payload).listening


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[Path, ...]]:
    """The compose files, with what they need to run; everything is gone afterwards."""
    config = tmp_path / "mosquitto"
    config.mkdir()
    shipped = (ROOT / "broker/mosquitto/mosquitto.conf").read_text()
    (config / "mosquitto.conf").write_text(shipped.replace(" 127.0.0.1\n", "\n"))  # other containers reach it
    shutil.copy(ROOT / "broker/mosquitto/acl.conf", config)
    passwords(config, DEVICE, "_ingest", "_api")
    for path in (tmp_path, config, *config.iterdir()):
        path.chmod(0o755)
    SECRETS["NEIGHBOURS"] = str(tmp_path)
    both = (COMPOSE, Path(__file__).with_name("scale.neighbours.yaml"))
    try:
        yield both
    finally:
        compose("down", "--volumes", "--timeout", "1", files=both)


def port_of(service: str, port: int, files: tuple[Path, ...]) -> int:
    return int(compose("port", service, str(port), files=files).rpartition(":")[2])


def workers(files: tuple[Path, ...]) -> list[str]:
    return compose("ps", "--quiet", "worker", files=files).split()


@pytest.mark.slow
@pytest.mark.container
@pytest.mark.timeout(400)
def test_workers_share_the_work_and_one_goes_on_when_another_is_killed(files: tuple[Path, ...]) -> None:
    compose("build", "--quiet", files=files)
    compose("up", "--detach", "--scale", "worker=2", files=files, more={"TINYML_API_PORT": "0"})
    device = Device(port_of("broker", 1883, files))
    database = f"postgresql://tinyml:test-database@127.0.0.1:{port_of('database', 5432, files)}/tinyml"
    try:
        wait_until(lambda: device.listening, timeout=90)
        with psycopg.connect(database, autocommit=True) as eyes:
            wait_until(lambda: compose("logs", "worker", files=files).count("listening at ") == 2, timeout=60)
            device.send(range(1, 401))
            wait_until(lambda: device.stored, timeout=30)
            first, second = workers(files)
            subprocess.run(["docker", "kill", first], check=True, capture_output=True, timeout=30)
            device.send(range(401, 801))
            for _ in range(30):
                try:
                    wait_until(lambda: len(device.stored) == 800, timeout=2)
                    break
                except AssertionError:
                    device.send(range(1, 801))  # what was in flight to the one that died
            counts = eyes.execute("SELECT records, numbers, last_seq FROM v_record_count").fetchall()
            assert counts == [(800, 800, 800)]
        checked = subprocess.run(
            ["docker", "exec", second, "tinyml", "ingest", "health"], capture_output=True, text=True, check=False
        )
        assert checked.stdout.startswith("at work"), checked.stdout + checked.stderr
        with urllib.request.urlopen(f"http://127.0.0.1:{port_of('api', 8080, files)}/health", timeout=10) as answer:
            told = json.load(answer)
        assert told["database"]["ok"]
        assert told["objects"]["ok"]
    finally:
        device.link.stop()
