"""Picture sources: a folder, a video through ffmpeg, a stream of CBOR items on standard input.

A source is opened anew for each round; it yields encoded pictures, or frames with raw
pixels, and ends, or raises CameraError.
"""

from __future__ import annotations

import io
import os
import select
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

import cbor2

from broker import codec
from broker.errors import DecodeError
from broker.messages import Frame

from ..errors import CameraError, PictureError
from ..pictures import SUFFIXES

MAX_PICTURE_BYTES = 32 << 20
BYTE_STRING = 2  # CBOR major type
POLL_S = 0.2  # how long a source that has nothing goes without a look at whether it should stop


class Source(Protocol):
    """Where pictures come from."""

    paced: bool  # whether the source itself decides how fast they come

    def pictures(self) -> Iterator[bytes | Frame]:
        """The pictures of one round. Raises CameraError when the source cannot be used, or no longer."""


def open_source(spec: str, fps: float, stopping: threading.Event) -> Source:
    """The source that a setting names: `-`, a folder, a video file or a URL for ffmpeg. Raises CameraError.

    A video is sampled at `fps` pictures a second of its own time; 0 gives all of them.
    """
    if spec == "-":
        return Stream(0, stopping)
    if "://" in spec:
        return Video(spec, fps, stopping)
    path = Path(spec)
    if path.is_dir():
        return Folder(path)
    if path.exists():
        return Video(spec, fps, stopping)
    raise CameraError(spec, "there is no such folder or file")


class Folder:
    """All pictures under a folder, by name. Raises CameraError where there is none."""

    paced = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files()

    def _files(self) -> list[Path]:
        try:
            files = sorted(path for path in self.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        except OSError as error:
            raise CameraError(str(self.folder), (error.strerror or "it cannot be read").lower()) from None
        if not files:
            raise CameraError(str(self.folder), "there is no picture in it")
        return files

    def pictures(self) -> Iterator[bytes]:
        for path in self._files():
            try:
                yield path.read_bytes()
            except OSError:
                if not self.folder.is_dir():
                    raise CameraError(str(self.folder), "the folder is gone") from None
                yield b""  # no picture can be made of it, and it is counted as such


class Stream:
    """A CBOR sequence on a file descriptor: byte strings that are encoded pictures, or `Frame` messages."""

    paced = True

    def __init__(self, descriptor: int, stopping: threading.Event) -> None:
        self._pipe = _Pipe(descriptor, stopping)

    def pictures(self) -> Iterator[bytes | Frame]:
        try:
            for item in codec.read_sequence(self._pipe, MAX_PICTURE_BYTES):
                yield _picture(item)
        except DecodeError as error:
            raise CameraError("-", str(error)) from None


def _picture(item: bytes) -> bytes | Frame:
    if item[0] >> 5 == BYTE_STRING:
        encoded: bytes = cbor2.loads(item)
        return encoded
    with suppress(DecodeError):
        message = codec.decode(item, MAX_PICTURE_BYTES)
        if isinstance(message, Frame):
            return message
    return b""  # no picture can be made of it, and it is counted as such


class _Pipe(io.RawIOBase, BinaryIO):
    """Reads what a descriptor has now, and ends when the device stops."""

    def __init__(self, descriptor: int, stopping: threading.Event) -> None:
        super().__init__()
        self._descriptor, self._stopping = descriptor, stopping

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._stopping.is_set():
            if select.select([self._descriptor], [], [], POLL_S)[0]:
                return os.readv(self._descriptor, [buffer])
        return 0


class Video:
    """Anything that ffmpeg opens, as the pictures of it. Raises CameraError where ffmpeg is not installed."""

    paced = False

    def __init__(self, url: str, fps: float, stopping: threading.Event) -> None:
        import shutil  # noqa: PLC0415  a device without a video does without

        self.url, self._fps, self._stopping = url, fps, stopping
        if shutil.which("ffmpeg") is None:
            raise CameraError(url, "reading a video needs the program ffmpeg, which is not installed")

    def pictures(self) -> Iterator[bytes]:
        import subprocess  # noqa: PLC0415

        sampled = ["-vf", f"fps={self._fps}"] if self._fps > 0 else []
        # Each picture comes as PPM, which carries its own size, so nothing has to be asked beforehand.
        output = ["-f", "image2pipe", "-c:v", "ppm", "-"]
        command = ["ffmpeg", "-nostdin", "-v", "quiet", "-i", self.url, *sampled, *output]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            try:
                stream = io.BufferedReader(_Pipe(child.stdout.fileno(), self._stopping))
                while picture := _read_ppm(stream):
                    yield picture
                if not self._stopping.is_set() and (status := child.wait(5.0)):
                    raise CameraError(
                        self.url, f"ffmpeg ended with status {status}; `ffmpeg -i {self.url}` tells why"
                    )
            finally:
                child.kill()


def _read_ppm(stream: BinaryIO) -> bytes:
    """One binary PPM picture, or nothing at the end."""
    header = b"".join(stream.readline() for _ in range(3))  # P6, width and height, highest value
    parts = header.split()
    if len(parts) != 4 or parts[0] != b"P6":
        return b""
    size = int(parts[1]) * int(parts[2]) * 3
    pixels = stream.read(size)
    return header + pixels if len(pixels) == size else b""


def as_picture(frame: Frame) -> bytes:
    """The raw pixels of a frame as an encoded picture (PPM or PGM). Raises PictureError where they are none."""
    if frame.channels not in (1, 3) or len(frame.pixels) != frame.height * frame.width * frame.channels:
        size = f"{frame.height} x {frame.width} x {frame.channels}"
        raise PictureError(f"a frame of {size} cannot have {len(frame.pixels)} bytes of pixels")
    magic = b"P6" if frame.channels == 3 else b"P5"
    return b"%s %d %d 255\n" % (magic, frame.width, frame.height) + frame.pixels
