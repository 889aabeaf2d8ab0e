"""Which camera a setting names; the kinds of them are in `cameras/`."""

from __future__ import annotations

import threading
from pathlib import Path

from ..errors import CameraError
from .cameras.address import parse, without_password
from .cameras.folder import Folder
from .cameras.shot import Shot, Source
from .cameras.stream import Recording, Stream
from .cameras.video import Video

__all__ = ["Shot", "Source", "open_source", "without_password"]

HOW = (
    "a folder of pictures, a video file, a URL (rtsp://...), /dev/video0, picamera2, journal:FOLDER, or - for"
    " standard input; `tinyml edge cameras` lists the cameras of this machine"
)
USB, PI, JOURNAL = ("v4l2",), ("picamera2", "libcamera"), ("journal",)
RECORDED = ".cborseq"


def open_source(spec: str, fps: float, stopping: threading.Event) -> Source:
    """The source that a setting names. Raises CameraError where there is none, or what it needs is not installed.

    A camera that is only not there now is no error: a device waits until somebody plugs it in. A video is sampled at
    `fps` pictures a second of its own time, a camera is asked for as many; 0 gives all of them.
    """
    if spec == "-":
        return Stream(0, stopping)
    if "://" in spec:
        return Video(spec, fps, stopping)
    kind, _, rest = spec.partition(":")
    if kind in JOURNAL:
        return Recording(Path(rest))
    if kind in USB or spec.startswith("/dev/video"):
        from .cameras.v4l2 import V4l2  # noqa: PLC0415  most devices have one kind of camera

        return V4l2(parse(spec, rest if kind in USB else spec, ("size", "format")), fps, stopping)
    if kind.partition("?")[0] in PI:
        from .cameras.picamera import Picamera  # noqa: PLC0415

        return Picamera(
            parse(spec, rest if ":" in spec else spec.removeprefix(kind.partition("?")[0])), fps, stopping
        )
    return _of_path(spec, Path(spec), fps, stopping)


def _of_path(spec: str, path: Path, fps: float, stopping: threading.Event) -> Source:
    if path.is_dir():
        return Recording(path) if any(path.glob("*" + RECORDED)) else Folder(path)
    if path.suffix == RECORDED and path.exists():
        return Recording(path)
    if path.exists():
        return Video(spec, fps, stopping)
    raise CameraError(spec, f"there is no such folder or file; a source is {HOW}")
