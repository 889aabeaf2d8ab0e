"""What a device runs. Loading one checks all of it; nothing is padded, cut or replaced."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..algorithms.neighbours import Memory
from ..algorithms.roster import Roster
from ..errors import BundleError, ModelError, NoExtractorError
from ..ports.interpreter import Interpreter
from . import archive
from .parts import Contents, decoded, encoded

NO_RUNTIME = "none"  # the runtime of a bundle without a model
ENOUGH_CALIBRATION = 200  # frames; with fewer the thresholds of drift detection are uncertain


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked bundle with its model loaded, where it has one: else it takes features in the place of pictures."""

    digest: str  # sha256 of the manifest, which holds the digests of all parts
    manifest: dict[str, Any]
    contents: Contents
    interpreter: Interpreter | None
    warnings: tuple[str, ...]  # sentences a person should read, though the bundle can be run

    @classmethod
    def load(cls, path: Path, threads: int = 1) -> Bundle:
        """The bundle in a file, ready to run. Raises BundleError with the reason where it is refused."""
        try:
            if path.stat().st_size > archive.MOST_BYTES:
                raise BundleError(str(path), f"it is larger than the {archive.MOST_BYTES} bytes a bundle may have")
            data = path.read_bytes()
        except OSError as error:
            raise BundleError(str(path), f"it cannot be read: {error.strerror}") from None
        return cls.of_bytes(data, str(path), threads)

    @classmethod
    def of_bytes(cls, data: bytes, where: str, threads: int = 1) -> Bundle:
        """The bundle in the bytes of a file; `where` names it in errors. Raises BundleError."""
        digest, manifest, parts = archive.read(data, where)
        dimension, embedding = _size(manifest, "dimension", where), _size(manifest, "embedding", where)
        contents = decoded(parts, dimension, embedding, where)
        _check(contents, manifest, where)
        interpreter = None if contents.model is None else _interpreter(contents.model, manifest, where, threads)
        return cls(digest, manifest, contents, interpreter, _warnings(contents, manifest, interpreter))

    def write(self, path: Path) -> None:
        """Writes the file again, byte for byte. Raises BundleError."""
        archive.write(path, self.manifest, encoded(self.contents))

    def memory(self, arithmetic: str = "numpy") -> Roster[Any]:
        """A fresh memory that holds the reference samples; `arithmetic` is numpy or python."""
        return memory_of(self.contents) if arithmetic == "numpy" else _plain_memory_of(self.contents)

    @property
    def runtime(self) -> str:
        """What it was made with."""
        return str(self.manifest["runtime"])

    @property
    def runs_on(self) -> str:
        """The runtime that it runs on here."""
        return NO_RUNTIME if self.interpreter is None else self.interpreter.name

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the pictures that the model takes. Raises NoExtractorError."""
        if self.interpreter is None:
            raise NoExtractorError
        return self.interpreter.input_shape


def memory_of(contents: Contents) -> Memory:
    return Memory(contents.reference.values, contents.reference.labels, **contents.settings.rules())


def _plain_memory_of(contents: Contents) -> Roster[Any]:
    from ..algorithms.plain_neighbours import PlainMemory  # noqa: PLC0415  few devices need it

    return PlainMemory(contents.reference.values, contents.reference.labels, **contents.settings.rules())


def _interpreter(model: bytes, manifest: dict[str, Any], where: str, threads: int) -> Interpreter:
    try:
        interpreter = Interpreter(model, threads)
    except ModelError as error:
        raise BundleError(where, str(error)) from None
    if interpreter.dimension != manifest["embedding"] or list(interpreter.input_shape) != manifest.get("input"):
        raise BundleError(
            where,
            f"its model gives {interpreter.dimension} numbers for a picture of {interpreter.input_shape},"
            f" its projection takes {manifest['embedding']} for {manifest.get('input')}",
        )
    return interpreter


def _size(manifest: dict[str, Any], key: str, where: str) -> int:
    size = manifest.get(key)
    if type(size) is not int or not 1 <= size <= 1 << 16:
        raise BundleError(where, f"its manifest gives no usable {key}")
    return size


def _check(contents: Contents, manifest: dict[str, Any], where: str) -> None:
    settings = contents.settings
    if len(contents.reference.labels) < settings.k:
        raise BundleError(where, f"its memory is smaller than the {settings.k} neighbours that vote")
    said = {"classes": list(contents.classes), "k": settings.k, "distance": settings.distance}
    if contents.model is None:
        said |= {"runtime": NO_RUNTIME, "input": None}
    for key, value in said.items():
        if manifest.get(key) != value:
            raise BundleError(where, f"its manifest and its parts disagree about {key}")
    if type(manifest.get("runtime")) is not str:
        raise BundleError(where, "its manifest does not say which runtime it was made with")


def _warnings(contents: Contents, manifest: dict[str, Any], interpreter: Interpreter | None) -> tuple[str, ...]:
    found = []
    if interpreter is not None and manifest["runtime"] != interpreter.name:
        found.append(
            f"the bundle was made with {manifest['runtime']} and runs on {interpreter.name}: the features may differ"
            " slightly, so build it again on this runtime if drift is reported where there is none"
        )
    if len(contents.calibration.labels) < ENOUGH_CALIBRATION:
        found.append(
            f"the bundle was calibrated on {len(contents.calibration.labels)} frames; with fewer than"
            f" {ENOUGH_CALIBRATION} drift may be reported late or for nothing"
        )
    few = contents.settings.k // 2 + 1
    counts = Counter(contents.reference.labels)
    if weak := [label for label in contents.classes if counts[label] < few]:
        others = f" and {len(weak) - 1} more have" if len(weak) > 1 else " has"
        found.append(
            f"{weak[0]!r}{others} fewer than {few} samples in the memory, which can hardly win a vote of"
            f" {contents.settings.k} neighbours: give more pictures, or a smaller k"
        )
    return tuple(found)
