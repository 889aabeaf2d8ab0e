"""Workers as processes: the others take over from one that is killed, and from one that is asked to leave."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from broker.embedded import BrokerProcess
from platform_api.demo.process import Process, tinyml
from tests.ingest.harness import Fleet
from tests.records import BOOT, drift, sent
from tests.support import wait_until

Start = Callable[[], Process]
Key = tuple[str, int]


@pytest.fixture
def start(broker: BrokerProcess, database_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts workers, each a process of its own that listens."""
    with ExitStack() as stack:
        started: list[Process] = []

        def start() -> Process:
            where = ("--broker", broker.url, "--database", database_url, "--objects", str(tmp_path / "objects"))
            log = tmp_path / f"worker-{len(started)}.log"
            process = Process("worker", tinyml("ingest", "run", *where, "--batch", "50"), log)
            stack.callback(process.stop)
            process.start()
            process.wait_for("listening")
            started.append(process)
            return process

        yield start


class Devices:
    """Twenty devices that keep every record until they hear that it is stored, as ours do."""

    def __init__(self, fleet: Fleet, each: int) -> None:
        self.fleet = fleet
        self.keeps: set[Key] = {(f"lamp-{number}", seq) for number in range(20) for seq in range(1, each + 1)}

    def forget_what_is_stored(self) -> set[Key]:
        stored = {(device, seq) for (device, _), numbers in self.fleet.stored.items() for seq in numbers}
        self.keeps -= stored
        return self.keeps

    def send(self, some: int = 1_000_000) -> None:
        """Sends records that nobody confirmed, again where they were sent before."""
        for device, seq in sorted(self.forget_what_is_stored(), key=lambda key: key[1])[:some]:
            self.fleet.send(sent(drift(seq), seq, device))

    def send_until_all_are_stored(self) -> None:
        for _ in range(10):
            self.send()
            before = -1
            while self.forget_what_is_stored() and before != len(self.keeps):
                before = len(self.keeps)
                try:
                    wait_until(lambda seen=before: len(self.forget_what_is_stored()) < seen, 2)  # type: ignore[misc]
                except AssertionError:
                    break  # what is missing went down with the worker, and is sent again
            if not self.keeps:
                return
        pytest.fail(f"{len(self.keeps)} records are never stored")


def rows(eyes: psycopg.Connection) -> tuple[int, int]:
    found = eyes.execute("SELECT count(*), count(DISTINCT (device, boot, seq)) FROM drift_event").fetchone()
    assert found is not None
    return found[0], found[1]


@pytest.mark.mosquitto
@pytest.mark.timeout(120)
@pytest.mark.parametrize("broker", ["shipped"], indirect=True)
def test_two_workers_take_over_from_a_third_that_is_killed(
    fleet: Fleet, start: Start, database_url: str, eyes: psycopg.Connection
) -> None:
    workers = [start(), start(), start()]
    devices = Devices(fleet, each=100)
    with psycopg.connect(database_url) as stall:  # so that each has a batch in hand and others in its inbox
        stall.execute("LOCK TABLE drift_event IN SHARE MODE")
        devices.send(1000)
        wait_until(lambda: len(eyes.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall()) == 3)
        random.Random(1).choice(workers).kill()
    devices.send_until_all_are_stored()
    assert rows(eyes) == (2000, 2000)
    assert {boot for _, boot in fleet.stored} == {BOOT}
    wait_until(fleet.listening)  # the will of the dead one was corrected by those who live


@pytest.mark.mosquitto
@pytest.mark.timeout(120)
@pytest.mark.parametrize("broker", ["shipped"], indirect=True)
def test_nobody_sends_anything_again_when_a_worker_is_asked_to_leave(
    fleet: Fleet, start: Start, database_url: str, eyes: psycopg.Connection
) -> None:
    leaving, _ = start(), start()
    devices = Devices(fleet, each=50)
    with psycopg.connect(database_url) as stall:
        stall.execute("LOCK TABLE drift_event IN SHARE MODE")
        devices.send()
        wait_until(lambda: len(eyes.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall()) == 2)
        os.kill(leaving.pid, signal.SIGTERM)
    assert leaving.wait(20) == 0
    wait_until(lambda: not devices.forget_what_is_stored(), 20)
    assert rows(eyes) == (1000, 1000)
