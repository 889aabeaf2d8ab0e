"""A device as a process: its loop, the rim's threads around it, and how they start and stop."""

from __future__ import annotations

import gc
import logging
import platform
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from broker import __version__
from broker.errors import TinymlError
from broker.journal import Journal
from broker.messages import Birth
from broker.mqtt import Options
from broker.topics import Rank

from . import pictures, wiring
from .bundle import Bundle
from .camera import Camera, Shape
from .clock import MessageClock, Ticker, clock_quality
from .disk_writes import DiskWrites
from .errors import BundleError, RestoreError, StateDirectoryError
from .in_flight import InFlight
from .machine import MB, Machine
from .mqtt_bridge import MqttBridge
from .ports.camera import Source, open_source
from .ports.kept_snapshots import ROLLBACK
from .ports.outbox import Outbox
from .ports.snapshots import SnapshotStore
from .ports.spool import Spool
from .ports.state_directory import StateDirectory
from .remote.managed import Managed, bundle_given_up
from .runtime.device import Device, Identity
from .runtime.door import Doors
from .runtime.recording import Outputs, Recording
from .settings import EdgeSettings
from .systemd import notify, watchdog_s
from .vitals import LoopGauge, SpoolGauge, VitalsProbe

log = logging.getLogger(__name__)

SESSION_EXPIRY_S = 24 * 3600  # how long the broker keeps what comes down for a device that is away
LAST_WORK_S = 10.0  # how long the loop may take for what it has begun
LOOK_S = 0.25


class Nowhere:
    """The outbox of a device without a link: numbers what it is given, and lets go of it."""

    def __init__(self, boot: str) -> None:
        self.boot, self.next_seq = boot, 1

    def append(self, seq: int, rank: Rank, path: str, record: bytes) -> None:
        self.next_seq = seq + 1


def start(setup: EdgeSettings) -> EdgeProcess:
    """A device as people want it, or as it was set up where it cannot start like that. Raises TinymlError."""
    try:
        return EdgeProcess(setup)
    except StateDirectoryError:
        raise
    except TinymlError as error:
        if setup.mode != "managed":
            raise
        why = error
    log.error("the device does not start as it is wanted: %s", why)
    if isinstance(why, BundleError) and bundle_given_up(setup, str(why)):
        return start(setup)
    process = EdgeProcess(setup, as_set_up=True)
    if process.managed is not None:
        process.managed.config.refuse(str(why))
    return process


