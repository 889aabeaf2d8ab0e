"""The pool is made once, whole parts at a time, and goes on where it was interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.drift import album as albums
from benchmarks.drift import pool as pools
from benchmarks.drift.album import Album, AlbumError
from edge_actors.ports.interpreter import Interpreter


@pytest.fixture(scope="module")
def few() -> Album:
    """Some of the digits."""
    whole = albums.digits()
    kept = slice(0, 40)
    return replace(whole, labels=whole.labels[kept], parts=whole.parts[kept], held=whole.held[kept])


def test_every_part_has_a_row_for_every_picture_of_its_kind(few: Album, tmp_path: Path) -> None:
    pool = pools.fill(few, tmp_path, progress=False)
    assert all(pool.has(part) for part in pools.parts())
    assert pool.clean().shape == (pools.CLEAN_VIEWS, few.parts.count("stream"), 128)
    assert pool.ref().shape == (pools.REF_VIEWS, few.parts.count("ref"), 128)
    assert len(pool.corrupted("fog", 4)) == 2
    assert len(pool.corrupted("fog", 3)) == 1
    assert (pool.clean()[0] != pool.clean()[1]).any(axis=1).all()


def test_an_interrupted_pool_goes_on_with_the_same_numbers(few: Album, tmp_path: Path) -> None:
    whole = pools.fill(few, tmp_path / "whole", progress=False)
    pools.fill(few, tmp_path / "cut", progress=False)
    for part in ("clean-3", "jpeg-5"):
        (tmp_path / "cut" / f"{part}.npz").unlink()
    again = pools.fill(few, tmp_path / "cut", progress=False)
    assert (again["clean-3"] == whole["clean-3"]).all()
    assert (again["jpeg-5"] == whole["jpeg-5"]).all()


def test_a_pool_of_other_pictures_is_refused(few: Album, tmp_path: Path) -> None:
    pools.fill(few, tmp_path, progress=False)
    with pytest.raises(SystemExit, match="other pictures"):
        pools.fill(replace(few, mirror=True), tmp_path, progress=False)


def pictures(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40), (len(name), 0, 0)).save(path)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "digits.tflite"
    path.write_bytes(albums.digits().model)
    return path


def test_every_other_picture_of_a_folder_is_a_stream_picture(tmp_path: Path, model: Path) -> None:
    images = pictures(tmp_path, *(f"{label}/{n:02}.png" for label in "abc" for n in range(40)))
    album = albums.folder(images, model)
    assert album.classes == ["a", "b", "c"]
    assert album.parts.count("ref") == album.parts.count("stream") == 60
    assert album.pixels(0, Interpreter(album.model).input_shape).shape == (37, 37, 1)


def test_a_table_says_which_pictures_are_streamed(tmp_path: Path, model: Path) -> None:
    names = [(f"{label}{n}.png", label, "ref" if n < 20 else "stream") for label in "abc" for n in range(40)]
    images = pictures(tmp_path, *(name for name, _, _ in names))
    table = "\n".join(["file,class,part", *(",".join(row) for row in names), "none.png,a,spoilt"])
    (images / "labels.csv").write_text(table)
    album = albums.folder(images, model)
    assert [album.files[at].name for at in album.of("stream")] == [
        name for name, _, part in names if part == "stream"
    ]


def test_too_few_pictures_or_classes_are_a_sentence(tmp_path: Path, model: Path) -> None:
    with pytest.raises(AlbumError, match="fewer than three classes"):
        albums.folder(pictures(tmp_path / "one", "a/1.png", "b/2.png"), model)
    with pytest.raises(AlbumError, match="at least 20"):
        albums.folder(pictures(tmp_path / "two", "a/1.png", "b/2.png", "c/3.png"), model)
    with pytest.raises(AlbumError, match="not a folder"):
        albums.folder(tmp_path / "none", model)


def test_a_view_of_a_digit_fits_its_extractor(few: Album) -> None:
    size = Interpreter(few.model).input_shape
    seen = albums.view(few.pixels(0, size), size, few.mirror, np.random.default_rng(0))
    assert seen.shape == size
