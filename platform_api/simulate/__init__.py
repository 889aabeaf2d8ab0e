"""`tinyml simulate`: one process plays thousands of devices over real connections, and counts what becomes of it."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from broker import settings as settings_loader
from broker.process import BrokerProcess, shipped_limits

from ..demo.stack import Stack
from . import accounting
from .fleet import Fleet
from .limits import make_room
from .report import Report, broken, lines, report
from .settings import PREFIX, SimulateSettings
from .validator import Validator

ABOUT = """\
Plays many devices against a broker: each with its own connection, boot, spool and window, sending what real devices
send and keeping every record until it hears that it is stored. At the end it tells what was delivered, stored, lost
and stored twice, and how long that took. Ends by itself; Ctrl-C ends the making of records and still tells what
became of them, a second one ends it at once. Exit status 0: nothing lost, nothing twice; 1: otherwise.

  tinyml simulate --stack --devices 500 --rate 1000       everything it needs is started, and removed afterwards
  tinyml simulate --devices 2000 --rate 500 --storm 20 --broker mqtt://HOST --database URL --api http://HOST:8080

The devices are named sim-00000 and so on (--name); what they say is made up, so do this on an installation for tests.
"""


def main(argv: Sequence[str]) -> int:
    settings = settings_loader.load(SimulateSettings, argv, prog="tinyml simulate", about=ABOUT, prefix=PREFIX)
    make_room(settings.devices)
    with _interruptible(), _surroundings(settings) as placed:
        try:
            told = asyncio.run(play(placed))
        except asyncio.CancelledError:
            return 128 + signal.SIGINT
        finally:
            _sigterm_is_ctrl_c()  # the event loop has put it back to what it does by default
    if settings.json is not None:
        settings.json.write_text(json.dumps(told, indent=2) + "\n")
    print("\n".join(lines(told)), flush=True)
    for sentence in broken(told):
        print(f"BROKEN: {sentence}", flush=True)
    return int(bool(broken(told)))


async def play(settings: SimulateSettings) -> Report:
    """One run. Raises SimulateError where it cannot even begin."""
    fleet = Fleet(settings)
    validator = Validator(fleet, settings.api, settings.token, settings.labels) if _labels(settings) else None
    if validator is not None:
        await validator.check()
    began, cpu_began = time.monotonic(), time.process_time()
    _listen_for_signals(fleet)
    beside = [asyncio.create_task(_progress(fleet))]
    if validator is not None:
        beside.append(asyncio.create_task(validator.run()))
    try:
        await fleet.run()
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
    seconds, cpu_s = time.monotonic() - began, time.process_time() - cpu_began
    counted = (
        await asyncio.to_thread(accounting.count, settings.database, fleet.devices) if settings.database else None
    )
    return report(fleet, seconds, cpu_s, counted, validator.failed if validator else 0)


def _listen_for_signals(fleet: Fleet) -> None:
    """The first Ctrl-C (or SIGTERM) ends the making of records, the second one ends everything at once."""
    loop, run = asyncio.get_running_loop(), asyncio.current_task()
    assert run is not None

    def told() -> None:
        if fleet.phase == "making":
            print("no more records; once more ends it at once", file=sys.stderr, flush=True)
            fleet.finish()
        else:
            run.cancel()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, told)


def _labels(settings: SimulateSettings) -> bool:
    return bool(settings.api and settings.labels)


async def _progress(fleet: Fleet) -> None:
    tally, every_s, made = fleet.tally, fleet.settings.progress, 0
    while every_s:
        await asyncio.sleep(every_s)
        rate, made = (tally.made - made) / every_s, tally.made
        print(
            f"{time.monotonic() - fleet.began:6.0f} s  {fleet.phase:10}  {tally.connected:,} connected  "
            f"{tally.made:,} made ({rate:,.0f}/s)  {tally.stored:,} stored  {tally.waiting:,} waiting",
            file=sys.stderr,
            flush=True,
        )


@contextmanager
def _surroundings(settings: SimulateSettings) -> Iterator[SimulateSettings]:
    """The settings with broker, database and API in them: those that were named, or our own for this run."""
    if not settings.stack:
        yield settings
        return
    directory = settings.keep or Path(tempfile.mkdtemp(prefix="tinyml-simulate-"))
    try:
        stack = Stack(directory)
        # Devices speak MQTT 5 here, which the embedded broker does not.
        stack.broker = BrokerProcess(directory / "broker", kind="mosquitto", more=shipped_limits())
        try:
            stack.start()
            print(f"broker {stack.broker.url}   API {stack.api_url}   database {stack.database.url}", file=sys.stderr)
            broker, database, api = stack.broker.url, stack.database.url, stack.api_url
            yield replace(settings, stack=False, broker=broker, database=database, api=api)
        finally:
            with _undisturbed():
                stack.stop() if settings.keep else stack.remove()
    finally:
        if not settings.keep:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does, so that nothing it started is left behind."""
    before = _sigterm_is_ctrl_c()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Whoever is impatient now would leave processes behind; what is done here takes seconds at most."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sigterm_is_ctrl_c() -> Any:
    return signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
