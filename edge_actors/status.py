"""How a running device does, in a line: for a person, or as JSON for a program that watches it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from .process import EdgeProcess

TEXT_EVERY_S, JSON_EVERY_S = 5.0, 1.0


class StatusLine:
    """Prints a line every so often; call it as often as you like."""

    def __init__(self, process: EdgeProcess, form: str) -> None:
        self.process = process
        self._line: Callable[[], str] = self.json if form == "json" else self.text
        self._every_s = JSON_EVERY_S if form == "json" else TEXT_EVERY_S
        self._printed = time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._printed >= self._every_s:
            self._printed = time.monotonic()
            print(self._line(), flush=True)

    def text(self) -> str:
        process, metrics = self.process, self.process.probe.latest.metrics
        parts = [
            f"{process.clock.now():.0f} s",
            f"{process.camera.frames} frames",
            f"{metrics.get('fps', 0.0):.1f}/s",
            f"{metrics.get('frame_p95_us', 0.0) / 1000:.1f} ms",
            f"drift since {process.episode}" if process.episode else "no drift",
            f"{process.spool.stats().records} records wait",
            "no link" if process.bridge is None else process.bridge.connection.state.reason or "link up",
            ", ".join(sorted(process.faults())) or "no faults",
        ]
        return " | ".join(parts)

    def json(self) -> str:
        """Keys: frames, fps, drift (the episode, or empty), spool, produced, link, uplink_bytes, faults."""
        process = self.process
        stats, bridge = process.spool.stats(), process.bridge
        counts = {} if bridge is None else bridge.metrics()
        status = {
            "frames": process.camera.frames,
            "fps": round(process.probe.latest.metrics.get("fps", 0.0), 1),
            "drift": process.episode,
            "spool": stats.records,
            "produced": stats.produced,
            "link": "up" if counts.get("link_up_s") else "down",
            "uplink_bytes": round(sum(n for name, n in counts.items() if name.endswith("_bytes"))),
            "faults": sorted(process.faults()),
        }
        return json.dumps(status)
