"""Labelled pictures for the protocol: `ref` ones make the bundle, `stream` ones are what the camera sees."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_actors import pictures
from edge_actors.pictures import Pixels
from edge_actors.ports.interpreter import Interpreter

ROOM = 256 / 224  # a picture is kept this much larger than the crops that are taken of it
PARTS = ("ref", "stream")
LEAST_PER_CLASS = 20


class AlbumError(ValueError):
    """The pictures cannot serve the protocol."""


@dataclass(frozen=True)
class Album:
    """Pictures of one size, a part each, and the extractor they are meant for."""

    name: str
    model: bytes
    labels: tuple[str, ...]
    parts: tuple[str, ...]  # ref | stream
    mirror: bool  # whether a mirrored picture shows the same thing
    files: tuple[Path, ...] = ()
    held: tuple[Pixels, ...] = ()  # instead of files

    @property
    def classes(self) -> list[str]:
        return sorted(set(self.labels))

    def of(self, part: str) -> list[int]:
        """The pictures of a part."""
        return [index for index, one in enumerate(self.parts) if one == part]

    def pixels(self, index: int, size: tuple[int, int, int]) -> Pixels:
        """The picture with room for crops of `size` (height, width, channels)."""
        if self.held:
            return self.held[index]
        height, width, channels = size
        return pictures.load(self.files[index], round(height * ROOM), round(width * ROOM), channels)

    def digest(self) -> str:
        """Says whether embeddings are of these pictures and this extractor."""
        seen = hashlib.sha256(hashlib.sha256(self.model).digest())
        for index, (label, part) in enumerate(zip(self.labels, self.parts, strict=True)):
            what = self.held[index].tobytes() if self.held else self.files[index].read_bytes()
            seen.update(f"{label}\n{part}\n{self.mirror}\n".encode() + hashlib.sha256(what).digest())
        return seen.hexdigest()


def digits() -> Album:
    """The handwritten digits inside scikit-learn and the extractor that `edge_actors/training` made for them."""
    from edge_actors.training import digit_pictures  # noqa: PLC0415  scikit-learn takes a second to import

    found = digit_pictures.digit_pictures()
    model = Path(digit_pictures.__file__).with_name("artifacts") / "digits_extractor.tflite"
    wide = np.pad(found.pixels, ((0, 0), (2, 2), (2, 2), (0, 0)))  # strokes may touch the border: room to move
    return Album("digits", model.read_bytes(), tuple(found.labels), tuple(found.part), mirror=False, held=tuple(wide))


def folder(images: Path, model: Path) -> Album:
    """A person's own pictures: DIR/<class>/*, or a labels.csv (file, class, part) in DIR or beside it.

    Without a table every other picture of a class is a stream picture. Raises AlbumError, ModelError.
    """
    if not images.is_dir():
        raise AlbumError(f"{images} is not a folder")
    tables = (images / "labels.csv", images.parent / "labels.csv")
    table = next((path for path in tables if path.is_file()), None)
    found = _of_table(table, images) if table else _of_folders(images)
    if len({label for _, label, _ in found}) < 3:
        raise AlbumError(f"{images} has fewer than three classes; one is left out at a time")
    for label in sorted({label for _, label, _ in found}):
        for part in PARTS:
            count = sum((one, another) == (label, part) for _, one, another in found)
            if count < LEAST_PER_CLASS:
                raise AlbumError(f"{label!r} has {count} {part} pictures; at least {LEAST_PER_CLASS} are needed")
    data = model.read_bytes()
    Interpreter(data)  # refuses a model that is no feature extractor before hours are spent
    files, labels, parts = zip(*found, strict=True)
    place = images.resolve()
    name = place.parent.name if place.name == "images" else place.name
    return Album(name, data, labels, parts, mirror=True, files=files)


def _of_folders(images: Path) -> list[tuple[Path, str, str]]:
    found = []
    for directory in sorted(path for path in images.iterdir() if path.is_dir()):
        files = sorted(path for path in directory.iterdir() if path.suffix.lower() in pictures.SUFFIXES)
        found += [(path, directory.name, PARTS[index % 2]) for index, path in enumerate(files)]
    return found


def _of_table(table: Path, images: Path) -> list[tuple[Path, str, str]]:
    with table.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    if not rows or not {"file", "class", "part"} <= rows[0].keys():
        raise AlbumError(f"{table} needs the columns file, class and part, and a row a picture")
    base = images if (images / rows[0]["file"]).is_file() else images / "images"
    return [(base / row["file"], row["class"], row["part"]) for row in rows if row["part"] in PARTS]


def view(pixels: Pixels, size: tuple[int, int, int], mirror: bool, chance: np.random.Generator) -> Pixels:
    """As a camera sees it again: a random crop of `size`, perhaps mirrored, brightness and contrast +-8 %."""
    height, width, _ = size
    down = int(chance.integers(pixels.shape[0] - height + 1))
    right = int(chance.integers(pixels.shape[1] - width + 1))
    seen = np.asarray(pixels[down : down + height, right : right + width], np.float32)
    if mirror and chance.random() < 0.5:
        seen = seen[:, ::-1]
    light, depth = chance.uniform(1 - pictures.LIGHT, 1 + pictures.LIGHT, 2)
    mean = seen.mean()
    lit: Pixels = np.clip(((seen - mean) * depth + mean) * light + 0.5, 0, 255).astype(np.uint8)
    return lit