class EdgeProcess:
    """Everything a device is made of. Raises TinymlError when it cannot be put together."""

    def __init__(self, setup: EdgeSettings, *, as_set_up: bool = False) -> None:
        self.reason = ""  # why it stops
        self.again = False  # whether it wants to be made anew then
        self.crash: BaseException | None = None  # what a thread failed with
        self.left = 0  # records that waited in the spool at the end
        self._stop_wanted, self._camera_stops = threading.Event(), threading.Event()
        self._faults: set[str] = set()
        with ExitStack() as undo:
            self.state = StateDirectory(setup.directory())
            undo.callback(self.state.release)
            self.managed = Managed(self, setup, as_set_up=as_set_up) if setup.mode == "managed" else None
            self.settings = settings = setup if self.managed is None else self.managed.config.settings
            path = settings.bundle if self.managed is None else self.managed.models.path
            self.bundle = Bundle.load(path, settings.threads)
            source = open_source(settings.camera, settings.fps, self._camera_stops)
            self.spool = Spool(self.state.path, settings.spool_mb << 20)
            undo.callback(self.spool.close)
            self.doors = Doors(wiring.DOORS)
            self.snapshots = SnapshotStore(self.state.path / "snapshots", self.doors.post)
            undo.callback(self.snapshots.close)
            self.outputs = Outputs(self._outbox())
            self.actors = wiring.build(settings, self.bundle, self.outputs)
            self.recording = self._recording()
            self.device = self._device()
            self.clock = MessageClock(self._resume())
            self.ticker = Ticker(self.doors, self.clock, clock_quality(settings.clock))
            self.camera = self._camera(source)
            self.bridge = None if settings.mode == "autonomous" else self._bridge()
            self.machine = Machine(self.state.path)
            self.writes = self._writes()
            self.probe = self._probe()
            undo.pop_all()
        self._loop = threading.Thread(target=self.device.run, name="device", daemon=True)

    def run(self, watch: Callable[[], object] = lambda: None) -> None:
        """Runs the device until somebody wants it to stop; `watch` is called a few times a second meanwhile.

        Raises what made the loop or a thread of the rim fail, after everything was put in order.
        """
        before, threading.excepthook = threading.excepthook, self._failed
        try:
            self._start()
            watchdog = Watchdog(self.device)
            while not self._stop_wanted.wait(LOOK_S):
                watchdog.feed()
                watch()
            self._stop()
        finally:
            threading.excepthook = before
        if self.crash is not None:
            raise self.crash

    def stop(self, reason: str) -> None:
        """Makes `run` end; for any thread, but not for a signal handler, whose own thread may hold the lock."""
        self.reason = self.reason or reason
        self._stop_wanted.set()

    def restart(self, reason: str) -> None:
        """Makes `run` end, and whoever runs the device make it anew."""
        self.again = True
        self.stop(reason)

    @property
    def episode(self) -> str:
        """The id of the drift episode that is going on; empty outside."""
        monitor: Any = self.device.actor("drift_monitor")
        return str(monitor.episode)

    def faults(self) -> frozenset[str]:
        """Everything that is wrong with the device now, by name."""
        parts = [
            self.spool.faults,
            self.snapshots.faults,
            self.camera.faults,
            self.machine.faults,
            self.writes.faults,
        ]
        parts += [self.recording.faults] if self.recording else []
        parts += [self.bridge.faults] if self.bridge else []
        guard: Any = self.device.actor("camera_guard")
        quarantine: Any = self.device.actor("quarantine")
        parts += [guard.faults, quarantine.showing.faults]
        unsynced = {"clock_unsynced"} if self.ticker.quality() != "synced" else set()
        return frozenset(self._faults.union(unsynced, *(part() for part in parts)))

    # ---- starting and stopping ---------------------------------------------------------------------------------

    def _start(self) -> None:
        self.ticker.start()  # first, so that everything that follows has a wall time
        self._loop.start()
        if self.bridge is not None:
            self.bridge.start()
        if self.managed is not None:
            self.managed.start()
        self.probe.start()
        self.camera.start()
        gc.collect()
        gc.freeze()  # what is there now stays; the collector need not look at it again and again
        notify("READY=1")

    def _stop(self) -> None:
        notify("WATCHDOG=1" if self.again else "STOPPING=1")
        if self.managed is not None:
            self.managed.stop()
        if self.crash is not None:
            self.doors.close()  # nobody takes anything any more
        self.camera.stop()
        self.probe.stop()
        self.ticker.stop()
        self.device.stop()
        self._loop.join(LAST_WORK_S)
        if not self.snapshots.close():
            log.error("the last snapshot is not on the disk")
        self.spool.flush()
        if self.bridge is not None:
            if self.crash is None:
                self.bridge.drain(self.settings.drain_s)
            self.bridge.stop(self.reason)
        self.left = self.spool.stats().records
        if lost := self.spool.close():
            log.error("the disk did not take the last %d records", lost)
        self.state.release()

    def _failed(self, arguments: threading.ExceptHookArgs) -> None:
        self.crash = self.crash or arguments.exc_value
        self.stop(f"{arguments.thread.name if arguments.thread else 'a thread'} failed: {arguments.exc_value}")

    # ---- the parts ---------------------------------------------------------------------------------------------

    def _recording(self) -> Recording | None:
        directory = self.settings.journal_directory()
        if directory is None:
            return None
        return Recording(Journal(directory, self.settings.journal_mb << 20), self.outputs)

    def _outbox(self) -> Outbox:
        if self.settings.mode == "autonomous":
            return Nowhere(self.spool.boot)
        return self.spool if self.managed is None else self.managed.overhears(self.spool)

    def _device(self) -> Device:
        settings = self.settings
        identity = Identity(
            device=settings.device, boot=self.spool.boot, bundle=self.bundle.digest, settings=settings.as_text()
        )
        return Device(
            self.actors,
            self.doors,
            wiring.ROUTES,
            snapshots=self.snapshots,
            identity=identity,
            recording=self.recording,
        )

    def _resume(self) -> float:
        """Goes on from the newest snapshot; returns the message time to go on from."""
        snapshot = self.snapshots.latest()
        if self.managed is not None:
            snapshot = self.managed.models.state_for(self.bundle, snapshot)
        if snapshot is None:
            return 0.0
        try:
            self.device.start_from(snapshot)
        except RestoreError as error:
            log.error("%s; the device starts with what its bundle knows", error)
            self._faults.add("snapshot_refused")
            self.device = self._device()  # some actors may have gone back, others not
            self.device.resume(at=snapshot.at, applied=snapshot.applied, states={})
        if snapshot.reason.startswith(ROLLBACK):
            self._faults.add("rolled_back")  # for this boot: what the server counts as applied may be gone
        return snapshot.at

    def _camera(self, source: Source) -> Camera:
        shape = Shape(*self.bundle.input_shape) if self.bundle.interpreter else None
        return Camera(
            source,
            self._pixels,
            shape,
            doors=self.doors,
            clock=self.clock,
            boot=self.spool.boot,
            stopping=self._camera_stops,
            fps=self.settings.fps,
            every=self.settings.every_frame,
            once=self.settings.once,
            ended=lambda: self.stop("the source is at its end"),
            stale_s=self.settings.camera_stale_s,
        )

    def _pixels(self, picture: bytes | pictures.Raw) -> bytes:
        return pictures.shown(picture, *self.bundle.input_shape).tobytes()

    def _bridge(self) -> MqttBridge:
        settings = self.settings
        return MqttBridge(
            Options(
                address=settings.address(),
                client_id=settings.device,
                protocol=settings.protocol,
                session_expiry_s=SESSION_EXPIRY_S,
                backoff_cap_s=settings.reconnect_s,
            ),
            device=settings.device,
            birth=self.birth(),
            spool=self.spool,
            doors=self.doors,
            tick=self.ticker.tick,
            mode=settings.mode,
            wanted=self.managed.take if self.managed else _nobody,
            bulk=self.managed.blobs if self.managed else None,
            root=settings.root,
            in_flight=InFlight(settings.in_flight, settings.in_flight_kb << 10, settings.confirm_timeout_s),
            budget=settings.link_budget(),
        )

    def birth(self) -> Birth:
        """Who this device is."""
        settings = self.settings
        monitor: Any = self.device.actor("drift_monitor")
        return Birth(
            versions={
                "tinymlops": __version__,
                "python": platform.python_version(),
                "interpreter": self.bundle.runs_on,
            },
            actors=tuple(self.actors),
            detectors=tuple(one.name for one in monitor.detectors),
            bundle=self.bundle.digest,
            config=self.managed.config.revision if self.managed else 0,
            mode=settings.mode,
            privacy=settings.privacy,
            report_s=settings.report_s,
            location=settings.told_location,
            location_source="settings" if settings.location else "",
        )

    def _sizes(self) -> dict[str, float]:
        model = self.bundle.contents.model
        return {
            "model_mb": len(model) / MB if model else 0.0,
            "bundle_mb": self.settings.bundle.stat().st_size / MB,
            "process_starts": float(self.spool.boot.rpartition("-")[2]),
        }

    def _writes(self) -> DiskWrites:
        spool, snapshots, recording = self.spool, self.snapshots, self.recording
        counts = {"spool": lambda: spool.written_bytes, "snapshots": lambda: snapshots.written_bytes}
        if recording is not None:
            counts["journal"] = lambda: recording.written_bytes
        return DiskWrites(counts, self.settings.write_mb_per_day, spare=self._spare)

    def _spare(self, sparing: bool) -> None:
        self.spool.spare(sparing)
        if self.recording is not None:
            self.recording.sparing = sparing

    def _probe(self) -> VitalsProbe:
        gauges = [
            self.machine.metrics,
            self.writes.metrics,
            LoopGauge(self.device, self.doors, self.camera, self._sizes()).metrics,
            SpoolGauge(self.spool, self.clock).metrics,
            self.camera.metrics,
        ]
        if self.bridge is not None:
            gauges.append(self.bridge.metrics)
        tell = self.bridge.tell_faults if self.bridge else _nobody
        return VitalsProbe(self.doors, self.clock, gauges, self.faults, tell=tell, interval_s=self.settings.reading_s)


class Watchdog:
    """Feeds systemd's watchdog as long as the loop takes messages, of which the clock brings one a second."""

    def __init__(self, device: Device) -> None:
        self.device, self.every_s = device, watchdog_s()
        self._fed, self._applied = 0.0, -1

    def feed(self) -> None:
        if self.every_s is not None and self.device.applied != self._applied:
            now = time.monotonic()
            if now - self._fed >= self.every_s / 2:
                self._fed, self._applied = now, self.device.applied
                notify("WATCHDOG=1")


def _nobody(_news: object) -> None:
    """Without a link nobody is told."""
