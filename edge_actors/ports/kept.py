"""A small document of the state directory: written beside, synced and renamed, so that a power cut leaves the old one
or the new one."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import StateDirectoryError

log = logging.getLogger(__name__)


class Kept:
    """A JSON object in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        """What was written last; empty where nothing was, or where it is damaged and then put aside."""
        try:
            tree = json.loads(self.path.read_bytes())
            if not isinstance(tree, dict):
                raise ValueError("it is not an object")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.error("%s cannot be used and is put aside: %s", self.path.name, error)
            with suppress(OSError):  # a card that can only be read any more
                self.path.rename(self.path.with_suffix(".damaged"))
            return {}
        return tree

    def write(self, tree: dict[str, Any]) -> None:
        """Returns once it is on the disk. Raises StateDirectoryError."""
        part = self.path.with_suffix(".part")
        try:
            with part.open("w") as file:
                json.dump(tree, file, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self.path)
            sync(self.path.parent)
        except OSError as error:
            with suppress(OSError):  # the first error is the one to tell
                part.unlink(missing_ok=True)
            raise StateDirectoryError(self.path.parent, (error.strerror or str(error)).lower()) from None


def sync(directory: Path) -> None:
    """Makes sure that what was renamed in a directory stays so. Raises OSError."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
