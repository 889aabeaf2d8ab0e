"""USB cameras and everything else that Linux shows as /dev/video<n> (Video4Linux2), with no library in between."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...errors import CameraError
from ...pictures import Raw
from . import v4l2_structs as v4l2
from .address import Address
from .shot import POLL_S, SILENCE_S, Pace, Shot

BUFFERS = 4
# Formats that can be read, the best first: a compressed one leaves room on the bus and is unpacked in a smaller size.
ENCODED = ("MJPG", "JPEG")
LAYOUTS = {
    "YUYV": "YUYV",
    "UYVY": "UYVY",
    "YVYU": "YVYU",
    "NV12": "NV12",
    "RGB3": "RGB",
    "BGR3": "BGR",
    "GREY": "GREY",
}
FORMATS = (*ENCODED, *LAYOUTS)

REASONS = {
    errno.ENOENT: "there is no such camera; `tinyml edge cameras` lists those that are there",
    errno.ENXIO: "there is no such camera; `tinyml edge cameras` lists those that are there",
    errno.ENODEV: "it is not there any more: was it unplugged?",
    errno.EACCES: "this user may not open it; sudo usermod -aG video USER lets him, after he has logged in again",
    errno.EPERM: "this user may not open it; sudo usermod -aG video USER lets him, after he has logged in again",
    errno.EBUSY: "another program uses it; `fuser -v DEVICE` tells which",
    errno.ENOTTY: "it is no camera",
    errno.ENOSPC: "there is no room for it on the USB bus; give another port, or a smaller size",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A device that can give pictures."""

    path: str
    name: str
    formats: tuple[str, ...]
    sizes: tuple[str, ...]  # of its best format, where it has a few; empty where it takes any


class V4l2:
    """One camera; `which` is a path or a number. Every round opens it anew."""

    paced = True

    def __init__(self, address: Address, fps: float, stopping: threading.Event, silence_s: float = SILENCE_S) -> None:
        self.address, self.fps, self._stopping, self._silence_s = address, fps, stopping, silence_s
        which = address.which or "0"
        self.path = f"/dev/video{which}" if which.isdecimal() else which
        if address.format and address.format not in FORMATS:
            raise CameraError(address.spec, f"{address.format} cannot be read; formats are {', '.join(FORMATS)}")

    def pictures(self) -> Iterator[Shot]:
        with _told(self.address.spec, self.path), ExitStack() as undo:
            camera = _open(self.path)
            undo.callback(os.close, camera)
            _must_capture(camera, self.address.spec)
            picture = self._set_up(camera)
            buffers = _map_buffers(camera, undo)
            _ioctl(camera, v4l2.STREAMON, ctypes.c_int32(v4l2.VIDEO_CAPTURE))
            undo.callback(_stop, camera)
            yield from self._stream(camera, buffers, picture)

    def _set_up(self, camera: int) -> v4l2.PixelFormat:
        """What the driver made of our wishes."""
        offered = [name for name, _ in _formats(camera)]
        wanted = [self.address.format] if self.address.format else FORMATS
        format = next((name for name in wanted if name in offered), None)
        if format is None:
            raise CameraError(
                self.address.spec, f"it offers {', '.join(offered) or 'nothing'}; {', '.join(wanted)} can be read"
            )
        wish = v4l2.Format(type=v4l2.VIDEO_CAPTURE)
        wish.fmt.pix.width, wish.fmt.pix.height = self.address.size
        wish.fmt.pix.pixelformat = v4l2.fourcc(format)
        _ioctl(camera, v4l2.S_FMT, wish)
        if self.fps > 0:
            pace = v4l2.StreamParameters(
                type=v4l2.VIDEO_CAPTURE, numerator=1000, denominator=max(1, round(1000 * self.fps))
            )
            with suppress(OSError):  # a camera that has one pace keeps it, and pictures are left out here
                _ioctl(camera, v4l2.S_PARM, pace)
        picture: v4l2.PixelFormat = wish.fmt.pix
        return picture

    def _stream(self, camera: int, buffers: list[mmap.mmap], picture: v4l2.PixelFormat) -> Iterator[Shot]:
        pace, heard = Pace(self.fps), time.monotonic()
        while not self._stopping.is_set():
            if not select.select([camera], [], [], POLL_S)[0]:
                if time.monotonic() - heard > self._silence_s:
                    raise CameraError(self.address.spec, f"no picture came for {self._silence_s:g} s")
                continue
            heard = time.monotonic()
            newest: tuple[float, bytes] | None = None
            while (buffer := _dequeue(camera)) is not None:
                taken = _taken(buffer)
                if not buffer.flags & v4l2.BUFFER_ERROR and pace.takes(taken):
                    newest = taken, buffers[buffer.index][: buffer.bytesused]
                _ioctl(camera, v4l2.QBUF, buffer)
            if newest is not None:
                yield Shot(_as_picture(newest[1], picture), newest[0])


