"""The measures: functions of the place that give figures by name. One call is one run, the table takes medians."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from platform_api.demo.process import Process

from . import packets
from .packets import Packets
from .place import Place, asleep, cpu_s
from .publisher import Publisher

Figures = dict[str, float]
DEVICES = 40
CONNECTIONS = 4
OUTSTANDING = 8_000  # sent and not stored yet, all devices together: 200 a device, as theirs is
_boots = iter(range(1, 1_000_000))


class WrongCountError(AssertionError):
    """What was confirmed is not what is in the database."""


def loads(count: int, kind: str = "drift", devices: int = DEVICES, connections: int = CONNECTIONS) -> list[Packets]:
    """`count` packets of a boot that nobody has used before, a load a connection."""
    boot = f"b{next(_boots):07}-000001"
    now_us = int(time.time() * 1e6)
    share, each = count // connections, devices // connections
    return [
        packets.build(kind, share, packets.device_names(each, number * each), boot, now_us=now_us)
        for number in range(connections)
    ]


def drained(place: Place, count: int, *, workers: int = 1, poison_every: int = 0) -> Figures:
    """Messages a second, stored and confirmed, of a backlog that waits in the broker when the clock starts."""
    made = loads(count)
    bad = sum(packets.poisoned(load, poison_every) for load in made) if poison_every else 0
    publisher = Publisher(place.broker.url, CONNECTIONS)
    try:
        with place.workers(workers) as started:
            warm_up(publisher)
            with asleep(started):
                publisher.publish(made, until_stored=False)
            wanted = sum(load.count for load in made) - unanswerable(bad)
            before = Cpu(place, started)
            seconds = publisher.until(lambda: publisher.stored >= wanted)
            figures = {"per_s": count / seconds, "again": publisher.again, **before.since(count)}
            check(place, "drift_event", made, bad)
            return figures
    finally:
        publisher.close()


def live(place: Place, count: int) -> Figures:
    """Messages a second, stored and confirmed, while they are published by devices that hold their windows."""
    made = loads(count)
    publisher = Publisher(place.broker.url, CONNECTIONS)
    try:
        with place.workers() as started:
            warm_up(publisher)
            before = Cpu(place, started)
            seconds = publisher.publish(made, outstanding=OUTSTANDING)
            figures = {"per_s": count / seconds, **before.since(count)}
            check(place, "drift_event", made)
            return figures
    finally:
        publisher.close()


def rival(place: Place, name: str, count: int) -> Figures:
    """Messages a second of something else on the same backlog."""
    argv = [sys.executable, "-m", "benchmarks.ingest.rivals", name, place.broker.url, place.database.url, str(count)]
    process = place.start(name, argv, "^ready")
    try:
        if name == "copy":
            return {"per_s": count / float(process.wait_for(r"^done (\S+)")[1])}
        publisher = Publisher(place.broker.url, CONNECTIONS)
        try:
            with asleep([process]):
                publisher.publish(loads(count), until_stored=False)
            began = time.monotonic()
        finally:
            publisher.close()
        return {"per_s": count / (float(process.wait_for(r"^done (\S+)")[1]) - began)}
    finally:
        process.stop()
        place.empty()


def warm_up(publisher: Publisher, count: int = 2000) -> None:
    """The worker has connected to the database and made its stages; a process serves for months."""
    publisher.publish(loads(count), outstanding=count)


def unanswerable(bad: int) -> int:
    """Of so many poisoned messages those whose record cannot even be named; they are never confirmed."""
    return (bad + 1) // 2


def check(place: Place, table: str, made: Sequence[Packets], bad: int = 0) -> None:
    """Raises WrongCountError unless every record is there exactly once."""
    boots = sorted({load.boot for load in made})
    wanted = sum(load.count for load in made) - bad
    found = place.counted(table, boots)
    if found != (wanted, wanted):
        raise WrongCountError(f"{wanted} records were confirmed, and there are {found[0]} rows of {found[1]}")


class Cpu:
    """Processor time of the parts, per message."""

    def __init__(self, place: Place, workers: Sequence[Process]) -> None:
        self.place, self.workers = place, workers
        self.before = self._now()

    def since(self, count: int) -> Figures:
        return {name: (now - self.before[name]) / count * 1e6 for name, now in self._now().items()}

    def _now(self) -> Figures:
        database = self.place.database.pid
        assert database is not None
        return {
            "worker_us": sum(cpu_s(worker.pid) for worker in self.workers),
            "broker_us": cpu_s(self.place.broker.pid),
            "database_us": cpu_s(database, children=True),
            "publisher_us": time.process_time(),
        }
