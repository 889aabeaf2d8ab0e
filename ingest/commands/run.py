"""`tinyml ingest run`: a worker until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import gc
import signal
import sys

from broker.connection import Options

from ..filing import Filing
from ..heartbeat import Heartbeat
from ..settings import IngestSettings
from ..stores.events import PostgresEvents
from ..stores.objects import open_objects
from ..worker import Limits, Worker, client_id
from .migrate import bring_up_to_date

SWITCH_S = 0.0005  # a thread that hears from the database waits no longer for the one that reads messages
RECONNECT_S = 5.0  # longest pause: workers are few, and a whole fleet waits for them


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Nothing but the settings."""


def run(chosen: IngestSettings, _arguments: argparse.Namespace) -> int:
    """Works until it is stopped; returns the exit status."""
    address = chosen.broker_address()
    objects = open_objects(chosen.objects)
    bring_up_to_date(chosen)
    events = PostgresEvents(chosen.database)
    options = Options(
        address=address,
        client_id=client_id(),
        receive_maximum=chosen.receive_maximum,
        max_inflight=1000,
        backoff_cap_s=RECONNECT_S,
    )
    # Whatever the broker may have in flight to us has room.
    limits = Limits(batch=chosen.batch, room=2 * chosen.receive_maximum)
    filing = Filing(events, objects, patience_s=chosen.objects_patience_s)
    heartbeat = Heartbeat(chosen.heartbeat)
    worker = Worker(filing, options, root=chosen.root, limits=limits, heartbeat=heartbeat)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: worker.stop())
    spare_the_collector()
    sys.setswitchinterval(SWITCH_S)
    try:
        return worker.run()
    finally:
        events.close()


def spare_the_collector() -> None:
    """Has the garbage collector look rarely: thousands of messages under way are no garbage, and make no cycles."""
    gc.collect()
    gc.freeze()  # what is there now stays until the end
    gc.set_threshold(200_000, 20, 20)
