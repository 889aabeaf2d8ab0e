"""Room on the disk that is kept for the moment when there is none left, so that forgetting never needs more disk."""

from __future__ import annotations

import os
from pathlib import Path


class Reserve:
    """A file of `size` bytes that holds nothing."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size

    def keep(self) -> bool:
        """Takes the room; False where the disk has not that much."""
        if self.path.exists() and self.path.stat().st_size == self.size:
            return True
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(handle, 0, self.size)
            finally:
                os.close(handle)
        except OSError:  # full, read-only or failing: the spool says which when it writes
            self.give_up()
            return False
        return True

    def give_up(self) -> bool:
        """Gives the room back; False where there was none."""
        try:
            self.path.unlink()
        except OSError:
            return False
        return True
