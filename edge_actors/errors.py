"""Errors of the device: one sentence each, the facts as attributes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from broker.errors import TinymlError
from broker.messages import Message


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


class RecordTooLargeError(EdgeError):
    """A message is larger than anybody would take it."""

    def __init__(self, kind: str, size: int, limit: int) -> None:
        super().__init__(f"a {kind} of {size} bytes is larger than the {limit} that may leave a device")
        self.kind, self.size, self.limit = kind, size, limit


class CameraError(EdgeError):
    """A picture source cannot be opened or has failed."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"the camera source {source} cannot be used: {reason}")
        self.source, self.reason = source, reason


class PictureError(EdgeError):
    """Bytes of which no picture can be made."""


class CommandError(EdgeError):
    """A command from afar cannot be carried out."""


class DownloadError(EdgeError):
    """A file cannot be fetched, or is not what it should be."""

    def __init__(self, reason: str, *, final: bool) -> None:
        super().__init__(reason)
        self.final = final  # whether trying again is of no use


class ShadowError(EdgeError):
    """A bundle cannot be run beside the present one."""


# ---- the runtime -----------------------------------------------------------------------------------------------


class WiringError(EdgeError):
    """Doors, routes and the actors' mail do not fit together."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("the wiring does not hold: " + "; ".join(problems))
        self.problems = tuple(problems)


class UndeclaredMessageError(EdgeError):
    """An actor yielded a message that its Outbox does not name."""

    def __init__(self, actor: str, kind: str) -> None:
        super().__init__(f"{actor} yielded {kind}, which its Outbox does not name")
        self.actor, self.kind = actor, kind


class StateTreeError(EdgeError):
    """An actor's state holds something that a snapshot cannot carry."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"the state cannot be saved: {where or 'it'} {reason}")
        self.where, self.reason = where, reason


class RestoreError(EdgeError):
    """An actor cannot go back to a state that it gave before."""

    def __init__(self, actor: str, reason: str) -> None:
        super().__init__(f"the actor {actor} cannot go back to its last good state: {reason}")
        self.actor, self.reason = actor, reason


class RestartBudgetSpentError(EdgeError):
    """Actors failed too often; the process leaves, to be started again from the last snapshot on disk."""

    def __init__(self, actor: str, restarts: int, within_s: float, reason: str, reports: Sequence[Message]) -> None:
        super().__init__(
            f"the actor {actor} failed when {restarts} restarts in {within_s:g} s were already used up: {reason}"
        )
        self.actor, self.restarts, self.within_s, self.reason = actor, restarts, within_s, reason
        self.reports = tuple(reports)  # what could not be sent on the ordinary way any more


class RunawayError(EdgeError):
    """One admitted message led to more messages than a device ever needs; somebody answers himself."""

    def __init__(self, kind: str, messages: int) -> None:
        super().__init__(f"one {kind} led to more than {messages} messages; two actors seem to answer each other")
        self.kind, self.messages = kind, messages


class SnapshotDamagedError(EdgeError):
    """A snapshot's file does not hold what was written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the snapshot {path.name} is damaged: {reason}")
        self.path, self.reason = path, reason


class SnapshotTooNewError(EdgeError):
    """A newer version of the device wrote this snapshot."""

    def __init__(self, path: Path, found: int, known: int) -> None:
        super().__init__(f"the snapshot {path.name} has format {found}, this version knows formats up to {known}")
        self.path, self.found, self.known = path, found, known


class RollbackError(EdgeError):
    """The device cannot go back to this snapshot."""

    def __init__(self, snapshot: str, reason: str) -> None:
        super().__init__(f"the device cannot go back to {snapshot}: {reason}")
        self.snapshot, self.reason = snapshot, reason


class ExportError(EdgeError):
    """What waits in the spool cannot be exported."""


class ReplayError(EdgeError):
    """A journal cannot be played with what is at hand."""


# ---- the learning half -----------------------------------------------------------------------------------------


class ModelError(EdgeError):
    """A model cannot be the feature extractor of a device."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the model cannot be used: {reason}")
        self.reason = reason


class FrameSizeError(EdgeError):
    """A frame has another size than the pictures that the model takes."""

    def __init__(self, frame: tuple[int, int, int], pixels: int, model: tuple[int, int, int]) -> None:
        super().__init__(
            f"the frame is {' x '.join(map(str, frame))} (height x width x channels) in {pixels} bytes,"
            f" the model takes {' x '.join(map(str, model))}"
        )
        self.frame, self.pixels, self.model = frame, pixels, model


class NoExtractorError(EdgeError):
    """The bundle was built of features, so the device has nothing that turns a picture into features."""

    def __init__(self) -> None:
        super().__init__("the bundle has no feature extractor: it takes features, as `tinyml evaluate` plays them")


class EmbeddingError(EdgeError):
    """Features that came in the place of a picture do not fit the bundle."""


class BundleError(EdgeError):
    """A bundle is damaged or does not fit; a device refuses it rather than run something else."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"the bundle {where} is refused: {reason}")
        self.where, self.reason = where, reason


class FeaturesError(EdgeError):
    """A file of features does not hold what it should."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the features {path} cannot be used: {reason}")
        self.path, self.reason = path, reason


class EvaluationError(EdgeError):
    """A recorded stream cannot be played through this bundle, or what it gave cannot be written."""


class BundleBuildError(EdgeError):
    """No bundle can be made of these pictures, this model and these options."""


class OtherBundleError(EdgeError):
    """A state belongs to another bundle."""

    def __init__(self, found: str, running: str) -> None:
        super().__init__(f"the state was made with the bundle {found[:12]}, the device runs {running[:12]}")
        self.found, self.running = found, running
