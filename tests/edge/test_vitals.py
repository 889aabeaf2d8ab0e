"""The rim measures the device: the machine, the loop, the spool."""

from __future__ import annotations

import math
from pathlib import Path

from broker import codec, topics
from broker.messages import DriftDetected, Header, Vitals
from edge_actors.clock import MessageClock
from edge_actors.ports.spool import Spool
from edge_actors.runtime.door import Door, Doors
from edge_actors.vitals import SpoolGauge, VitalsProbe
from tests.support import wait_until


def test_leaves_readings_at_the_door_and_tells_the_faults() -> None:
    doors = Doors({Vitals: Door(room=2, drop_oldest=True)})
    told: list[frozenset[str]] = []
    probe = VitalsProbe(
        doors,
        MessageClock(40.0, lambda: 0.0),
        [lambda: {"a": 1.0}, lambda: {"b": 2, "endless": math.inf, "nothing": math.nan}],
        lambda: frozenset({"spool_full", "disk_full"}),
        tell=told.append,
        interval_s=0.001,
    )
    probe.start()
    wait_until(lambda: doors.turned_away()["Vitals"] > 3)
    wanted = Vitals(at=40.0, metrics={"a": 1.0, "b": 2.0}, faults=("disk_full", "spool_full"))
    assert doors.take(1.0) == wanted
    assert probe.latest == wanted
    doors.close()
    probe.stop()
    assert set(told) == {frozenset({"disk_full", "spool_full"})}


def test_says_how_much_waits_in_the_spool_and_for_how_long(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for at in (50.0, 90.0):
        message = DriftDetected(at=at)
        header = Header(boot=spool.boot, seq=spool.next_seq, mono_us=round(at * 1e6))
        spool.append(header.seq, topics.rank_of(message), "drift", codec.encode(message, header))
    assert spool.flush()
    metrics = SpoolGauge(spool, MessageClock(100.0, lambda: 0.0)).metrics()
    assert (metrics["spool_records"], metrics["spool_queued"], metrics["spool_produced"]) == (2, 0, 2)
    assert metrics["spool_oldest_s"] == 50.0
    assert metrics["spool_mb"] > 0
    spool.confirm(spool.boot, [(1, 2)])
    assert "spool_oldest_s" not in SpoolGauge(spool, MessageClock()).metrics()
    spool.close()
