"""Kinds of cameras beside folders, streams and videos: journals and picamera2; and pictures that come too late."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from broker import codec
from broker.journal import Journal, Opening
from broker.messages import Embedded, Float32Array, Frame, Tick
from edge_actors import cameras_cli, pictures
from edge_actors.camera import STALE_IN_A_ROW, Camera, Shape
from edge_actors.clock import MessageClock
from edge_actors.errors import CameraError
from edge_actors.ports.camera import Source, open_source
from edge_actors.ports.cameras.shot import Pace, Shot
from edge_actors.runtime.door import Door, Doors
from tests.support import wait_until

SMALL = Shape(4, 4)
RED, GREEN = bytes([200, 0, 0]) * 16, bytes([0, 200, 0]) * 16


def played(spec: str, shape: Shape | None = SMALL, **options: Any) -> list[Frame | Embedded]:
    """What a device with this camera lets in, once through."""
    stopping = threading.Event()
    return shown(open_source(spec, 0.0, stopping), stopping, shape, **options)


def shown(source: Source, stopping: threading.Event, shape: Shape | None, **options: Any) -> list[Frame | Embedded]:
    doors, ended = Doors({Frame: Door(room=1), Embedded: Door(room=1)}), threading.Event()
    camera = camera_of(source, stopping, shape, doors, every=True, once=True, ended=ended.set, **options)
    camera.start()
    found: list[Frame | Embedded] = []
    while not ended.is_set():
        if isinstance(message := doors.take(0.05), Frame | Embedded):
            found.append(message)
    camera.stop()
    return found


def camera_of(source: Source, stopping: threading.Event, shape: Shape | None, doors: Doors, **options: Any) -> Camera:
    return Camera(
        source,
        lambda picture: pictures.shown(picture, 4, 4, 3).tobytes(),
        shape,
        doors=doors,
        clock=MessageClock(),
        boot="0badcafe-000002",
        stopping=stopping,
        backoff_s=0.01,
        **options,
    )


# ---- journals ----------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "journal", 1 << 20)
    journal.begin(Opening(device="one", states={"knn": {"memory": bytes(5000)}}))
    journal.append(codec.encode(Tick(at=1.0)))
    journal.append(codec.encode(Frame(at=2.0, frame="old-1", pixels=RED, height=4, width=4)))
    journal.append(codec.encode(Embedded(at=3.0, frame="old-2", values=Float32Array.of([1, 2]))))
    journal.begin(Opening(device="one"))
    journal.append(codec.encode(Frame(at=4.0, frame="old-3", pixels=GREEN, height=4, width=4)))
    journal.close()
    return tmp_path / "journal"


def test_the_frames_of_a_journal_are_played_as_new_ones(recorded: Path) -> None:
    for spec in (f"journal:{recorded}", str(recorded)):
        first, second, third = played(spec)
        assert isinstance(first, Frame)
        assert isinstance(second, Embedded)
        assert isinstance(third, Frame)
        assert (first.pixels, second.values, third.pixels) == (RED, Float32Array.of([1, 2]), GREEN)
        assert [one.frame for one in (first, second, third)] == [f"0badcafe-000002-{n}" for n in (1, 2, 3)]


def test_one_file_of_a_journal_is_played_up_to_where_the_power_was_cut(recorded: Path) -> None:
    first, last = sorted(recorded.iterdir())
    assert len(played(str(last))) == 1
    first.write_bytes(first.read_bytes()[:-10])
    assert len(played(f"journal:{first}")) == 1
    assert len(played(f"journal:{recorded}")) == 2


def test_a_journal_that_is_none_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="holds no journal"):
        open_source(f"journal:{tmp_path}", 0.0, threading.Event())


def test_a_device_without_a_model_takes_only_features(recorded: Path) -> None:
    (only,) = played(str(recorded), shape=None)
    assert isinstance(only, Embedded)


# ---- pictures that come too late ---------------------------------------------------------------------------------


class Late:
    """A camera that gives its pictures `age` seconds after it took them."""

    paced = True

    def __init__(self, age: list[float]) -> None:
        self.age, self.rounds = age, 0

    def pictures(self) -> Iterator[Shot]:
        self.rounds += 1
        for age in self.age:
            yield Shot(Frame(pixels=RED, height=4, width=4), time.monotonic() - age)


def test_a_picture_that_is_too_old_is_dropped_and_counted() -> None:
    stopping, doors = threading.Event(), Doors({Frame: Door(room=99)})
    camera = camera_of(Late([0.0, 5.0, 0.0, 1.0]), stopping, SMALL, doors, once=True)
    camera.start()
    wait_until(lambda: camera.frames == 3)
    assert camera.metrics()["camera_stale"] == 1
    doors.close()
    camera.stop()
    assert len(shown(Late([0.0, 5.0, 0.0]), threading.Event(), SMALL, stale_s=0.0)) == 3, "0 lets all through"


def test_a_camera_that_gives_only_old_pictures_is_opened_anew() -> None:
    stopping, doors, late = threading.Event(), Doors({Frame: Door(room=1, drop_oldest=True)}), Late([60.0] * 1000)
    camera = camera_of(late, stopping, SMALL, doors)
    camera.start()
    wait_until(lambda: late.rounds >= 3)
    assert camera.stale >= 2 * STALE_IN_A_ROW
    assert (camera.frames, camera.faults()) == (0, {"camera_stalled"})
    late.age = [0.0] * 1000
    wait_until(lambda: camera.frames > 0 and not camera.faults())
    doors.close()
    camera.stop()


def test_as_many_pictures_of_a_live_camera_are_taken_as_are_wanted() -> None:
    jitter = np.random.default_rng(0).normal(0, 0.004, 3000)
    times = np.arange(3000) / 30 + jitter
    for fps, wanted in ((0.0, 3000), (5.0, 500), (12.0, 1200), (30.0, 3000), (60.0, 3000)):
        pace = Pace(fps)
        assert sum(pace.takes(at) for at in times) == pytest.approx(wanted, rel=0.02)
    pace = Pace(5.0)
    assert [pace.takes(at) for at in (0.0, 100.0, 100.01, 100.02)] == [True, True, False, False], "it catches up"


# ---- picamera2 -----------------------------------------------------------------------------------------------------


class Request:
    """A picture of 4 x 4 in a buffer with longer lines."""

    def __init__(self, camera: FakePicamera2) -> None:
        self.camera = camera

    def get_metadata(self) -> dict[str, Any]:
        return {"SensorTimestamp": time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 50_000_000}

    def make_buffer(self, name: str) -> Any:
        assert name == "main"
        return np.frombuffer(b"".join(RED[:12] + bytes(20) for _ in range(4)), np.uint8)

    def release(self) -> None:
        self.camera.held -= 1


class FakePicamera2:
    """Speaks as picamera2 0.3 does; the real one needs a Raspberry Pi or a kernel with its media drivers."""

    cameras, silent, log = 1, False, list[str]()
    grants = "BGR888"
    camera_controls: ClassVar = {"FrameDurationLimits": (33333, 120000, None)}

    def __init__(self, number: int) -> None:
        self.held = 0
        self.log.append(f"open {number}")

    @classmethod
    def global_camera_info(cls) -> list[dict[str, Any]]:
        return [{"Model": "imx708", "Id": "/base/soc/i2c0mux/i2c@1/imx708@1a", "Num": n} for n in range(cls.cameras)]

    def create_video_configuration(self, main: dict[str, Any], **rest: Any) -> dict[str, Any]:
        return {"main": main, **rest}

    def configure(self, configuration: dict[str, Any]) -> None:
        self.configuration = configuration | {"main": {"size": (4, 4), "stride": 32, "format": self.grants}}
        self.log.append(f"{configuration['main']['format']} {configuration.get('controls')}")

    def camera_configuration(self) -> dict[str, Any]:
        return self.configuration

    def start(self) -> None:
        self.log.append("start")

    def capture_request(self, wait: bool) -> Any:
        assert wait is False
        assert self.held < 2, "requests are not given back"
        job: Any = Future[Request]()
        job.get_result = job.result
        if not self.silent:
            self.held += 1
            job.set_result(Request(self))
        return job

    def close(self) -> None:
        self.log.append("close")


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> type[FakePicamera2]:
    module: Any = ModuleType("picamera2")
    module.Picamera2 = type("Picamera2", (FakePicamera2,), {"log": []})
    monkeypatch.setitem(sys.modules, "picamera2", module)
    kind: type[FakePicamera2] = module.Picamera2
    return kind


@pytest.mark.parametrize("spec", ["picamera2", "libcamera:0", "picamera2:0?size=640x480", "picamera2?size=640x480"])
def test_pictures_of_picamera2_have_their_colours_and_their_time(spec: str, picamera2: type[FakePicamera2]) -> None:
    source = open_source(spec, 5.0, threading.Event()).pictures()
    shot = next(source)
    assert isinstance(shot.picture, pictures.Raw)
    assert pictures.unpack(shot.picture).tobytes() == RED
    assert 0.04 < time.monotonic() - shot.taken < 5
    source.close()  # type: ignore[attr-defined]
    assert picamera2.log == ["open 0", "BGR888 {'FrameDurationLimits': (200000, 200000)}", "start", "close"]


def test_a_camera_without_a_pace_of_its_own_is_asked_for_none(picamera2: type[FakePicamera2]) -> None:
    picamera2.camera_controls = {}
    next(open_source("picamera2", 5.0, threading.Event()).pictures())
    assert picamera2.log[1] == "BGR888 {}"


def test_what_libcamera_makes_of_the_wishes_counts(picamera2: type[FakePicamera2]) -> None:
    picamera2.grants = "RGB888"
    shot = next(open_source("picamera2", 5.0, threading.Event()).pictures())
    assert isinstance(shot.picture, pictures.Raw)
    assert pictures.unpack(shot.picture)[0, 0].tolist() == [0, 0, 200]
    picamera2.grants = "SRGGB10"
    with pytest.raises(CameraError, match="it gives SRGGB10, which cannot be read"):
        next(open_source("picamera2", 5.0, threading.Event()).pictures())


def test_a_picamera_that_gives_nothing_or_is_not_there_says_so(picamera2: type[FakePicamera2]) -> None:
    with pytest.raises(CameraError, match="no such camera: is its cable in"):
        next(open_source("picamera2:1", 5.0, threading.Event()).pictures())
    picamera2.silent = True
    source: Any = open_source("picamera2", 5.0, threading.Event())
    source._silence_s = 0.1
    with pytest.raises(CameraError, match=r"no picture came for 0\.1 s"):
        next(source.pictures())
    assert picamera2.log[-1] == "close"


def test_without_picamera2_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(CameraError, match=r"apt install .*python3-picamera2"):
        open_source("picamera2", 5.0, threading.Event())


# ---- building and running ----------------------------------------------------------------------------------------


def test_a_bundle_and_a_device_see_the_same_pixels(tmp_path: Path) -> None:
    """What `bundle build` loads from a folder is what a folder, a stream of frames or a camera shows the model."""
    chance = np.random.default_rng(4)
    full = chance.integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(full).save(tmp_path / "one.png")
    built = pictures.load(tmp_path / "one.png", 4, 4, 3).tobytes()
    (of_folder,) = played(str(tmp_path))
    assert isinstance(of_folder, Frame)
    raw = Shot(Frame(pixels=full.tobytes(), height=60, width=80))
    camera = camera_of(Late([]), threading.Event(), Shape(4, 4), Doors({}))
    bgr = Shot(pictures.Raw(full[..., ::-1].tobytes(), 60, 80, "BGR"))
    assert [of_folder.pixels, *(camera._message(shot).pixels for shot in (raw, bgr))] == [built] * 3  # type: ignore


def test_the_cameras_of_this_machine_are_listed(
    capsys: pytest.CaptureFixture[str], picamera2: type[FakePicamera2]
) -> None:
    assert cameras_cli.main([]) == 0
    said = capsys.readouterr().out
    assert "picamera2:0     imx708 (/base/soc" in said
    assert "/dev/video" in said
    assert "rtsp://..." in said
    picamera2.cameras = 0
    cameras_cli.main([])
    assert "it finds no camera" in capsys.readouterr().out
