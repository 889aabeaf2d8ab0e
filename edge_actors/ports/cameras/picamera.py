"""The camera on the ribbon cable of a Raspberry Pi, and what else libcamera knows, through picamera2."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import TimeoutError as NotYet
from typing import Any

from ...errors import CameraError
from ...pictures import Raw
from .address import Address
from .shot import POLL_S, SILENCE_S, Pace, Shot

MISSING = (
    "it needs picamera2, which comes with Raspberry Pi OS: sudo apt install --no-install-recommends"
    " python3-picamera2, and a venv that sees it (python3 -m venv --system-site-packages)"
)
# What libcamera calls a format, and in which order its colours lie in memory: it names them from the other end.
LAYOUTS = {
    "BGR888": "RGB",
    "RGB888": "BGR",
    "XBGR8888": "RGBX",
    "XRGB8888": "BGRX",
    "YUYV": "YUYV",
    "UYVY": "UYVY",
    "YVYU": "YVYU",
    "NV12": "NV12",
}
BUFFERS = 4
SLOWEST_FPS = 1.0  # slower ones are not asked of the sensor, whose exposure would follow; pictures are left out


class Picamera:
    """One camera; `which` is its number. Raises CameraError where picamera2 is not installed."""

    paced = True

    def __init__(self, address: Address, fps: float, stopping: threading.Event, silence_s: float = SILENCE_S) -> None:
        self.address, self.fps, self._stopping, self._silence_s = address, fps, stopping, silence_s
        if address.which and not address.which.isdecimal():
            raise CameraError(address.spec, "a camera of picamera2 is a number, the first one 0")
        self.number = int(address.which or 0)
        self._library = _library(address.spec)

    def pictures(self) -> Iterator[Shot]:
        if self.number >= len(self._library.global_camera_info()):
            raise CameraError(self.address.spec, "there is no such camera: is its cable in, and in the right way?")
        try:
            camera = self._library(self.number)
        except (RuntimeError, IndexError) as error:
            raise CameraError(
                self.address.spec, f"it cannot be opened, another program may use it: {error}"
            ) from None
        try:
            main = {"size": self.address.size, "format": "BGR888"}
            wish = camera.create_video_configuration(main=main, buffer_count=BUFFERS, controls=self._pace(camera))
            camera.configure(wish)
            camera.start()
            yield from self._stream(camera)
        except RuntimeError as error:  # what libcamera says; it has no kinds of errors of its own
            raise CameraError(self.address.spec, str(error)) from None
        finally:
            camera.close()

    def _pace(self, camera: Any) -> dict[str, Any]:
        """A USB camera that libcamera drives cannot be told a pace, and refuses to be."""
        if self.fps < SLOWEST_FPS or "FrameDurationLimits" not in camera.camera_controls:
            return {}
        microseconds = round(1e6 / self.fps)
        return {"FrameDurationLimits": (microseconds, microseconds)}

    def _stream(self, camera: Any) -> Iterator[Shot]:
        pace, main = Pace(self.fps), camera.camera_configuration()["main"]  # as libcamera granted our wishes
        (width, height), stride = main["size"], main["stride"]
        layout = LAYOUTS.get(main["format"])
        if layout is None and main["format"] != "MJPEG":
            raise CameraError(self.address.spec, f"it gives {main['format']}, which cannot be read")
        while (request := self._next(camera)) is not None:
            try:
                taken = _taken(request.get_metadata())
                data = request.make_buffer("main").tobytes() if pace.takes(taken) else None
            finally:
                request.release()
            if data is not None:
                yield Shot(Raw(data, height, width, layout, stride) if layout else data, taken)

    def _next(self, camera: Any) -> Any:
        """The next picture with what is known of it; None when the device stops."""
        job, asked = camera.capture_request(wait=False), time.monotonic()
        while not self._stopping.is_set():
            try:
                return job.get_result(timeout=POLL_S)
            except NotYet:
                if time.monotonic() - asked > self._silence_s:
                    raise CameraError(self.address.spec, f"no picture came for {self._silence_s:g} s") from None
        return None


def cameras() -> list[str] | None:
    """What libcamera knows, by number; None where picamera2 is not installed."""
    try:
        library = _library("picamera2")
    except CameraError:
        return None
    return [f"{one.get('Model', 'camera')} ({one.get('Id', '')})" for one in library.global_camera_info()]


def _library(spec: str) -> Any:
    try:
        from picamera2 import Picamera2  # noqa: PLC0415  a package of the distribution, not of PyPI
    except ImportError:
        raise CameraError(spec, MISSING) from None
    return Picamera2


def _taken(metadata: dict[str, Any]) -> float:
    """When the sensor began, by time.monotonic(); it tells by a clock that also counts while the machine sleeps."""
    if not (stamp := metadata.get("SensorTimestamp")):
        return time.monotonic()
    return float(stamp / 1e9 - time.clock_gettime(time.CLOCK_BOOTTIME) + time.monotonic())
