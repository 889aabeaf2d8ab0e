"""`tinyml demo`: the whole loop on this machine, on real pictures, with everything that can be killed killed once."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from broker import settings as settings_loader

from . import album as albums
from .devices import DemoDevice
from .report import promises, registry_promise
from .script import Script
from .settings import PREFIX, DemoSettings
from .stack import Stack
from .view import View
from .world import ROLES, Day, Role, World, length, pace

ABOUT = """\
Three devices, a broker, a database, an ingest worker, the API and a validator on this machine, on loopback and free
ports, play a day in two minutes: an unseen class appears before one device, the lens of another goes out of focus,
the broker is away for 20 seconds, a person labels samples. At the end a table says what became of every promise.
Exit status 0: all were kept; 1: one was not.
"""


def main(argv: Sequence[str]) -> int:
    settings = settings_loader.load(DemoSettings, argv, prog="tinyml demo", about=ABOUT, prefix=PREFIX)
    with ExitStack() as cleanup, View(plain=settings.plain) as view:
        directory = settings.keep or Path(tempfile.mkdtemp(prefix="tinyml-demo-"))
        if not settings.keep:
            cleanup.callback(shutil.rmtree, directory, ignore_errors=True)
        with _interruptible():
            try:
                return _run(settings, directory, view, cleanup)
            except KeyboardInterrupt:
                view.say("stopping everything the demo started")
                return 128 + signal.SIGINT


def _run(settings: DemoSettings, directory: Path, view: View, cleanup: ExitStack) -> int:
    album = _album(settings)
    unseen = album.unseen(settings.unseen)
    view.say(f"pictures: {album.name}, {len(album.pictures)} of {len(album.classes)} classes; unseen: {unseen!r}")
    stack = Stack(directory, broker=settings.broker)
    cleanup.callback(stack.stop if settings.keep else stack.remove)
    stack.start()
    view.say(f"broker ({stack.broker.kind}) {stack.broker.url}   API {stack.api_url}/docs   files {directory}")
    fps = settings.fps or pace(album.call_s())
    day = Day(settings.seconds or length(fps))
    view.say(f"{fps:.0f} pictures a second and camera; the day takes {day.seconds:.0f} seconds")
    devices = _devices(settings, album, unseen, day, fps, stack, view)
    for device in devices:
        cleanup.callback(device.stop)
    for device in devices:
        device.start()
    script = Script(stack, devices, day, unseen, view)
    cleanup.callback(script.close)
    with ThreadPoolExecutor(1) as pool:  # the day does not wait for MLflow
        registration = pool.submit(stack.register, [device.bundle for device in devices])
        outcomes = script.play()
        registration.result()
    kept = [*promises(outcomes), registry_promise(stack.registered(), outcomes)]
    view.result(outcomes, kept)
    if not settings.once:
        _stay(stack, view)
    return 0 if all(promise.kept for promise in kept) else 1


def _album(settings: DemoSettings) -> albums.Album:
    if settings.images is None or settings.model is None:
        return albums.digits()
    return albums.folder(settings.images, settings.model)


def _devices(
    settings: DemoSettings, album: albums.Album, unseen: str, day: Day, fps: float, stack: Stack, view: View
) -> list[DemoDevice]:
    """The devices, each with a bundle of its own, which all are built at the same time."""
    known = [label for label in album.classes if label != unseen]

    def make(index: int, role: Role) -> DemoDevice:
        seed = settings.seed * 1000 + index
        bundle = stack.directory / f"{role.device}.bundle"
        album.bundle(known, bundle, seed)
        view.say(f"bundle of {role.device} ({role.story}) is built")
        world = World(album, role, day, unseen, settings.degrade, seed)
        state = stack.directory / "devices" / role.device
        return DemoDevice(world, bundle, state, stack.broker.url, fps, stack.log(role.device))

    view.say(f"building the bundles of {len(ROLES)} devices")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(make, range(len(ROLES)), ROLES))


def _stay(stack: Stack, view: View) -> None:
    host, port = stack.broker.bind, stack.broker.port
    view.say("")
    view.say("Everything stays up; Ctrl-C ends it.")
    view.say(f"  API        {stack.api_url}/docs")
    view.say(f"  database   psql '{stack.database.url}'")
    view.say(f"  watch      mosquitto_sub -h {host} -p {port} -t 'tinyml/#' -F '%t %x' | ./tinyml decode")
    view.say(f"  logs       {stack.directory}/logs")
    while True:
        time.sleep(1.0)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, so that nothing it started is left behind."""
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
