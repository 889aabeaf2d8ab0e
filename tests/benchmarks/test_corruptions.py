"""Corruptions are what they are called, and worse at each severity."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.drift.album import view
from benchmarks.drift.corruptions import KINDS, SEVERITIES, corrupt
from edge_actors.pictures import Pixels


def scene(side: int = 96, channels: int = 3) -> Pixels:
    """Soft blobs and hard edges."""
    rng = np.random.default_rng(3)
    down, right = np.mgrid[0:side, 0:side] / side
    soft = np.stack([np.sin((4 + c) * down) * np.cos((3 + c) * right) for c in range(channels)], axis=2)
    pixels = (127 + 90 * soft + rng.normal(0, 3, (side, side, channels))).clip(0, 255)
    pixels[side // 4 : side // 2, side // 4 : side // 2] = 230
    return pixels.astype(np.uint8)


def detail(pixels: Pixels) -> float:
    return float(np.abs(np.diff(pixels.astype(float), axis=1)).mean())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_each_severity_is_farther_from_the_picture_than_the_one_before(kind: str, channels: int) -> None:
    pixels = scene(channels=channels)
    far = []
    for severity in SEVERITIES:
        worse = [corrupt(pixels, kind, severity, np.random.default_rng(seed)) for seed in range(4)]
        assert all(one.shape == pixels.shape and one.dtype == np.uint8 for one in worse)
        far.append(np.mean([np.abs(one.astype(float) - pixels).mean() for one in worse]))
    # Fog of a higher severity may be thinner and rougher instead; it hides more all the same.
    assert far[0] > 0.3
    assert far == sorted(far) or kind == "fog"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_chance_gives_the_same_corruption(kind: str) -> None:
    pixels = scene()
    first, second = (corrupt(pixels, kind, 3, np.random.default_rng(5)) for _ in range(2))
    assert (first == second).all()


def test_blurs_take_detail_away_and_noise_adds_some() -> None:
    pixels, rng = scene(), np.random.default_rng(0)
    assert detail(corrupt(pixels, "defocus", 4, rng)) < 0.5 * detail(pixels)
    assert detail(corrupt(pixels, "motion-blur", 4, rng)) < 0.8 * detail(pixels)
    assert detail(corrupt(pixels, "noise", 4, rng)) > 3 * detail(pixels)


def test_a_defocused_point_is_a_disk_where_the_point_was() -> None:
    point = np.zeros((224, 224, 1), np.uint8)
    point[100, 60] = 255
    pixels = corrupt(
        np.repeat(np.repeat(point[90:110, 50:70], 12, 0), 12, 1)[:224, :224], "defocus", 5, np.random.default_rng()
    )
    down, right = (np.flatnonzero(pixels.sum(axis=(axis, 2))) for axis in (1, 0))
    assert down.mean() == pytest.approx(120 + 5.5, abs=0.6)
    assert right.mean() == pytest.approx(120 + 5.5, abs=0.6)
    assert np.ptp(down) == pytest.approx(12 + 20, abs=4)


def test_contrast_keeps_the_mean_and_brightness_lifts_it() -> None:
    pixels, rng = scene(), np.random.default_rng(0)
    flat = corrupt(pixels, "contrast", 5, rng).astype(float)
    assert flat.mean() == pytest.approx(pixels.mean(), abs=1.5)
    assert flat.std() < 0.1 * pixels.std()
    assert corrupt(pixels, "brightness", 3, rng).mean() > pixels.mean() + 40


def test_a_view_is_a_crop_in_slightly_other_light() -> None:
    pixels = scene(64)
    views = [view(pixels, (56, 56, 3), True, np.random.default_rng(seed)) for seed in range(20)]
    assert all(one.shape == (56, 56, 3) for one in views)
    assert len({one.tobytes() for one in views}) == 20
    assert all(0.8 < one.mean() / pixels.mean() < 1.2 for one in views)


def test_a_view_is_mirrored_only_where_that_shows_the_same_thing() -> None:
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8)[np.newaxis, :, np.newaxis], (60, 1, 1))
    turned = [bool(view(ramp, (52, 52, 1), True, np.random.default_rng(s))[0, 0, 0] > 100) for s in range(40)]
    kept = [bool(view(ramp, (52, 52, 1), False, np.random.default_rng(s))[0, 0, 0] > 100) for s in range(40)]
    assert 8 < sum(turned) < 32
    assert not any(kept)
