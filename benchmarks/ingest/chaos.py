"""kill -9 for parts of the server side in random order, each time while the database does not get on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from random import Random

import psycopg

from platform_api.demo.process import Process

from .place import Place

STALL_S = 0.8  # without a stall before a kill, every design passes
EACH_S = 2.4  # about as long as a kill with all that belongs to it takes
GROWS_S = 30.0
TABLES = ("drift_event", "telemetry", "prediction", "sample", "adaptation", "snapshot", "label_ack", "label_request")
ROWS = "SELECT " + " + ".join(f"(SELECT count(*) FROM {table})" for table in TABLES)


def play(place: Place, workers: Sequence[Process], kills: Mapping[str, int], seed: int) -> int:
    """Kills so many of each part and starts each again; how many kills that were."""
    chance = Random(seed)
    order = [part for part, count in kills.items() for _ in range(count)]
    chance.shuffle(order)
    for part in order:
        before = rows(place)
        victim = chance.choice(workers)
        connection = stall(place)
        try:
            time.sleep(STALL_S)
            _kill(place, part, victim)
        finally:
            with suppress(psycopg.OperationalError):  # the server went with it
                connection.close()
        _start(place, part, victim)
        flows(place, before)
    return len(order)


def rows(place: Place) -> int:
    """Records in the database."""
    return int(place.ask(ROWS)[0])


def flows(place: Place, before: int) -> None:
    """Waits until records are stored again, or fewer and fewer would be at stake. Raises TimeoutError."""
    end = time.monotonic() + GROWS_S
    while rows(place) <= before:
        if time.monotonic() > end:
            raise TimeoutError("nothing is stored any more")
        time.sleep(0.05)


def stall(place: Place) -> psycopg.Connection:
    """Until this connection ends nothing can be committed, as on a disk that does not answer."""
    connection = psycopg.connect(place.database.url)
    while True:
        try:
            connection.execute(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE".encode())
        except psycopg.errors.DeadlockDetected:  # a batch holds some of them and wants the others
            connection.rollback()
        else:
            return connection


def _kill(place: Place, part: str, worker: Process) -> None:
    if part == "worker":
        worker.kill()
    elif part == "broker":
        place.broker.kill()
    else:
        place.database.kill()


def _start(place: Place, part: str, worker: Process) -> None:
    if part == "worker":
        worker.start()
        worker.wait_for("listening")
    elif part == "broker":
        place.broker.start()
    else:
        place.database.start()
