"""Pictures become frames: in order, in the right size, and a camera in trouble says so and comes back."""

from __future__ import annotations

import io
import logging
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cbor2
import pytest
from PIL import Image

from broker import codec
from broker.messages import Frame, LogRecord
from edge_actors import pictures
from edge_actors.camera import Camera, Shape
from edge_actors.clock import MessageClock
from edge_actors.errors import CameraError
from edge_actors.ports.camera import Source, open_source
from edge_actors.ports.cameras.stream import Stream
from edge_actors.ports.cameras.video import Video
from edge_actors.runtime.door import Door, Doors
from tests.support import wait_until

SHAPE = Shape(height=8, width=6)
ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")


def fit(picture: bytes | pictures.Raw) -> bytes:
    return pictures.shown(picture, SHAPE.height, SHAPE.width, SHAPE.channels).tobytes()


def picture(red: int, size: tuple[int, int] = (6, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (red, 0, 0)).save(buffer, "png")
    return buffer.getvalue()


def folder_of(directory: Path, *reds: int) -> Path:
    directory.mkdir(exist_ok=True)
    for number, red in enumerate(reds):
        (directory / f"{number:03d}.png").write_bytes(picture(red))
    return directory


class Scene:
    """A camera with its doors, and a loop that takes frames when the test says so."""

    def __init__(self, source: Source, stopping: threading.Event, options: dict[str, object]) -> None:
        self.doors = Doors({Frame: Door(room=1, drop_oldest=True)})
        self.ended = threading.Event()
        self.camera = Camera(
            source,
            fit,
            SHAPE,
            doors=self.doors,
            clock=MessageClock(100.0),
            boot="0badcafe-000001",
            stopping=stopping,
            ended=self.ended.set,
            backoff_s=0.01,
            **options,  # type: ignore[arg-type]
        )

    def take(self) -> Frame:
        message = self.doors.take(10.0)
        assert isinstance(message, Frame)
        return message

    def reds(self, count: int) -> list[int]:
        return [self.take().pixels[0] for _ in range(count)]


@contextmanager
def watching(source: str | Callable[[threading.Event], Source], **options: object) -> Iterator[Scene]:
    stopping = threading.Event()
    made = open_source(source, 0.0, stopping) if isinstance(source, str) else source(stopping)
    scene = Scene(made, stopping, options)
    scene.camera.start()
    try:
        yield scene
    finally:
        scene.doors.close()
        scene.camera.stop()


def test_a_folder_is_played_by_name_over_and_over(tmp_path: Path) -> None:
    with watching(str(folder_of(tmp_path / "p", 10, 20, 30)), every=True) as scene:
        frames = [scene.take() for _ in range(7)]
    assert [frame.pixels[0] for frame in frames] == [10, 20, 30, 10, 20, 30, 10]
    assert [frame.frame for frame in frames] == [f"0badcafe-000001-{number}" for number in range(1, 8)]
    assert {(frame.height, frame.width, frame.channels, len(frame.pixels)) for frame in frames} == {(8, 6, 3, 144)}
    assert frames[0].at >= 100.0


def test_the_newest_picture_wins_and_dropped_ones_are_numbered_too(tmp_path: Path) -> None:
    with watching(str(folder_of(tmp_path / "p", *range(50)))) as scene:
        wait_until(lambda: scene.camera.frames > 20)
        assert int(scene.take().frame.rpartition("-")[2]) > 20
        assert scene.doors.turned_away()["Frame"] >= 20
    assert scene.camera.faults() == frozenset(), "a camera that was stopped is in no trouble"


def test_a_folder_of_one_picture_is_not_shown_faster_than_wanted(tmp_path: Path) -> None:
    with watching(str(folder_of(tmp_path / "p", 10)), every=True, fps=50.0) as scene:
        at = [scene.take().at for _ in range(10)]
    assert at[-1] - at[0] > 7.9 / 50, "one that is late may be made up for"


def test_a_finite_source_played_once_ends_after_its_last_frame_was_taken(tmp_path: Path) -> None:
    with watching(str(folder_of(tmp_path / "p", 1, 2, 3)), every=True, once=True) as scene:
        assert scene.reds(2) == [1, 2]
        wait_until(lambda: scene.camera.frames == 3)
        assert not scene.ended.is_set()
        assert scene.reds(1) == [3]
        assert scene.ended.wait(10)
        assert scene.camera.faults() == frozenset()


def test_what_is_not_a_picture_is_counted_said_once_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of(tmp_path / "p", 1, 2, 3)
    (folder / "0000.jpg").write_bytes(b"not a picture")
    (folder / "001.png").write_bytes(picture(9)[:40])
    (folder / "notes.txt").write_text("not even called a picture")
    with caplog.at_level(logging.WARNING), watching(str(folder), every=True, once=True) as scene:
        assert [scene.take().frame[-2:] for _ in range(2)] == ["-1", "-2"]
        assert scene.ended.wait(10)
        assert scene.camera.metrics() == {
            "camera_frames": 2.0,
            "camera_unreadable": 2.0,
            "camera_stale": 0.0,
            "camera_restarts": 0.0,
        }
    assert len([record for record in caplog.records if "skipped" in record.message]) == 1


@pytest.mark.parametrize(("spec", "reason"), [("nowhere", "no such folder or file"), (".", "no picture in it")])
def test_a_source_that_cannot_be_used_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CameraError, match=reason):
        open_source(spec, 0.0, threading.Event())


