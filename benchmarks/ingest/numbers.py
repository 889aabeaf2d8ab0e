"""The measures: functions of the place that give figures by name. One call is one run, the table takes medians."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from platform_api.demo.process import Process

from . import chaos, packets
from .packets import Packets
from .place import Place, asleep, cpu_s, memory_mb
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


def latency(place: Place, count: int, rate: float = 10_000) -> Figures:
    """Milliseconds from a publish to the commit of its row, and to `stored` at its device, at a steady rate."""
    made = loads(count)
    publisher = Publisher(place.broker.url, CONNECTIONS)
    heard: list[npt.NDArray[np.float64]] = []

    def stored(number: int, records: slice) -> None:
        heard.append(time.monotonic() - publisher.links[number].sent_at[records])

    try:
        with place.workers():
            warm_up(publisher)
            publisher.on_stored = stored
            to_wall = time.time() - time.monotonic()
            seconds = publisher.publish(made, rate=rate)
            check(place, "drift_event", made)
            numbers = {name: number for number, load in enumerate(made) for name in load.devices}
            row = [
                at - to_wall - publisher.links[numbers[device]].sent_at[made[numbers[device]].span(device, seq, seq)]
                for device, seq, at in place.committed("drift_event", made[0].boot)
            ]
    finally:
        publisher.close()
    if publisher.again:
        raise WrongCountError(f"{publisher.again} messages had to be sent again at {rate:g}/s")
    figures = {"per_s": count / seconds}
    for name, took in (("row", row), ("stored", heard)):
        quantiles = np.percentile(np.concatenate(took), (50, 95, 99)) * 1e3
        figures |= {f"{name}_{which}_ms": ms for which, ms in zip(("p50", "p95", "p99"), quantiles, strict=True)}
    return figures


def telemetry(place: Place, count: int, kind: str = "telemetry") -> Figures:
    """Readings a second through MQTT, exactly once, of a backlog of telemetry messages; each is sent twice."""
    rows, names = packets.READINGS[kind]
    made = loads(count, kind)
    publisher = Publisher(place.broker.url, CONNECTIONS)
    try:
        with place.workers() as started:
            publisher.publish(loads(400, kind), outstanding=400)
            with asleep(started):
                publisher.publish(made, until_stored=False)
            before = Cpu(place, started)
            seconds = publisher.until(lambda: publisher.stored >= count)
            per_s = count / seconds
            figures = {"rows_per_s": rows * names * per_s, "messages_per_s": per_s, **before.since(count)}
            publisher.publish(made, outstanding=OUTSTANDING)
            check(place, "telemetry", made)
            (found,) = place.ask("SELECT count(*) FROM reading")
            if found != rows * names * (count + 400):
                raise WrongCountError(
                    f"{rows * names * (count + 400)} readings were confirmed, and there are {found}"
                )
            return figures
    finally:
        publisher.close()


def start(place: Place) -> Figures:
    """Seconds from the start of the worker's process until its first record is confirmed; megabytes it then has."""
    publisher = Publisher(place.broker.url, CONNECTIONS)
    try:
        publisher.until(lambda: not publisher.listening)
        began = time.monotonic()
        worker = place.launch("worker", place.worker_argv())
        try:
            publisher.until(lambda: publisher.listening)
            listening_s = time.monotonic() - began
            publisher.publish(loads(CONNECTIONS, devices=CONNECTIONS))
            seconds = time.monotonic() - began
            return {"first_row_s": seconds, "listening_s": listening_s, "rss_mb": memory_mb(worker.pid)[0]}
        finally:
            worker.stop()
    finally:
        publisher.close()
        place.empty()


def memory(place: Place, count: int, part: int = 100_000) -> Figures:
    """Megabytes of a worker that stores `count` messages, at the tenth and at the end; tables are emptied often."""
    publisher = Publisher(place.broker.url, CONNECTIONS)
    sizes = []
    try:
        with place.workers() as (worker,):
            began = time.monotonic()
            for _ in range(max(1, count // part)):
                publisher.publish(loads(min(part, count)), outstanding=OUTSTANDING)
                sizes.append(memory_mb(worker.pid)[0])
                place.empty()
            seconds = time.monotonic() - began
            peak = memory_mb(worker.pid)[1]
    finally:
        publisher.close()
    tenth = sizes[max(0, len(sizes) // 10 - 1)]
    return {"messages": count, "tenth_mb": tenth, "end_mb": sizes[-1], "peak_mb": peak, "per_s": count / seconds}


def fleet(place: Place, devices: int, rate: float, seconds: float) -> Figures:
    """What `tinyml simulate` tells of so many connected devices."""
    with place.workers():
        more = ("--devices", str(devices), "--rate", str(rate), "--duration", str(seconds))
        told = simulated(place, place.simulate("simulate", *more), 300)
    return {name: told[name] for name in ("most_connected", "made", "lost", "duplicated")} | {
        name: told["device_to_stored"][name] for name in ("p50_ms", "p95_ms", "p99_ms")
    }


def kills(place: Place, events: int, workers: int, brokers: int, databases: int = 0, seed: int = 1) -> Figures:
    """Lost and stored twice of `events` records, while parts are killed in the middle of a stall of the database."""
    seconds = max(10.0, chaos.EACH_S * (workers + brokers + databases))
    with place.workers(2) as started:
        fleet = place.simulate(
            *("kills", "--devices", "200", "--rate", str(1.02 * events / seconds), "--duration", "3600"),
            *("--reconnect-s", "1", "--confirm-timeout-s", "5", "--drain", "120"),
        )
        try:
            began = time.monotonic()
            done = chaos.play(place, started, {"worker": workers, "broker": brokers, "database": databases}, seed)
            time.sleep(max(0.0, seconds - (time.monotonic() - began)))  # until as many records are made as were asked
        finally:
            fleet.stop(180)  # it makes no more, and brings in what it has
        told = simulated(place, fleet, 1)
    figures = {name: told[name] for name in ("made", "stored", "lost", "duplicated", "sent_again", "reconnects")}
    return {**figures, "kills": done}


def simulated(place: Place, process: Process, timeout_s: float) -> dict[str, Any]:
    """The report of a simulation, when it has ended."""
    if process.wait(timeout_s) not in (0, 1):
        raise WrongCountError(f"the simulation failed; its log is {process.log}")
    report: dict[str, Any] = json.loads(place.report(process).read_text())
    return report


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
