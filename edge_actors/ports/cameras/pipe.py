"""Reads from a descriptor without ever waiting for longer than a device that stops may take."""

from __future__ import annotations

import io
import os
import select
import threading
import time
from typing import BinaryIO

from .shot import POLL_S


class SilentError(Exception):
    """Nothing came for too long."""


class Pipe(io.RawIOBase, BinaryIO):
    """What a descriptor has now; ends when the device stops. Raises SilentError after `silence_s` without a byte."""

    def __init__(self, descriptor: int, stopping: threading.Event, silence_s: float = float("inf")) -> None:
        super().__init__()
        self._descriptor, self._stopping, self._silence_s = descriptor, stopping, silence_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        began = time.monotonic()
        while not self._stopping.is_set():
            if select.select([self._descriptor], [], [], POLL_S)[0]:
                return os.readv(self._descriptor, [buffer])
            if time.monotonic() - began > self._silence_s:
                raise SilentError
        return 0