def test_a_folder_that_goes_away_is_a_stalled_camera_until_it_is_back(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "p", 1)
    with watching(str(folder), every=True) as scene:
        scene.take()
        shutil.rmtree(folder)
        wait_until(lambda: (scene.doors.take(0.0), scene.camera.faults())[1] == {"camera_stalled"})
        folder_of(folder, 7)
        wait_until(lambda: scene.take().pixels[0] == 7)
        assert scene.camera.faults() == frozenset()


# ---- a stream --------------------------------------------------------------------------------------------------


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    ends = [reading, writing]
    try:
        yield reading, writing
    finally:
        for end in ends:
            os.close(end)


def test_a_stream_carries_encoded_pictures_and_frames_and_skips_what_is_neither() -> None:
    raw = Frame(pixels=bytes([77]) * 144, height=8, width=6)
    larger = Frame(pixels=bytes([88]) * 16 * 12 * 3, height=16, width=12)
    gray = Frame(pixels=bytes([99]) * 8 * 6, height=8, width=6, channels=1)
    wrong = Frame(pixels=b"x", height=8, width=6)
    items = [cbor2.dumps(picture(11)), cbor2.dumps(b"not a picture"), codec.encode(raw), codec.encode(LogRecord())]
    items += [codec.encode(larger), cbor2.dumps("text"), codec.encode(wrong), codec.encode(gray)]
    with pipe() as (reading, writing), watching(lambda stop: Stream(reading, stop), every=True) as scene:
        for byte in b"".join(items):
            os.write(writing, bytes([byte]))  # in the smallest pieces a pipe may give
        assert scene.reds(4) == [11, 77, 88, 99]
        assert scene.camera.unreadable == 4
        assert scene.camera.faults() == frozenset()


def test_a_stream_that_says_nothing_is_a_stalled_camera_until_it_speaks() -> None:
    with (
        pipe() as (reading, writing),
        watching(lambda stop: Stream(reading, stop), every=True, stalled_s=0.05) as scene,
    ):
        wait_until(lambda: scene.camera.faults() == {"camera_stalled"})
        os.write(writing, cbor2.dumps(picture(5)) * 2)
        assert scene.reds(1) == [5]
        wait_until(lambda: scene.camera.frames == 2)


def test_a_loop_that_takes_nothing_is_not_a_stalled_camera() -> None:
    with (
        pipe() as (reading, writing),
        watching(lambda stop: Stream(reading, stop), every=True, stalled_s=0.05) as scene,
    ):
        os.write(writing, cbor2.dumps(picture(5)) * 3)
        wait_until(lambda: scene.camera.frames == 1)
        threading.Event().wait(0.1)  # longer than a stall, in which the camera waits for the loop
        assert scene.camera.faults() == frozenset()


def test_a_stream_that_is_not_cbor_is_a_stalled_camera(caplog: pytest.LogCaptureFixture) -> None:
    with pipe() as (reading, writing), watching(lambda stop: Stream(reading, stop)) as scene:
        os.write(writing, b"\xff\xff\xff")
        wait_until(lambda: scene.camera.faults() == {"camera_stalled"})
        assert "not CBOR of this contract" in caplog.text


# ---- a video ---------------------------------------------------------------------------------------------------


@ffmpeg
def test_a_video_is_sampled_and_played_once(tmp_path: Path) -> None:
    video = tmp_path / "red.avi"
    make = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=red:size=64x48:rate=10:duration=2"]
    subprocess.run([*make, "-c:v", "mjpeg", str(video)], check=True)
    with watching(lambda stop: Video(str(video), 5.0, stop), every=True, once=True) as scene:
        frames = [scene.take() for _ in range(10)]
        assert scene.ended.wait(10)
    assert {len(frame.pixels) for frame in frames} == {144}
    red, green, blue = frames[0].pixels[:3]
    assert (red > 240, green < 20, blue < 20) == (True, True, True)


@ffmpeg
def test_a_file_that_is_no_video_is_a_stalled_camera(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "not.mp4").write_text("not a video")
    with watching(str(tmp_path / "not.mp4")) as scene:
        wait_until(lambda: scene.camera.faults() == {"camera_stalled"})
        assert "ffmpeg ended with status" in caplog.text


def test_a_video_without_ffmpeg_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CameraError, match="needs the program ffmpeg"):
        open_source(str(tmp_path / "a.mp4"), 0.0, threading.Event())
