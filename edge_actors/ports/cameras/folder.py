"""A folder of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...errors import CameraError
from ...pictures import SUFFIXES
from .shot import Shot


class Folder:
    """All pictures under a folder, by name. Raises CameraError where there is none."""

    paced = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files()

    def _files(self) -> list[Path]:
        try:
            files = sorted(path for path in self.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        except OSError as error:
            raise CameraError(str(self.folder), (error.strerror or "it cannot be read").lower()) from None
        if not files:
            raise CameraError(str(self.folder), "there is no picture in it")
        return files

    def pictures(self) -> Iterator[Shot]:
        for path in self._files():
            try:
                data = path.read_bytes()
            except OSError:
                if not self.folder.is_dir():
                    raise CameraError(str(self.folder), "the folder is gone") from None
                data = b""  # no picture can be made of it, and it is counted as such
            yield Shot(data)
