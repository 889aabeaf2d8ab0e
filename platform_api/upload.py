"""A request's body as a file that grows while it is read, named by its content in the end."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from .errors import NoRoomError

SUFFIX, PART = ".package", ".part"


class Upload:
    """A file that grows while a request is read. Raises NoRoomError where the disk refuses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._token = secrets.token_hex(8)
        self._digest = hashlib.sha256()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path = folder / f"{self._token}{PART}"
            self._file: BinaryIO = self._path.open("xb")
        except OSError as error:
            raise NoRoomError(error.strerror or "") from error

    def write(self, data: bytes) -> None:
        """Adds what has arrived."""
        try:
            self._file.write(data)
        except OSError as error:
            raise NoRoomError(error.strerror or "") from error
        self._digest.update(data)

    def keep(self) -> tuple[str, Path]:
        """Its sha256, and where it lies from now on."""
        package = self._digest.hexdigest()
        kept = self._path.with_name(f"{package}-{self._token}{SUFFIX}")
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._path.replace(kept)
        except OSError as error:
            raise NoRoomError(error.strerror or "") from error
        return package, kept

    def drop(self) -> None:
        """Gives up what was not kept."""
        with suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)
