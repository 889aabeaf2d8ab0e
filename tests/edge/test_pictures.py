"""Whatever the file, the extractor gets the middle of it, in its size and colours."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_actors import pictures
from edge_actors.errors import PictureError


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
