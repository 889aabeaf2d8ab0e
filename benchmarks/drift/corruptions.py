"""What weather, lens, light and wire do to a picture: seven corruptions, each in five severities.

The kinds and their strengths are those of ImageNet-C (Hendrycks & Dietterich, "Benchmarking Neural Network Robustness
to Common Corruptions and Perturbations", ICLR 2019). Lengths there are pixels of a picture of 224; here they scale
with the side, so that a small picture suffers alike.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from math import ceil, cos, radians, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_actors.pictures import Pixels

Values = Any  # an array of float32, (height, width, channels), 0..1
Chance = np.random.Generator

SEVERITIES = (1, 2, 3, 4, 5)
PUBLISHED_SIDE = 224

NOISE_SPREAD = (0.08, 0.12, 0.18, 0.26, 0.38)
MOTION = ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0))  # radius, spread
DEFOCUS = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))  # radius of the disk, softness of its edge
BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)
CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
FOG = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))  # thickness, how fast its detail fades
JPEG_QUALITY = (25, 18, 15, 10, 7)


def corrupt(pixels: Pixels, kind: str, severity: int, chance: Chance) -> Pixels:
    """(height, width, channels) -> the same, corrupted; `kind` is one of KINDS, severity 1..5."""
    values = np.asarray(pixels, np.float32) / 255
    worse = KINDS[kind](values, severity - 1, chance)
    changed: Pixels = (np.clip(worse, 0, 1) * 255 + 0.5).astype(np.uint8)
    return changed


def noise(values: Values, level: int, chance: Chance) -> Values:
    """Gaussian, on every pixel and channel by itself."""
    return values + NOISE_SPREAD[level] * chance.standard_normal(values.shape, np.float32)


def motion_blur(values: Values, level: int, chance: Chance) -> Values:
    """A trail to one side, fading as half a Gaussian, within 45 degrees of horizontal."""
    radius, spread = (length * _scale(values) for length in MOTION[level])
    angle = radians(chance.uniform(-45, 45))
    steps = np.arange(1 + round(2 * radius))
    weights = np.exp(-0.5 * (steps / spread) ** 2)
    reach = int(steps[-1]) + 1
    padded = np.pad(values, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    height, width, _ = values.shape
    blurred = np.zeros_like(values)
    for step, weight in zip(steps.tolist(), (weights / weights.sum()).tolist(), strict=True):
        down, right = reach + round(step * sin(angle)), reach + round(step * cos(angle))
        blurred += np.float32(weight) * padded[down : down + height, right : right + width]
    return blurred


def defocus(values: Values, level: int, chance: Chance) -> Values:
    """Every point becomes a disk."""
    radius, softness = DEFOCUS[level]
    disk = _disk(radius * _scale(values), softness)
    half = disk.shape[0] // 2
    padded = np.pad(
        values, ((half, half), (half, half), (0, 0)), mode="reflect" if half < min(values.shape[:2]) else "edge"
    )
    size = tuple(1 << (length - 1).bit_length() for length in padded.shape[:2])  # quick to transform
    spectrum = np.fft.rfft2(padded, size, axes=(0, 1)) * np.fft.rfft2(disk, size)[..., np.newaxis]
    folded = np.fft.irfft2(spectrum, size, axes=(0, 1))
    height, width, _ = values.shape
    return folded[2 * half : 2 * half + height, 2 * half : 2 * half + width].astype(np.float32)


def brightness(values: Values, level: int, chance: Chance) -> Values:
    """The value of each colour (V of HSV) rises; hue and saturation stay."""
    value = values.max(axis=2, keepdims=True)
    raised = np.minimum(value + BRIGHTNESS[level], 1)
    return np.where(value > 0, values * (raised / np.maximum(value, 1e-6)), raised)


def contrast(values: Values, level: int, chance: Chance) -> Values:
    """Everything moves towards the mean colour."""
    mean = values.mean(axis=(0, 1), keepdims=True)
    return (values - mean) * np.float32(CONTRAST[level]) + mean


def fog(values: Values, level: int, chance: Chance) -> Values:
    """A bright haze, thicker here and thinner there."""
    thickness, fade = FOG[level]
    brightest = values.max()
    height, width, _ = values.shape
    haze = thickness * _plasma(max(height, width), fade, chance)[:height, :width, np.newaxis]
    return (values + haze) * (brightest / max(brightest + thickness, 1e-6))


def jpeg(values: Values, level: int, chance: Chance) -> Values:
    """Packed as a jpeg of low quality."""
    pixels = (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
    packed = BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(
        packed, "JPEG", quality=JPEG_QUALITY[level]
    )
    with Image.open(packed) as picture:
        return np.asarray(picture, np.float32).reshape(values.shape) / 255


KINDS: dict[str, Callable[[Values, int, Chance], Values]] = {
    "noise": noise,
    "motion-blur": motion_blur,
    "defocus": defocus,
    "brightness": brightness,
    "contrast": contrast,
    "fog": fog,
    "jpeg": jpeg,
}


def _scale(values: Values) -> float:
    return float(min(values.shape[:2])) / PUBLISHED_SIDE


def _disk(radius: float, softness: float) -> NDArray[np.float64]:
    """A disk that sums to one, its edge smoothed by a Gaussian of this spread."""
    half = ceil(radius + 3 * softness)
    across = np.arange(-half, half + 1)
    distance = np.hypot(across[:, np.newaxis], across)
    disk = 1 / (1 + np.exp(np.clip((distance - radius) / max(softness * 0.6, 0.05), -50, 50)))  # a logistic edge
    return np.asarray(disk / disk.sum())


def _plasma(side: int, fade: float, chance: Chance) -> Values:
    """(n, n) of 0..1, n the power of two from `side`: a fractal landscape by diamond and square.

    Each halving of the step divides the roughness by `fade`.
    """
    size = 1 << (side - 1).bit_length()
    field = np.zeros((size, size))
    step, rough = size, 100.0
    while step >= 2:
        half = step // 2
        corners = field[::step, ::step]
        sums = corners + np.roll(corners, -1, 0)
        sums = sums + np.roll(sums, -1, 1)
        field[half::step, half::step] = sums / 4 + rough * chance.uniform(-1, 1, sums.shape)
        middles = field[half::step, half::step]
        above = middles + np.roll(middles, 1, 0) + corners + np.roll(corners, -1, 1)
        field[::step, half::step] = above / 4 + rough * chance.uniform(-1, 1, sums.shape)
        beside = middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 0)
        field[half::step, ::step] = beside / 4 + rough * chance.uniform(-1, 1, sums.shape)
        step, rough = half, rough / fade
    field -= field.min()
    return (field / max(field.max(), 1e-9)).astype(np.float32)
