"""Errors of the device: one sentence each, the facts as attributes."""

from __future__ import annotations

from pathlib import Path

from broker.errors import TinymlError


class EdgeError(TinymlError):
    """Something on the device that a person can act on."""


# ---- the rim ---------------------------------------------------------------------------------------------------


class StateDirectoryError(EdgeError):
    """The state directory cannot be used."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the state directory {path} cannot be used: {reason}")
        self.path, self.reason = path, reason


class StateDirectoryBusyError(StateDirectoryError):
    """Another process runs a device on this state directory."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "another device process is running on it")


class SpoolDamagedError(EdgeError):
    """The spool's file does not hold what was written."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the spool is damaged: {reason}")
        self.reason = reason


class SpoolTooNewError(EdgeError):
    """A newer version of the device wrote this spool."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(f"the spool has format {found}, this version knows formats up to {known}: update the device")
        self.found, self.known = found, known


class CameraError(EdgeError):
    """A picture source cannot be opened or has failed."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"the camera source {source} cannot be used: {reason}")
        self.source, self.reason = source, reason
