"""A camera on the network, for real: GStreamer's RTSP server gives H.264, the device takes it through ffmpeg."""

from __future__ import annotations

import logging
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from broker.messages import Frame
from edge_actors import pictures
from edge_actors.camera import Camera, Shape
from edge_actors.clock import MessageClock
from edge_actors.ports.camera import without_password
from edge_actors.ports.cameras.video import Video
from edge_actors.runtime.door import Door, Doors
from tests.support import wait_until

SERVER = Path(__file__).with_name("rtsp_server.py")
PYTHON = "/usr/bin/python3"  # GObject introspection comes with the distribution, for its own interpreter
NEEDS = "import gi; gi.require_version('GstRtspServer', '1.0'); gi.require_version('Gst', '1.0')"
SIDE = 48


@pytest.fixture(scope="module", autouse=True)
def gstreamer() -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("there is no ffmpeg on this machine")
    if (
        not Path(PYTHON).exists()
        or subprocess.run([PYTHON, "-c", NEEDS], capture_output=True, check=False).returncode
    ):
        pytest.skip("there is no RTSP server of GStreamer on this machine (gir1.2-gst-rtsp-server-1.0, python3-gi)")


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(port: int, password: str = "") -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([PYTHON, str(SERVER), str(port), password], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "listening\n"
            yield server
        finally:
            server.send_signal(signal.SIGCONT)
            server.kill()


@contextmanager
def watching(url: str, silence_s: float = 10.0) -> Iterator[Camera]:
    stopping, doors = threading.Event(), Doors({Frame: Door(room=1, drop_oldest=True)})
    camera = Camera(
        Video(url, 0.0, stopping, silence_s),
        lambda picture: pictures.shown(picture, SIDE, SIDE, 3).tobytes(),
        Shape(SIDE, SIDE),
        doors=doors,
        clock=MessageClock(),
        boot="0badcafe-000001",
        stopping=stopping,
        backoff_s=0.1,
    )
    camera.start()
    try:
        yield camera
    finally:
        doors.close()
        camera.stop()


def newest(camera: Camera) -> Frame:
    message = camera.doors.take(20.0)
    assert isinstance(message, Frame)
    return message


def test_pictures_of_a_network_camera_have_the_right_colours(port: int) -> None:
    with serving(port), watching(f"rtsp://127.0.0.1:{port}/live") as camera:
        wait_until(lambda: camera.frames >= 5, 30)
        pixels = np.frombuffer(newest(camera).pixels, np.uint8).reshape(SIDE, SIDE, 3)
        shown = {
            name: (pixels[10, column] > 128).tolist() for name, column in (("yellow", 2), ("green", 26), ("red", 42))
        }
        assert shown == {"yellow": [True, True, False], "green": [False, True, False], "red": [True, False, False]}


@pytest.mark.slow
def test_a_camera_that_goes_away_is_stalled_and_found_again_when_it_is_back(port: int) -> None:
    url = f"rtsp://127.0.0.1:{port}/live"
    with watching(url, silence_s=4.0) as camera:
        wait_until(lambda: camera.faults() == {"camera_stalled"})
        with serving(port):
            wait_until(lambda: camera.frames >= 3 and not camera.faults(), 30)
        wait_until(lambda: camera.faults() == {"camera_stalled"}, 30)
        before = camera.frames
        with serving(port):
            wait_until(lambda: camera.frames > before + 3 and not camera.faults(), 30)


@pytest.mark.slow
def test_a_camera_that_says_nothing_any_more_is_asked_anew(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING),
        serving(port) as server,
        watching(f"rtsp://127.0.0.1:{port}/live", silence_s=4.0) as camera,
    ):
        wait_until(lambda: camera.frames >= 3, 30)
        server.send_signal(signal.SIGSTOP)  # the connection stays open
        wait_until(lambda: camera.faults() == {"camera_stalled"}, 30)
        assert "no picture came for 4 s" in caplog.text
        server.send_signal(signal.SIGCONT)
        before = camera.frames
        wait_until(lambda: camera.frames > before + 3 and not camera.faults(), 30)


def test_a_password_opens_the_camera_and_stands_in_no_message(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), serving(port, password="s3cret"):
        with watching(f"rtsp://camera:s3cret@127.0.0.1:{port}/live") as camera:
            wait_until(lambda: camera.frames >= 2, 30)
        with watching(f"rtsp://camera:wr0ng@127.0.0.1:{port}/live") as camera:
            wait_until(lambda: camera.faults() == {"camera_stalled"}, 30)
    assert "401" in caplog.text
    assert f"rtsp://...@127.0.0.1:{port}/live" in caplog.text
    assert "wr0ng" not in caplog.text
    assert without_password("rtsp://u:p@x/@home") == "rtsp://...@x/@home"
