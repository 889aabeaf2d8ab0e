"""Cameras of Video4Linux2: on the kernel's own test driver (vivid) and on a loopback where a machine has them.

`modprobe vivid` makes such a camera on most kernels; docs/cameras.md says how these were run.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from broker.messages import Frame
from edge_actors import pictures
from edge_actors.camera import Camera, Shape
from edge_actors.clock import MessageClock
from edge_actors.errors import CameraError
from edge_actors.pictures import Pixels, Raw
from edge_actors.ports.camera import open_source
from edge_actors.ports.cameras import v4l2, v4l2_structs
from edge_actors.ports.cameras.shot import Shot
from edge_actors.runtime.door import Door, Doors
from tests.support import wait_until

UNPLUG = 0x00F0F000 + 65  # a control of vivid: the camera is gone until everybody has let go of it
S_CTRL = 0xC008561C
SIZE = (640, 480)


@pytest.fixture
def vivid() -> str:
    found = [seen.path for seen in v4l2.cameras() if seen.name == "vivid"]
    if not found:
        pytest.skip("there is no vivid camera on this machine (modprobe vivid)")
    return found[0]


@pytest.fixture
def loopback() -> Iterator[str]:
    """A camera that gives motion jpegs, as ffmpeg makes them."""
    found = [path for path in Path("/sys/class/video4linux").glob("*/name") if path.read_text().strip() == "loop"]
    if not found or shutil.which("ffmpeg") is None:
        pytest.skip("there is no v4l2loopback device named loop on this machine, or no ffmpeg to feed it")
    device = f"/dev/{found[0].parent.name}"
    picture = ["-re", "-f", "lavfi", "-i", "smptebars=size=640x480:rate=10", "-pix_fmt", "yuvj422p"]
    command = ["ffmpeg", "-v", "error", *picture, "-c:v", "mjpeg", "-q:v", "2", "-f", "v4l2", device]
    with subprocess.Popen(command) as feeder:
        try:
            wait_until(lambda: any(seen.path == device for seen in v4l2.cameras()), 30)
            yield device
        finally:
            feeder.kill()


def shots(spec: str, count: int, fps: float = 0.0) -> list[Shot]:
    source = open_source(spec, fps, threading.Event())
    pictures_ = source.pictures()
    try:
        return list(islice(pictures_, count))
    finally:
        pictures_.close()  # type: ignore[attr-defined]


def whole(shot: Shot) -> Pixels:
    assert isinstance(shot.picture, bytes | Raw)
    return pictures.shown(shot.picture, SIZE[1], SIZE[0], 3)


# ---- anywhere ----------------------------------------------------------------------------------------------------


def test_structures_and_calls_are_those_of_the_kernel() -> None:
    if struct.calcsize("l") != 8:
        pytest.skip("the numbers are those of a 64-bit kernel")
    found = {name: getattr(v4l2_structs, name) for name in ("QUERYCAP", "S_FMT", "QUERYBUF", "DQBUF", "S_PARM")}
    # As a C program prints them that includes linux/videodev2.h.
    assert found == {
        "QUERYCAP": 0x80685600,
        "S_FMT": 0xC0D05605,
        "QUERYBUF": 0xC0585609,
        "DQBUF": 0xC0585611,
        "S_PARM": 0xC0CC5616,
    }


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("/dev/video97", "no such camera; `tinyml edge cameras`"),
        ("v4l2:97", "no such camera; `tinyml edge cameras`"),
        ("v4l2:/dev/null", "it is no camera"),
    ],
)
def test_a_camera_that_is_not_there_is_named_when_it_is_wanted(spec: str, reason: str) -> None:
    with pytest.raises(CameraError, match=reason):
        shots(spec, 1)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("/dev/video0?size=big", "a size is like 640x480"),
        ("/dev/video0?colour=red", "no option 'colour'; there are size, format"),
        ("v4l2:0?format=h264", "H264 cannot be read; formats are MJPG"),
        ("picamera2:one", "is a number"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_at_once(spec: str, reason: str) -> None:
    with pytest.raises(CameraError, match=reason):
        open_source(spec, 0.0, threading.Event())


# ---- a camera of the kernel's own ----------------------------------------------------------------------------------


def test_every_format_shows_the_same_colours(vivid: str) -> None:
    (seen,) = [seen for seen in v4l2.cameras() if seen.path == vivid]
    assert {"YUYV", "RGB3", "BGR3", "GREY"} <= set(seen.formats)
    assert "640x480" in seen.sizes
    reference = whole(shots(f"{vivid}?format=RGB3", 2)[-1]).astype(int)
    assert np.abs(reference - reference.mean(axis=(0, 1))).mean() > 40, "these are no colour bars"
    for format in set(seen.formats) - {"RGB3", "GREY"}:
        shown = whole(shots(f"{vivid}?format={format}", 2)[-1]).astype(int)
        assert np.abs(shown - reference).mean() < 4, f"{format} has other colours"
    grey = whole(shots(f"{vivid}?format=GREY", 2)[-1]).astype(int)
    assert (grey[..., 0] == grey[..., 1]).all()


def test_pictures_have_the_wanted_size_and_are_fresh(vivid: str) -> None:
    found = shots(f"v4l2:{vivid}?size=320x180&format=YUYV", 5)
    assert {(shot.picture.width, shot.picture.height) for shot in found if isinstance(shot.picture, Raw)} == {
        (320, 180)
    }
    taken = [shot.taken for shot in found]
    assert taken == sorted(set(taken))
    assert abs(time.monotonic() - taken[-1]) < 5  # vivid is a little ahead of its time


def test_as_many_pictures_come_as_are_wanted(vivid: str) -> None:
    taken = [shot.taken for shot in shots(f"{vivid}?size=320x180", 8, fps=4.0)]
    assert 0.15 < float(np.median(np.diff(taken))) < 0.45


def test_a_camera_that_somebody_else_uses_says_so(vivid: str) -> None:
    stop = threading.Event()
    mine = open_source(f"{vivid}?size=320x180", 0.0, stop).pictures()
    next(mine)
    with pytest.raises(CameraError, match=f"another program uses it; `fuser -v {vivid}`"):
        shots(vivid, 1)
    mine.close()  # type: ignore[attr-defined]
    assert len(shots(f"{vivid}?size=320x180", 1)) == 1, "it was not let go of"


def test_a_camera_that_is_unplugged_is_stalled_until_it_is_back(vivid: str) -> None:
    stopping, doors = threading.Event(), Doors({Frame: Door(room=1, drop_oldest=True)})
    camera = Camera(
        open_source(f"{vivid}?size=320x180&format=YUYV", 0.0, stopping),
        lambda picture: pictures.shown(picture, 24, 24, 3).tobytes(),
        Shape(24, 24),
        doors=doors,
        clock=MessageClock(),
        boot="0badcafe-000001",
        stopping=stopping,
        backoff_s=0.5,
        stale_s=10.0,
    )
    camera.start()
    try:
        wait_until(lambda: camera.frames > 2, 30)
        assert camera.faults() == frozenset()
        device = os.open(vivid, os.O_RDWR)
        fcntl.ioctl(device, S_CTRL, struct.pack("Ii", UNPLUG, 1))
        os.close(device)
        wait_until(lambda: camera.restarts > 0, 30)
        before = camera.frames
        wait_until(lambda: camera.frames > before + 2 and not camera.faults(), 30)
    finally:
        doors.close()
        camera.stop()


# ---- motion jpeg ---------------------------------------------------------------------------------------------------


def test_a_camera_with_motion_jpegs_is_asked_for_them(loopback: str) -> None:
    shot = shots(loopback, 2)[-1]
    assert isinstance(shot.picture, bytes)
    assert shot.picture[:2] == b"\xff\xd8"
    shown = whole(shot)
    red, green, blue = shown[100, SIZE[0] * 11 // 14].tolist()  # the sixth of seven bars
    assert (red > 150, green < 60, blue < 60) == (True, True, True)
