"""Labelled pictures: the reference part makes bundles, the stream part is what the cameras see."""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_actors import pictures
from edge_actors.bundle.build import BuildOptions, Jitter, build_bundle
from edge_actors.pictures import Pixels
from edge_actors.ports.interpreter import Interpreter

from ..errors import DemoError

LEAST_PER_CLASS = 20
VIEWS = 1  # jittered ones of each reference picture in a bundle, beside the plain one


@dataclass(frozen=True)
class Picture:
    """One labelled picture; `pixels` gives it as the extractor takes it."""

    label: str
    part: str  # ref | stream
    pixels: Callable[[], Pixels]


class Album:
    """Pictures, the extractor they are meant for, and how a camera sees the same thing again (`jitter`).

    `blur` is the radius, as a share of the side, at which things can hardly be told apart.
    """

    def __init__(self, name: str, model: bytes, listed: Sequence[Picture], jitter: Jitter, *, blur: float) -> None:
        self.name, self.model, self.pictures, self.jitter, self.blur = name, model, listed, jitter, blur
        self._streams: dict[str, list[Picture]] = {}
        for picture in listed:
            if picture.part == "stream":
                self._streams.setdefault(picture.label, []).append(picture)

    @property
    def classes(self) -> list[str]:
        return sorted(self._streams)

    def glance(self, label: str, rng: np.random.Generator) -> Pixels:
        """What a camera sees when something of this class is in front of it: a random stream picture, jittered."""
        stream = self._streams[label]
        return self.jitter(stream[int(rng.integers(len(stream)))].pixels(), rng)

    def unseen(self, wanted: str) -> str:
        """The class that no device knows: the wanted one, or the last by name. Raises DemoError."""
        if wanted and wanted not in self._streams:
            raise DemoError(f"there is no class {wanted!r} to leave out; there are {', '.join(self.classes)}")
        return wanted or self.classes[-1]

    def call_s(self) -> float:
        """What a model call takes on this machine, in seconds."""
        interpreter = Interpreter(self.model)
        pixels = self.pictures[0].pixels()
        taken = []
        for _ in range(7):
            started = time.perf_counter()
            interpreter.embed(pixels)
            taken.append(time.perf_counter() - started)
        return statistics.median(taken)

    def bundle(self, classes: Sequence[str], path: Path, seed: int) -> None:
        """Builds the bundle of a device that knows these classes."""
        labelled = ((p.pixels(), p.label, p.part) for p in self.pictures if p.part == "ref" and p.label in classes)
        options = BuildOptions(seed=seed, augment=VIEWS)
        build_bundle(labelled, self.model, options, jitter=self.jitter, lineage={"album": self.name}).write(path)


def digits() -> Album:
    """The handwritten digits inside scikit-learn and the extractor that `edge_actors/training` made for them."""
    from edge_actors.training import digit_pictures  # noqa: PLC0415  scikit-learn takes a second to import

    model = Path(digit_pictures.__file__).with_name("artifacts") / "digits_extractor.tflite"
    found = digit_pictures.digit_pictures()

    def jitter(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        seen: Pixels = digit_pictures.jittered(pixels[np.newaxis], rng)[0]
        return seen

    def picture(index: int) -> Picture:
        return Picture(found.labels[index], found.part[index], lambda: found.pixels[index])

    listed = [picture(index) for index in range(len(found.labels))]
    return Album("handwritten digits", model.read_bytes(), listed, jitter, blur=0.1)


def folder(images: Path, model: Path) -> Album:
    """A person's own pictures: DIR/<class>/*, or a labels.csv (file, class, part) in DIR or beside it.

    Raises DemoError with what is missing, and ModelError for a model that is no feature extractor.
    """
    try:
        data = model.read_bytes()
    except OSError as error:
        raise DemoError(f"the model {model} cannot be read: {(error.strerror or '').lower()}") from None
    size = Interpreter(data).input_shape
    listed = [Picture(label, part, _Lazy(path, size)) for path, label, part in _listed(images)]
    if not listed:
        raise DemoError(f"no pictures in {images}: DIR/<class>/*.jpg or a labels.csv is expected")
    for label in sorted({picture.label for picture in listed}):
        for part in ("ref", "stream"):
            count = sum(picture.label == label and picture.part == part for picture in listed)
            if count < LEAST_PER_CLASS:
                raise DemoError(f"class {label!r} has {count} {part} pictures; at least {LEAST_PER_CLASS} are needed")
    album = Album(images.resolve().name, data, listed, pictures.jitter, blur=0.03)
    if len(album.classes) < 3:
        raise DemoError(f"{images} has {len(album.classes)} classes; the demo needs three, one of them as the unseen")
    return album


def _listed(images: Path) -> list[tuple[Path, str, str]]:
    """File, class and part of every picture."""
    if not images.is_dir():
        raise DemoError(f"{images} is not a folder")
    for table in (images / "labels.csv", images.parent / "labels.csv"):
        if table.is_file():
            return _from_table(table, images)
    found = []
    for directory in sorted(path for path in images.iterdir() if path.is_dir()):
        files = sorted(path for path in directory.iterdir() if path.suffix.lower() in pictures.SUFFIXES)
        # Every other picture: neighbours in a folder were often taken together, so both halves get some of each.
        found += [(path, directory.name, ("ref", "stream")[index % 2]) for index, path in enumerate(files)]
    return found


def _from_table(table: Path, images: Path) -> list[tuple[Path, str, str]]:
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    if not rows or not {"file", "class", "part"} <= rows[0].keys():
        raise DemoError(f"{table} needs the columns file, class and part, and a row a picture")
    base = images if (images / rows[0]["file"]).is_file() else images / "images"
    absent = [row["file"] for row in rows if not (base / row["file"]).is_file()]
    if absent:
        raise DemoError(f"{table} names {len(absent)} pictures that are not there, the first {absent[0]}")
    return [(base / row["file"], row["class"], row["part"]) for row in rows if row["part"] in ("ref", "stream")]


class _Lazy:
    """Keeps a picture encoded, some dozen KB, as hundreds of decoded ones would not fit a small machine."""

    def __init__(self, path: Path, size: tuple[int, int, int]) -> None:
        self.path, self.size = path, size
        self._encoded: bytes | None = None

    def __call__(self) -> Pixels:
        if self._encoded is None:
            self._encoded = self.path.read_bytes()
        return pictures.decode(self._encoded, *self.size)