def cameras() -> list[Seen]:
    """The devices that can give pictures, by number; those that cannot be opened now are left out."""
    found = []
    for path in sorted(Path("/dev").glob("video*"), key=lambda path: (len(path.name), path.name)):
        with suppress(OSError, CameraError):
            camera = _open(str(path))
            try:
                card = _must_capture(camera, str(path))
                formats = [(name, number) for name, number in _formats(camera) if name in FORMATS]
                names = tuple(sorted((name for name, _ in formats), key=FORMATS.index))
                best = dict(formats)[names[0]] if names else 0
                found.append(Seen(str(path), card, names, _sizes(camera, best)))
            finally:
                os.close(camera)
    return found


# ---- the driver ------------------------------------------------------------------------------------------------


@contextmanager
def _told(spec: str, path: str) -> Iterator[None]:
    """Errors of the driver as a sentence that says what to do."""
    try:
        yield
    except OSError as error:
        reason = REASONS.get(error.errno or 0, (error.strerror or str(error)).lower())
        raise CameraError(spec, reason.replace("DEVICE", path)) from None


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _ioctl(camera: int, call: int, argument: ctypes.Structure | ctypes.c_int32) -> None:
    fcntl.ioctl(camera, call, argument)  # the driver writes into the structure


def _must_capture(camera: int, spec: str) -> str:
    """The camera's name. Raises CameraError for what gives no pictures, as a second node of a webcam does."""
    able = v4l2.Capability()
    _ioctl(camera, v4l2.QUERYCAP, able)
    flags = able.device_caps if able.capabilities & v4l2.HAS_DEVICE_CAPS else able.capabilities
    if not (flags & v4l2.CAN_CAPTURE and flags & v4l2.CAN_STREAM):
        raise CameraError(spec, "it gives no pictures; `tinyml edge cameras` lists the devices that do")
    return bytes(able.card).decode(errors="replace")


def _formats(camera: int) -> Iterator[tuple[str, int]]:
    for index in range(64):
        one = v4l2.FormatDescription(index=index, type=v4l2.VIDEO_CAPTURE)
        try:
            _ioctl(camera, v4l2.ENUM_FMT, one)
        except OSError:  # that was the last one
            return
        yield v4l2.name_of(one.pixelformat), one.pixelformat


def _sizes(camera: int, pixelformat: int) -> tuple[str, ...]:
    found = []
    for index in range(64):
        one = v4l2.FrameSize(index=index, pixelformat=pixelformat)
        try:
            _ioctl(camera, v4l2.ENUM_FRAMESIZES, one)
        except OSError:
            break
        if one.type != v4l2.DISCRETE:
            return ()
        found.append(f"{one.numbers[0]}x{one.numbers[1]}")
    return tuple(found)


def _map_buffers(camera: int, undo: ExitStack) -> list[mmap.mmap]:
    asked = v4l2.RequestBuffers(count=BUFFERS, type=v4l2.VIDEO_CAPTURE, memory=v4l2.MMAP)
    _ioctl(camera, v4l2.REQBUFS, asked)
    mapped = []
    for index in range(asked.count):
        buffer = v4l2.Buffer(index=index, type=v4l2.VIDEO_CAPTURE, memory=v4l2.MMAP)
        _ioctl(camera, v4l2.QUERYBUF, buffer)
        room = mmap.mmap(camera, buffer.length, mmap.MAP_SHARED, mmap.PROT_READ, offset=buffer.where.offset)
        undo.callback(room.close)
        mapped.append(room)
        _ioctl(camera, v4l2.QBUF, buffer)
    return mapped


def _dequeue(camera: int) -> v4l2.Buffer | None:
    """A full buffer; None where there is none now."""
    buffer = v4l2.Buffer(type=v4l2.VIDEO_CAPTURE, memory=v4l2.MMAP)
    try:
        _ioctl(camera, v4l2.DQBUF, buffer)
    except BlockingIOError:
        return None
    return buffer


def _taken(buffer: v4l2.Buffer) -> float:
    """When, by time.monotonic(), whose clock most drivers use."""
    if buffer.flags & v4l2.TIMESTAMP == v4l2.TIMESTAMP_MONOTONIC:
        return float(buffer.seconds + buffer.microseconds / 1e6)
    return time.monotonic()


def _stop(camera: int) -> None:
    with suppress(OSError):  # it was unplugged
        _ioctl(camera, v4l2.STREAMOFF, ctypes.c_int32(v4l2.VIDEO_CAPTURE))


def _as_picture(data: bytes, format: v4l2.PixelFormat) -> bytes | Raw:
    name = v4l2.name_of(format.pixelformat)
    if name in ENCODED:
        return data
    full = format.quantization == v4l2.FULL_RANGE or (
        not format.quantization and format.colorspace == v4l2.COLOURS_OF_JPEG
    )
    return Raw(data, format.height, format.width, LAYOUTS[name], format.bytesperline, full)
