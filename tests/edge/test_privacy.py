"""No more of a picture or of a place leaves the device than people allow, whatever fails."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from broker.errors import SettingsError
from broker.messages import Frame
from edge_actors.location import KM_PER_DEGREE, told_place
from edge_actors.pictures import Pixels
from edge_actors.privacy import Picture, Redact, Showing, hook
from edge_actors.settings import EdgeSettings

ABOUT = {"frame": "b-1-7", "label": "cat"}


def frame(channels: int = 3, side: int = 120) -> Frame:
    pixels = np.full((side, side, channels), 200, np.uint8)
    return Frame(frame="b-1-7", pixels=pixels.tobytes(), height=side, width=side, channels=channels)


def seen(picture: Picture) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(picture.data)).convert("RGB"), np.uint8)


def black(pixels: Pixels, _: Mapping[str, Any]) -> Pixels:
    pixels[:] = 0
    return pixels


@pytest.mark.parametrize("level", ["thumbnail", "picture"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_leaves_is_what_the_hook_gave(level: str, channels: int) -> None:
    told: list[Mapping[str, Any]] = []

    def hooked(pixels: Pixels, about: Mapping[str, Any]) -> Pixels:
        told.append(about)
        assert pixels.shape == (120, 120, 3)
        assert (pixels == 200).all()
        return black(pixels, about)

    shown = Showing(level, hooked)
    raw = frame(channels)
    assert seen(shown.of(raw, ABOUT)).max() < 8
    assert told == [ABOUT]
    assert raw == frame(channels), "the frame that the device works with is not the hook's to change"
    assert shown.faults() == frozenset()


def test_a_hook_may_cut_or_refuse() -> None:
    cut = Showing("picture", lambda pixels, about: pixels[:20, :30]).of(frame(), ABOUT)
    assert (cut.height, cut.width, seen(cut).shape) == (20, 30, (20, 30, 3))
    refused = Showing("picture", lambda pixels, about: None)
    assert refused.of(frame(), ABOUT) == Picture()
    assert refused.faults() == frozenset()


def test_nothing_is_asked_of_the_hook_where_nothing_leaves() -> None:
    def never(pixels: Pixels, about: Mapping[str, Any]) -> Pixels:
        raise AssertionError

    shown = Showing("features", never)
    assert shown.of(frame(), ABOUT) == Picture()
    assert shown.failures == 0


def fails(pixels: Pixels, about: Mapping[str, Any]) -> Pixels:
    raise ValueError("no face found")


@pytest.mark.parametrize(
    "hooked",
    [
        fails,
        lambda pixels, about: pixels / 2,
        lambda pixels, about: pixels[:, :, 0],
        lambda pixels, about: pixels[:0],
        lambda pixels, about: b"pixels",
        lambda pixels, about: about["no such thing"],
    ],
)
def test_a_hook_that_fails_sends_no_picture_and_is_named_once(
    hooked: Redact, caplog: pytest.LogCaptureFixture
) -> None:
    shown = Showing("picture", hooked)
    for _ in range(3):
        assert shown.of(frame(), ABOUT) == Picture()
    assert shown.faults() == {"redaction_failing"}
    assert len(caplog.records) == 1
    assert "the redaction hook failed" in caplog.text


def test_the_hook_is_imported_at_the_start_or_the_device_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "our_hooks.py").write_text("def blur(pixels, about):\n    return pixels\nnumber = 7\n")
    (tmp_path / "broken_hooks.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "our_hooks", raising=False)
    assert hook("") is None
    blur = hook("our_hooks:blur")
    assert blur is not None
    assert blur.__module__ == "our_hooks"
    for text, sentence in {
        "our_hooks": "has to be module:function",
        "our_hooks:number": "no such function",
        "our_hooks:smear": "no such function",
        "nowhere_hooks:blur": "No module named",
        "broken_hooks:blur": "ZeroDivisionError",
    }.items():
        with pytest.raises(SettingsError, match=sentence):
            hook(text)


# ---- the place -------------------------------------------------------------------------------------------------


def test_coordinates_are_moved_to_the_middle_of_a_field() -> None:
    assert told_place("52.51627,13.37770", 1.0) == told_place(" +52.5163; 13.3771 ", 1.0) == "52.520,13.383"
    assert told_place("52.51627,13.37770", 0.0) == "52.51627,13.37770"
    assert told_place("-33.8568,151.2153", 100.0) == told_place("-33.9,151.4", 100.0)


@pytest.mark.parametrize("text", ["", "hall 2, line 4", "door 7,5 north", "1,2,3", "91,5", "5,181", "nan,nan"])
def test_other_text_stays_text(text: str) -> None:
    assert told_place(text, 1.0) == text


@given(st.floats(-90, 90), st.floats(-180, 180), st.sampled_from([0.05, 1.0, 10.0, 500.0, 50_000.0]))
def test_a_place_is_told_as_exactly_as_people_want_and_no_more(latitude: float, longitude: float, km: float) -> None:
    told = told_place(f"{latitude:.6f},{longitude:.6f}", km)
    north, east = map(float, told.split(","))
    assert -90 <= north <= 90
    assert -180 <= east <= 180
    step = km / KM_PER_DEGREE
    assert abs(north - latitude) <= step  # half a field, and the rounding of what is told
    digits = max(len(part.partition(".")[2]) for part in told.split(","))
    assert 10.0**-digits * 10 > step or digits == 0, "no more digits than the field is wide"


def test_nothing_that_tells_the_settings_tells_the_exact_place() -> None:
    settings = EdgeSettings(bundle=Path("b"), device="d", camera="-", location="52.51627,13.37770")
    assert settings.told_location == "52.520,13.383"
    assert "52.516" not in settings.as_text()
