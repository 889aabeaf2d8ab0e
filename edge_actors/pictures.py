"""Pictures as the extractor wants them, cut and coloured in one place, for building a bundle and for running one."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .errors import PictureError

if TYPE_CHECKING:  # Pillow costs 4 MB; a device that only shows raw frames to its model does without
    from PIL import Image

Pixels = NDArray[np.uint8]  # (height, width, channels), channels 1 (grey) or 3 (RGB)

SUFFIXES = (".jpg", ".jpeg", ".png")
FORMATS = ("JPEG", "PNG", "PPM")  # PPM is what raw frames of a camera or a video come as
MOST_PIXELS = 64_000_000  # a picture that claims more is refused before it is unpacked
SMALLEST_CROP = 7 / 8  # of the side, as a 224 crop of a 256 picture
LIGHT = 0.08  # brightness and contrast vary by this share


def load(path: Path, height: int, width: int, channels: int) -> Pixels:
    """The picture in a file, as `decode` makes it. Raises PictureError with the file's name."""
    try:
        return decode(path.read_bytes(), height, width, channels)
    except OSError as error:
        raise PictureError(f"the picture {path} cannot be read: {error.strerror}") from None
    except PictureError as error:
        raise PictureError(f"the picture {path} cannot be read: {error}") from None


def decode(data: bytes, height: int, width: int, channels: int) -> Pixels:
    """An encoded picture, its middle cut to the wanted proportions, resized, RGB or grey. Raises PictureError."""
    from PIL import Image  # noqa: PLC0415  see above

    try:
        with Image.open(BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise PictureError(f"{picture.width} x {picture.height} pixels are too many")
            picture.draft("RGB", (2 * width, 2 * height))  # a large jpeg is unpacked at a fraction of its size
            return _cut(picture.convert("L" if channels == 1 else "RGB"), height, width)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise PictureError(f"it is damaged, or none of {', '.join(FORMATS)}") from None


def fit(pixels: Pixels, height: int, width: int, channels: int) -> Pixels:
    """Pixels of any size and colour, its middle cut to the wanted proportions, resized; the same if it fits."""
    if pixels.shape == (height, width, channels):
        return pixels
    return _cut(_image(pixels).convert("L" if channels == 1 else "RGB"), height, width)


def jitter(pixels: Pixels, chance: np.random.Generator) -> Pixels:
    """As a camera might see the same again: a random crop of 7/8 or more, in slightly other light."""
    height, width, channels = pixels.shape
    share = chance.uniform(SMALLEST_CROP, 1.0)
    down, right = chance.uniform(0, 1 - share, 2) * (height, width)
    box = (right, down, right + share * width, down + share * height)
    image = _image(pixels).resize((width, height), box=box)
    seen = np.asarray(image, np.float32).reshape(height, width, channels)
    brightness, contrast = chance.uniform(1 - LIGHT, 1 + LIGHT, 2)
    mean = seen.mean()
    lit: Pixels = np.clip(((seen - mean) * contrast + mean) * brightness + 0.5, 0, 255).astype(np.uint8)
    return lit


def thumbnail(pixels: Pixels, size: int = 96, quality: int = 80) -> bytes:
    """A jpeg whose longer side is at most `size` pixels."""
    image = _image(pixels)
    image.thumbnail((size, size))
    return _jpeg(image, quality)


def jpeg(pixels: Pixels, quality: int = 90) -> bytes:
    """The whole picture as a jpeg."""
    return _jpeg(_image(pixels), quality)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    held = BytesIO()
    image.save(held, "JPEG", quality=quality)
    return held.getvalue()


def _image(pixels: Pixels) -> Image.Image:
    from PIL import Image  # noqa: PLC0415  see above

    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _cut(picture: Image.Image, height: int, width: int) -> Pixels:
    scale = min(picture.width / width, picture.height / height)
    across, down = scale * width, scale * height
    left, top = (picture.width - across) / 2, (picture.height - down) / 2
    cut = picture.resize((width, height), box=(left, top, left + across, top + down))
    return np.asarray(cut, np.uint8).reshape(height, width, -1)
