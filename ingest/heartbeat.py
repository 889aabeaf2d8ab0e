"""A file that says that a process's loop still turns: its time is when that was the case last."""

from __future__ import annotations

import time
from pathlib import Path

EVERY_S = 1.0


class Heartbeat:
    """Touches a file at most once a second; without a path it does nothing. Raises OSError where it cannot."""

    def __init__(self, path: str) -> None:
        self.path = Path(path) if path else None
        self._next = 0.0

    def beat(self) -> None:
        """The loop turns."""
        if self.path is not None and (now := time.monotonic()) >= self._next:
            self._next = now + EVERY_S
            self.path.touch()

    def stop(self) -> None:
        """The loop ended, as it should."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def age_s(path: Path) -> float | None:
    """Seconds since the last beat; None where there was none."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        return None
