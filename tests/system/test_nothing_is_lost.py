"""Device, broker, worker and database are killed (-9) mid-stream, with the database stalled before each kill.

At the end every spooled record is in the database exactly once, and every label is applied exactly once.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.embedded import find_mosquitto
from ingest.embedded import EmbeddedPostgres, Postgres, TimescalePostgres
from platform_api.demo.stack import Stack
from tests.postgres import timescale_programs
from tests.support import missing

from .fleet import Fleet, eventually

ROUNDS = 2
SEEDS = {("mosquitto", "timescale"): 1, ("embedded", "embedded"): 2}
MORE_SEEDS = {("mosquitto", "embedded"): 3, ("embedded", "timescale"): 4, ("mosquitto", "timescale"): 5}
CASES = [pytest.param(*case, seed, id="-".join(case)) for case, seed in SEEDS.items()] + [
    pytest.param(*case, seed, marks=pytest.mark.slow, id=f"{'-'.join(case)}-{seed}")
    for case, seed in MORE_SEEDS.items()
]


@pytest.fixture
def fleet(tmp_path: Path, broker: str, database: str) -> Iterator[Fleet]:
    if broker == "mosquitto" and find_mosquitto() is None:
        missing("mosquitto")
    server: Postgres
    if database == "timescale":
        server = TimescalePostgres(timescale_programs(), tmp_path / "timescale")
    else:
        server = EmbeddedPostgres(tmp_path / "postgres")
    stack = Stack(tmp_path / "stack", broker=broker, database=server)
    try:
        stack.start()
        made = Fleet(stack, tmp_path)
        try:
            yield made
        finally:
            made.close()
    finally:
        stack.stop()
        server.remove()


def kill_device(fleet: Fleet) -> None:
    fleet.device.kill()


def kill_broker(fleet: Fleet) -> None:
    fleet.stack.broker.kill()


def kill_worker(fleet: Fleet) -> None:
    fleet.stack.worker.kill()


def kill_database(fleet: Fleet) -> None:
    fleet.stack.database.kill()


KILLS: dict[Callable[[Fleet], None], Callable[[Fleet], object]] = {
    kill_device: lambda fleet: fleet.start_device(),
    kill_broker: lambda fleet: fleet.stack.broker.start(),
    kill_worker: lambda fleet: fleet.stack.start_worker(),
    kill_database: lambda fleet: fleet.stack.database.start(),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("broker", "database", "seed"), CASES)
def test_every_record_is_stored_once_and_every_label_applied_once(fleet: Fleet, seed: int) -> None:
    chance = random.Random(seed)
    fleet.start_device()
    assert eventually(lambda: bool(fleet.label_some()), 60), "the device never had a sample to label"
    for _ in range(ROUNDS):
        for kill in chance.sample(list(KILLS), len(KILLS)):
            before = fleet.rows()
            with fleet.stalled(lost=kill is kill_database):
                kill(fleet)
            KILLS[kill](fleet)
            # The stream has to flow again before the next kill, or fewer and fewer records would be at stake.
            assert fleet.grows_beyond(before), f"nothing arrives after {kill.__name__}"
            fleet.label_some()
    assert eventually(lambda: all(cleared for _, _, cleared in fleet.labels()), 60), "labels were not all cleared"
    starts = 1 + ROUNDS + fleet.come_to_rest()

    produced, stored = fleet.produced(), fleet.stored()
    assert fleet.waiting() == 0
    assert len(produced) == starts  # a boot each time the device was started
    assert {boot: (last, last, last) for boot, last in produced.items()} == stored
    labels = fleet.labels()
    assert len(labels) == len(fleet.truth) > 0
    assert {state for _, state, _ in labels} == {"applied"}
    taught = Counter(sample for sample, _ in fleet.memory())
    assert taught == Counter(list(fleet.truth))
