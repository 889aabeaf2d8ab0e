"""Whatever the file, the extractor gets the middle of it, in its size and colours."""

from __future__ import annotations

import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_actors import pictures
from edge_actors.errors import PictureError
from edge_actors.pictures import Pixels, Raw


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    held = BytesIO()
    Image.fromarray(pixels.squeeze()).save(held, kind)
    return held.getvalue()


def striped(height: int, width: int) -> np.ndarray:
    """Red left and right of a green square middle."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = 250
    edge = (width - height) // 2
    pixels[:, edge : width - edge] = (0, 250, 0)
    return pixels


def test_the_middle_is_cut_out_and_resized() -> None:
    found = pictures.decode(encoded(striped(40, 80)), 20, 20, 3)
    assert found.shape == (20, 20, 3)
    assert (found[:, 2:-2, 1] == 250).all()
    assert (found[:, 2:-2, 0] == 0).all()


def test_a_tall_picture_is_cut_above_and_below() -> None:
    found = pictures.decode(encoded(striped(40, 80).swapaxes(0, 1)), 20, 20, 3)
    assert (found[2:-2, :, 1] == 250).all()


def test_other_proportions_than_a_square_are_kept() -> None:
    assert pictures.decode(encoded(striped(40, 80)), 10, 20, 3)[:, 0, 0].tolist() == [250] * 10


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "PPM"])
@pytest.mark.parametrize("channels", [1, 3])
def test_colours_are_made_what_the_model_takes(kind: str, channels: int) -> None:
    grey = np.full((8, 8), 100, np.uint8)
    colour = np.full((8, 8, 3), 100, np.uint8)
    for picture in (grey, colour):
        found = pictures.decode(encoded(picture, kind), 4, 4, channels)
        assert found.shape == (4, 4, channels)
        assert abs(int(found.mean()) - 100) <= 1


def test_a_picture_with_transparency_or_a_palette_is_read_too() -> None:
    for mode in ("RGBA", "P", "LA"):
        held = BytesIO()
        Image.new(mode, (6, 6)).save(held, "PNG")
        assert pictures.decode(held.getvalue(), 4, 4, 3).shape == (4, 4, 3)


def test_a_file_that_is_no_picture_is_refused_by_name(tmp_path: Path) -> None:
    whole = encoded(striped(40, 80), "JPEG")
    for name, data in (("text.jpg", b"hello"), ("empty.png", b""), ("cut.jpg", whole[: len(whole) // 2])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(PictureError, match=name):
            pictures.load(tmp_path / name, 4, 4, 3)
    with pytest.raises(PictureError, match=r"gone\.jpg cannot be read: No such file"):
        pictures.load(tmp_path / "gone.jpg", 4, 4, 3)


def test_a_picture_that_claims_to_be_huge_is_refused_before_it_is_unpacked() -> None:
    huge = encoded(np.zeros((2, 2), np.uint8), "PPM").replace(b"2 2", b"60000 60000")
    with pytest.raises(PictureError, match=r"too many|damaged"):
        pictures.decode(huge, 4, 4, 1)


def test_pixels_that_fit_are_not_touched() -> None:
    pixels = striped(8, 8)
    assert pictures.fit(pixels, 8, 8, 3) is pixels
    assert pictures.fit(pixels, 4, 4, 1).shape == (4, 4, 1)


def test_the_same_chance_gives_the_same_view_and_views_differ_a_little() -> None:
    pixels = np.random.default_rng(0).integers(60, 200, (32, 32, 3), np.uint8)
    smooth = pictures.fit(pictures.fit(pixels, 4, 4, 3), 32, 32, 3)
    one, same = (pictures.jitter(smooth, np.random.default_rng(5)) for _ in range(2))
    other = pictures.jitter(smooth, np.random.default_rng(6))
    np.testing.assert_array_equal(one, same)
    assert one.shape == smooth.shape
    assert 0 < np.abs(one.astype(int) - other.astype(int)).mean() < 40


def test_a_thumbnail_is_a_small_jpeg_of_the_same_proportions() -> None:
    found = Image.open(BytesIO(pictures.thumbnail(striped(120, 240))))
    assert (found.format, found.size) == ("JPEG", (96, 48))
    grey = Image.open(BytesIO(pictures.thumbnail(np.zeros((32, 32, 1), np.uint8))))
    assert (grey.mode, grey.size) == ("L", (32, 32)), "a small picture is not blown up"
    assert Image.open(BytesIO(pictures.jpeg(striped(120, 240)))).size == (240, 120)


# ---- what cameras leave in memory ----------------------------------------------------------------------------------


def scene(height: int = 48, width: int = 64) -> Pixels:
    """Colours that change slowly, and a few edges."""
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    colours = np.stack([across, down, 1 - across * down], axis=-1)
    colours[10:20, 10:30] = (0.9, 0.2, 0.1)
    return (colours * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("layout", "places"), [("RGB", [0, 1, 2]), ("BGR", [2, 1, 0]), ("RGBX", [0, 1, 2, 0]), ("BGRX", [2, 1, 0, 0])]
)
@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_raw_picture_gives_the_same_pixels_as_its_file(
    layout: str, places: list[int], padding: int, channels: int
) -> None:
    """What a bundle is built from and what the camera of the device shows go through the same hands."""
    pixels = scene()
    height, width, _ = pixels.shape
    lines = np.ascontiguousarray(pixels[..., places]).reshape(height, -1)
    stride = lines.shape[1] + padding
    data = np.pad(lines, ((0, 0), (0, padding)), constant_values=99).tobytes()
    raw = Raw(data[: len(data) - padding], height, width, layout, stride)
    for size in ((24, 24), (48, 64), (96, 30)):
        want = pictures.decode(encoded(pixels), *size, channels)
        np.testing.assert_array_equal(pictures.shown(raw, *size, channels), want)
        np.testing.assert_array_equal(pictures.fit(pixels, *size, channels), want)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize(
    ("layout", "format"), [("YUYV", "yuyv422"), ("UYVY", "uyvy422"), ("YVYU", "yvyu422"), ("NV12", "nv12")]
)
@pytest.mark.parametrize("full_range", [False, True])
def test_the_light_and_colour_of_a_usb_camera_become_rgb_as_ffmpeg_makes_it(
    layout: str, format: str, full_range: bool
) -> None:
    pixels = scene()
    height, width, _ = pixels.shape
    range_ = "full" if full_range else "limited"
    command = ["ffmpeg", "-v", "error", "-f", "image2pipe", "-c:v", "ppm", "-i", "-", "-vf"]
    command += [f"scale=out_color_matrix=bt601:out_range={range_}", "-pix_fmt", format, "-f", "rawvideo", "-"]
    data = subprocess.run(command, input=encoded(pixels, "PPM"), capture_output=True, check=True).stdout
    found = pictures.unpack(Raw(data, height, width, layout, full_range=full_range)).astype(int)
    assert np.abs(found - pixels).mean() < 3
    assert np.abs(found[15, 20] - pixels[15, 20]).max() <= 6, "inside an area of one colour"


def test_a_raw_picture_that_is_too_short_or_of_no_known_layout_is_refused() -> None:
    for raw in (
        Raw(bytes(5), 2, 2),
        Raw(bytes(12), 2, 2, stride=5),
        Raw(bytes(100), 2, 2, "H264"),
        Raw(bytes(100), 2, 3, "YUYV"),
        Raw(bytes(100), 3, 2, "NV12"),
        Raw(b"", 0, 0),
    ):
        with pytest.raises(PictureError):
            pictures.unpack(raw)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_shown_as_its_photographer_held_the_camera(kind: str, orientation: int) -> None:
    upright = np.zeros((32, 32, 3), np.uint8)
    upright[:16, :16] = (250, 0, 0)
    upright[16:, 16:] = (0, 0, 250)
    upright[:16, 16:] = (0, 250, 0)
    undone = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.swapaxes(0, 1)}
    undone |= {6: np.rot90(upright), 7: upright.swapaxes(0, 1)[::-1, ::-1], 8: np.rot90(upright, -1)}
    exif, held = Image.Exif(), BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(undone[orientation])).save(held, kind, exif=exif)
    shown = pictures.decode(held.getvalue(), 32, 32, 3).astype(int)
    for row, column in ((5, 5), (5, 26), (26, 5), (26, 26)):
        assert np.abs(shown[row, column] - upright[row, column]).max() < 60


def test_a_motion_jpeg_without_its_own_tables_is_a_picture_too() -> None:
    """Webcams leave out the Huffman tables, which everybody knows."""
    whole = encoded(scene(), "JPEG")
    data, at = whole[:2], 2
    while whole[at + 1] != 0xDA:
        length = 2 + int.from_bytes(whole[at + 2 : at + 4], "big")
        data += b"" if whole[at + 1] == 0xC4 else whole[at : at + length]
        at += length
    assert len(data + whole[at:]) < len(whole) - 400
    np.testing.assert_array_equal(pictures.decode(data + whole[at:], 24, 24, 3), pictures.decode(whole, 24, 24, 3))
