"""Pictures as the extractor wants them, cut and coloured in one place, for building a bundle and for running one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
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
ORIENTATION = 0x0112  # the EXIF tag, and what undoes each of its values, by Pillow's numbers for a Transpose
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
SMALLEST_CROP = 7 / 8  # of the side, as a 224 crop of a 256 picture
LIGHT = 0.08  # brightness and contrast vary by this share


@dataclass(frozen=True, slots=True)
class Raw:
    """A picture as a camera's driver leaves it in memory; `layout` is one of LAYOUTS."""

    data: bytes
    height: int
    width: int
    layout: str = "RGB"
    stride: int = 0  # bytes from one line to the next; 0: as few as can be
    full_range: bool = False  # YUV: whether black is 0 and white 255, as in a jpeg, or 16 and 235


# Bytes of a pixel, and where in them red, green and blue are (or the one that is grey).
COLOURS = {
    "GREY": (1, (0,)),
    "RGB": (3, (0, 1, 2)),
    "BGR": (3, (2, 1, 0)),
    "RGBX": (4, (0, 1, 2)),
    "BGRX": (4, (2, 1, 0)),
}
# Two pixels share four bytes: where in them the lights and the two colours are.
SHARED = {"YUYV": (0, 1, 3), "UYVY": (1, 0, 2), "YVYU": (0, 3, 1)}
LAYOUTS = (*COLOURS, *SHARED, "NV12")


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
            side = 2 * max(height, width)
            picture.draft("RGB", (side, side))  # a large jpeg is unpacked at a fraction of its size
            colours = picture.convert("L" if channels == 1 else "RGB")
            return _cut(_upright(colours, picture.getexif().get(ORIENTATION)), height, width)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise PictureError(f"it is damaged, or none of {', '.join(FORMATS)}") from None


def fit(pixels: Pixels, height: int, width: int, channels: int) -> Pixels:
    """Pixels of any size and colour, its middle cut to the wanted proportions, resized; the same if it fits."""
    if pixels.shape == (height, width, channels):
        return pixels
    return _cut(_image(pixels).convert("L" if channels == 1 else "RGB"), height, width)


def shown(picture: bytes | Raw, height: int, width: int, channels: int) -> Pixels:
    """What any camera gives, encoded or raw, as the extractor wants it. Raises PictureError."""
    if isinstance(picture, Raw):
        return fit(unpack(picture), height, width, channels)
    return decode(picture, height, width, channels)


def unpack(raw: Raw) -> Pixels:
    """A raw picture in RGB or grey, in its own size. Raises PictureError where it is too short, or no LAYOUTS."""
    if raw.layout in COLOURS:
        size, places = COLOURS[raw.layout]
        lines = _lines(raw, raw.height, size * raw.width)
        return np.ascontiguousarray(lines.reshape(raw.height, raw.width, size)[:, :, places])
    if raw.layout in SHARED and raw.width % 2 == 0:
        first, *others = SHARED[raw.layout]
        lines = _lines(raw, raw.height, 2 * raw.width)
        return _rgb(raw, lines[:, first::2], *(lines[:, other::4] for other in others))
    if raw.layout == "NV12" and raw.width % 2 == raw.height % 2 == 0:
        lines = _lines(raw, raw.height * 3 // 2, raw.width)
        light, colours = lines[: raw.height], lines[raw.height :]
        return _rgb(raw, light, colours[:, 0::2], colours[:, 1::2])
    raise PictureError(f"{raw.width} x {raw.height} pixels as {raw.layout} are nothing that can be unpacked")


def _lines(raw: Raw, count: int, length: int) -> Pixels:
    """The first `length` bytes of each of `count` lines."""
    stride = raw.stride or length
    if not 0 < length <= stride or len(raw.data) < stride * (count - 1) + length:
        raise PictureError(f"{len(raw.data)} bytes are too few for {raw.width} x {raw.height} {raw.layout}")
    data = np.frombuffer(raw.data, np.uint8)
    return np.lib.stride_tricks.as_strided(data, (count, length), (stride, 1), writeable=False)


def _rgb(raw: Raw, light: Pixels, blue: Pixels, red: Pixels) -> Pixels:
    """ITU-R BT.601, the colours of each group of pixels taken for all of them."""
    from PIL import Image  # noqa: PLC0415  see above

    size = (raw.width, raw.height)
    planes = [Image.fromarray(np.ascontiguousarray(plane)).resize(size, 0) for plane in (light, blue, red)]
    picture = Image.merge("YCbCr", planes)
    return np.asarray((picture if raw.full_range else picture.point(_widened())).convert("RGB"), np.uint8)


@cache
def _widened() -> list[int]:
    """For each byte of light (16 to 235) and of colour (16 to 240) what it is where black is 0 and white 255."""
    values = np.arange(256)
    light = np.clip(np.round((values - 16) * (255 / 219)), 0, 255)
    colour = np.clip(np.round((values - 128) * (255 / 224)) + 128, 0, 255)
    return [int(value) for value in (*light, *colour, *colour)]


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


def _upright(picture: Image.Image, orientation: object) -> Image.Image:
    """As the one who took it held the camera."""
    from PIL import Image  # noqa: PLC0415  see above

    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return picture if turn is None else picture.transpose(Image.Transpose(turn))


def _cut(picture: Image.Image, height: int, width: int) -> Pixels:
    scale = min(picture.width / width, picture.height / height)
    across, down = scale * width, scale * height
    left, top = (picture.width - across) / 2, (picture.height - down) / 2
    cut = picture.resize((width, height), box=(left, top, left + across, top + down))
    return np.asarray(cut, np.uint8).reshape(height, width, -1)
