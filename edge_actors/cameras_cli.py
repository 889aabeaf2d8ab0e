"""`tinyml edge cameras`: lists the cameras of this machine."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

ABOUT = """Lists what this machine can take pictures with, and how to name it after --camera. Size and format can be
chosen: --camera '/dev/video0?size=1280x720&format=YUYV', --camera 'picamera2:0?size=640x480'."""


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tinyml edge cameras", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(argv)
    for line in (*_usb(), *_ribbon(), *_network()):
        print(line)
    return 0


def _usb() -> Iterator[str]:
    from .ports.cameras import v4l2  # noqa: PLC0415  only where it is asked for

    seen = v4l2.cameras()
    for one in seen:
        formats = ", ".join(one.formats) or "no format that can be read"
        sizes = f"; {', '.join(one.sizes)}" if one.sizes else ""
        yield f"{one.path:<16}{one.name}: {formats}{sizes}"
    devices = sorted(map(str, Path("/dev").glob("video*")))
    closed = [path for path in devices if not os.access(path, os.R_OK | os.W_OK)]
    if closed:
        yield f"{', '.join(closed)}: this user may not open them; sudo usermod -aG video USER, then log in again"
    elif not devices:
        yield f"{'/dev/video*':<16}there is no USB camera, or its driver is not loaded"


def _ribbon() -> Iterator[str]:
    from .ports.cameras import picamera  # noqa: PLC0415

    found = picamera.cameras()
    if found is None:
        yield f"{'picamera2':<16}not installed (sudo apt install python3-picamera2, on Raspberry Pi OS)"
    elif not found:
        yield f"{'picamera2':<16}installed; it finds no camera"
    else:
        yield from (f"{f'picamera2:{number}':<16}{name}" for number, name in enumerate(found))


def _network() -> Iterator[str]:
    program = shutil.which("ffmpeg")
    how = f"through {program}" if program else "needs the program ffmpeg (sudo apt install ffmpeg)"
    yield f"{'rtsp://...':<16}cameras on the network and video files: {how}"
