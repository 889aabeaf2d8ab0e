"""The pictures of a training: which are learned from and which are held out, read once, shown with variety."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .. import pictures
from ..bundle.folder import Listed
from ..errors import PictureError
from .errors import TrainingError

MOST_KEPT = 1 << 30  # bytes of unpacked pictures; beyond that they are read again each time
FEWEST_PICTURES = 4  # of a class, as a bundle wants them
SMALLEST_CROP = 0.7  # of a side
LIGHT = 0.2  # brightness and contrast vary by this share

Pixels = NDArray[np.uint8]  # (side, side, 3)


@dataclass(frozen=True)
class Split:
    """The pictures to learn from, and those that tell how well that went."""

    learn: tuple[Listed, ...]
    held_out: tuple[Listed, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted({one.label for one in self.learn}))


def split(found: Sequence[Listed], share: float, seed: int) -> Split:
    """Holds out a share of each class; what a table calls memory or calibration goes there. Raises TrainingError.

    Pictures that were learned from look nearer to each other than new ones do, so a bundle may remember them, but
    what is usual has to be measured on those held out.
    """
    chance = np.random.default_rng(seed)
    learn: list[Listed] = []
    held_out: list[Listed] = []
    for label, count in sorted(Counter(one.label for one in found).items()):
        if count < FEWEST_PICTURES:
            raise TrainingError(f"there are {count} pictures of {label!r}; at least {FEWEST_PICTURES} are needed")
        mine = [one for one in found if one.label == label]
        free = [one for one in mine if one.part in ("", "ref")]
        out = set(chance.permutation(len(free))[: round(share * len(free))].tolist())
        learn += [one for one in mine if one.part == "memory"]
        learn += [one for place, one in enumerate(free) if place not in out]
        held_out += [one for one in mine if one.part == "calibration"]
        held_out += [one for place, one in enumerate(free) if place in out]
        for name, part in (("to learn from", learn), ("to hold out", held_out)):
            if not any(one.label == label for one in part):
                raise TrainingError(f"no picture of {label!r} is left {name}")
    made = Split(tuple(learn), tuple(held_out))
    if len(made.classes) < 2:
        raise TrainingError(f"all pictures show {made.classes[0]!r}; at least two classes can be told apart")
    return made


def table(made: Split, images: Path) -> str:
    """The split as a labels.csv for `tinyml bundle build`: what was learned is memory, the rest calibrates."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "class", "part"))
    for part, listed in (("memory", made.learn), ("calibration", made.held_out)):
        for one in listed:
            inside = one.path.is_relative_to(images)
            writer.writerow((one.path.relative_to(images) if inside else one.path, one.label, part))
    return text.getvalue()


class Album:
    """Pictures of one size, kept unpacked while there is room. What cannot be read is left out and reported."""

    def __init__(self, listed: Sequence[Listed], side: int, complain: Callable[[str], None]) -> None:
        self.side = side
        self._keeps = len(listed) * side * side * 3 <= MOST_KEPT
        self._kept: list[Pixels] = []
        self.listed: list[Listed] = []
        for one in listed:
            try:
                pixels = self._read(one)
            except PictureError as error:
                complain(f"left out: {error}")
                continue
            self.listed.append(one)
            if self._keeps:
                self._kept.append(pixels)

    def __len__(self) -> int:
        return len(self.listed)

    def __getitem__(self, row: int) -> Pixels:
        return self._kept[row] if self._keeps else self._read(self.listed[row])

    def targets(self, classes: Sequence[str]) -> NDArray[np.int64]:
        """(n,) places among the classes."""
        return np.array([classes.index(one.label) for one in self.listed], np.int64)

    def _read(self, one: Listed) -> Pixels:
        return pictures.load(one.path, self.side, self.side, 3)


def varied(pixels: Pixels, chance: np.random.Generator, mirror: bool) -> Pixels:
    """The same thing as it might be seen another time: cropped, mirrored, in other light."""
    side = pixels.shape[0]
    across, down = chance.uniform(SMALLEST_CROP, 1.0, 2) * side
    left, top = chance.uniform(0, 1, 2) * (side - across, side - down)
    image = Image.fromarray(pixels).resize((side, side), box=(left, top, left + across, top + down))
    if mirror and chance.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    seen = np.asarray(image, np.float32)
    brightness, contrast = chance.uniform(1 - LIGHT, 1 + LIGHT, 2)
    mean = seen.mean()
    lit = ((seen - mean) * contrast + mean) * brightness
    return np.asarray(np.clip(lit + 0.5, 0, 255), dtype=np.uint8)
