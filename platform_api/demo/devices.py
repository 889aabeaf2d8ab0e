"""A device of the demo: its own process and bundle, and the camera in front of which the world happens."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from broker import codec
from broker.messages import Frame

from .process import Process, tinyml
from .report import Ledger, number_of
from .view import Seen
from .world import World


class DemoDevice:
    """Runs `tinyml edge run` and feeds it frames through its standard input, noting what they truly show."""

    def __init__(self, world: World, bundle: Path, state: Path, broker: str, fps: float, log: Path) -> None:
        self.world, self.bundle, self.fps = world, bundle, fps
        self.ledger = Ledger(world.role)
        self.seen = Seen(world.role.device, world.role.story)
        self.produced: dict[str, int] = {}
        self.uplink_bytes = 0
        self.frames_in_outage = 0  # handled while the broker was away
        self.process = Process(
            world.role.device,
            tinyml(
                *("edge", "run", "--bundle", str(bundle), "--device", world.role.device, "--broker", broker),
                *("--state-dir", str(state), "--camera", "-", "--predictions", "each", "--status", "json"),
                *("--report-s", "2", "--reading-s", "1", "--reconnect-s", "5"),
                *("--pace", "newest", "--clock", "synced", "--threads", "1"),
            ),
            log,
        )
        self.process.on_line = self._heard
        self._feeder = threading.Thread(target=self._feed, name=f"camera of {world.role.device}", daemon=True)
        self._stop = threading.Event()
        self._began = 0.0
        self._episodes: set[str] = set()

    def start(self) -> None:
        self.process.start()
        self.process.wait_for(" runs: ")

    def open_eyes(self, began: float) -> None:
        """Starts the camera; `began` is when the day did, by time.monotonic()."""
        self._began = began
        self._feeder.start()

    def close_eyes(self) -> None:
        """Stops the camera; the device stays."""
        self._stop.set()
        if self._feeder.is_alive():
            self._feeder.join(5.0)

    def stop(self) -> int | None:
        self.close_eyes()
        return self.process.stop()

    def _feed(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            at = time.monotonic() - self._began
            pixels, label = self.world.frame(at)
            height, width, channels = pixels.shape
            frame = Frame(pixels=pixels.tobytes(), height=height, width=width, channels=channels)
            self.ledger.shown_at.append(at)
            self.ledger.truth.append(label)
            try:
                self.process.stdin.write(codec.encode(frame))
                self.process.stdin.flush()
            except BrokenPipeError:  # the device has ended; its exit status says why
                return
            due = max(due + 1 / self.fps, time.monotonic() - 1.0)

    def _heard(self, line: str) -> None:
        """A status line of the device, once a second."""
        if not line.startswith("{"):
            return
        status = json.loads(line)
        self.seen.fps, self.seen.frames = status["fps"], status["frames"]
        self.seen.state = ", ".join(status["faults"]) or "well"
        self.seen.drift = self._drift(status["drift"])
        self.seen.spool, self.seen.link = status["spool"], status["link"]
        self.produced = status["produced"]
        self.uplink_bytes = status["uplink_bytes"]

    def _drift(self, episode: str) -> str:
        if episode:
            self._episodes.add(episode)
            return f"since frame {number_of(episode)}"
        return f"{len(self._episodes)} over" if self._episodes else "-"
