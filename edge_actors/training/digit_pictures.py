"""The handwritten digits inside scikit-learn as camera pictures, in a reference and a stream half."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

SIDE = 32
BRIGHTEST = 16  # scikit-learn keeps the digits as 0..16


class DigitPictures(NamedTuple):
    """Row i of each: one picture, what it shows, and what it may be used for."""

    pixels: NDArray[np.uint8]  # (n, 32, 32, 1), strokes bright on black
    labels: list[str]  # "0".."9"
    part: list[str]  # "ref": training, memory, calibration; "stream": only what a camera shows


def digit_pictures() -> DigitPictures:
    """All 1797 pictures in scikit-learn's order; the same on every machine, as no chance is involved."""
    small, digits = load_digits(return_X_y=True)
    pixels = np.stack([_enlarged(picture) for picture in small.reshape(-1, 8, 8)])
    return DigitPictures(pixels, [str(digit) for digit in digits], _halves(digits))


def _enlarged(picture: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(8, 8) of 0..16 -> (32, 32, 1) of 0..255, bilinear."""
    grey = np.round(picture * (255 / BRIGHTEST)).astype(np.uint8)
    large = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(large, dtype=np.uint8)[..., np.newaxis]


def _halves(digits: NDArray[np.int64]) -> list[str]:
    """Every other picture of each class: neighbours may share a writer, and both halves should know each."""
    seen: dict[int, int] = {}
    part = []
    for digit in digits.tolist():
        seen[digit] = seen.get(digit, 0) + 1
        part.append("ref" if seen[digit] % 2 else "stream")
    return part


def jittered(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """(n, 32, 32, 1) -> as a camera sees them again: up to 2 px aside, +-8 % brightness and contrast."""
    n = len(pixels)
    room = 2
    wide = np.pad(pixels, ((0, 0), (room, room), (room, room), (0, 0)))
    down, right = rng.integers(0, 2 * room + 1, (2, n))
    moved = np.stack([wide[i, y : y + SIDE, x : x + SIDE] for i, (y, x) in enumerate(zip(down, right, strict=True))])
    brightness, contrast = rng.uniform(0.92, 1.08, (2, n, 1, 1, 1))
    mean = moved.mean(axis=(1, 2, 3), keepdims=True)
    lit = ((moved - mean) * contrast + mean) * brightness
    return np.asarray(np.clip(lit, 0, 255).round(), dtype=np.uint8)
