"""A video file, or a camera on the network, through the program ffmpeg."""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from ...errors import CameraError
from .address import without_password
from .pipe import Pipe, SilentError
from .shot import SILENCE_S, Shot

LIVE = ("rtsp", "rtsps", "rtmp", "udp", "rtp", "srt", "tcp")  # these send a picture when they have one
MAX_TOLD = 300  # characters of what ffmpeg says


class Video:
    """Anything that ffmpeg opens, as the pictures of it. Raises CameraError where ffmpeg is not installed.

    A live stream that gives no picture for `silence_s` counts as failed, and its connection is made anew.
    """

    def __init__(self, url: str, fps: float, stopping: threading.Event, silence_s: float = SILENCE_S) -> None:
        import shutil  # noqa: PLC0415  a device without a video does without

        self.url, self._fps, self._stopping, self._silence_s = url, fps, stopping, silence_s
        self.scheme = url.partition("://")[0].lower() if "://" in url else ""
        self.paced = self.scheme in LIVE
        if shutil.which("ffmpeg") is None:
            raise CameraError(self._name, "reading a video needs the program ffmpeg: sudo apt install ffmpeg")

    @property
    def _name(self) -> str:
        return without_password(self.url)

    def command(self) -> list[str]:
        """What is run."""
        # A datagram that is lost tears the picture, and the firewalls in between let TCP through.
        transport = ["-rtsp_transport", "tcp"] if self.scheme in ("rtsp", "rtsps") else []
        # Without the last one ffmpeg watches for five seconds how fast pictures come before it gives the first.
        live = ["-fflags", "nobuffer", "-flags", "low_delay", "-fpsprobesize", "0"] if self.paced else []
        # Every picture as it comes; else ffmpeg repeats some to keep the pace that it thinks the stream should have.
        sampled = ["-vf", f"fps={self._fps}"] if self._fps > 0 else ["-fps_mode", "passthrough"]
        # Each picture comes as PPM, which carries its own size, so nothing has to be asked beforehand.
        output = ["-an", "-f", "image2pipe", "-c:v", "ppm", "-"]
        return ["ffmpeg", "-nostdin", "-v", "error", *transport, *live, "-i", self.url, *sampled, *output]

    def pictures(self) -> Iterator[Shot]:
        import subprocess  # noqa: PLC0415

        said: deque[bytes] = deque(maxlen=1)
        pipe = subprocess.PIPE
        nothing = subprocess.DEVNULL
        # In a group of its own: a Ctrl-C is for the device, which then ends it.
        with subprocess.Popen(self.command(), stdin=nothing, stdout=pipe, stderr=pipe, process_group=0) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            # It may complain about every picture for months: only its last line is kept.
            listener = threading.Thread(target=said.extend, args=(child.stderr,), daemon=True)
            listener.start()
            try:
                stream = io.BufferedReader(Pipe(child.stdout.fileno(), self._stopping, self._silence_s))
                while picture := _read_ppm(stream):
                    yield Shot(picture)
                if not self._stopping.is_set() and (status := child.wait(5.0)):
                    listener.join(1.0)
                    raise CameraError(self._name, f"ffmpeg ended with status {status}: {self._readable(said)}")
            except SilentError:
                raise CameraError(self._name, f"no picture came for {self._silence_s:g} s") from None
            finally:
                child.kill()

    def _readable(self, said: Iterable[bytes]) -> str:
        line = b"".join(said).decode(errors="replace").strip().replace(self.url, self._name)
        return line[-MAX_TOLD:] or "it does not say why"


def _read_ppm(stream: BinaryIO) -> bytes:
    """One binary PPM picture, or nothing at the end."""
    header = b"".join(stream.readline() for _ in range(3))  # P6, width and height, highest value
    parts = header.split()
    if len(parts) != 4 or parts[0] != b"P6":
        return b""
    size = int(parts[1]) * int(parts[2]) * 3
    pixels = stream.read(size)
    return header + pixels if len(pixels) == size else b""
