"""One device process per state directory, held by a lock that the kernel releases whatever happens."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ..errors import StateDirectoryBusyError, StateDirectoryError


class StateDirectory:
    """Makes the directory where needed and holds it until `release`. Raises StateDirectoryError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            # The directory itself is locked: that needs no room on a disk that is full.
            self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StateDirectoryError(path, (error.strerror or str(error)).lower()) from None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._handle)
            raise StateDirectoryBusyError(path) from None

    def release(self) -> None:
        os.close(self._handle)
