"""A broker as a process of its own on this machine, to be started, killed and started again."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from .errors import BrokerProcessError

PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")  # often not in the PATH of a person


def find_mosquitto() -> Path | None:
    """Mosquitto on this machine: what TINYML_MOSQUITTO names, or where packages put it."""
    if named := os.environ.get("TINYML_MOSQUITTO"):
        return Path(named) if os.access(named, os.X_OK) else None
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path=os.pathsep.join(PLACES))
    return Path(found) if found else None


def free_port(bind: str = "127.0.0.1") -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((bind, 0))
        port: int = probe.getsockname()[1]
        return port


LIMITS = re.compile(r"(max_\w+|persistent_client_expiration|set_tcp_nodelay) .+")


def shipped_limits() -> list[str]:
    """How much a client may send and have waiting, as the configuration for Mosquitto that we ship has it."""
    shipped = Path(__file__).parent / "mosquitto" / "mosquitto.conf"
    return [line for line in shipped.read_text().splitlines() if LIMITS.fullmatch(line)]


class BrokerProcess:
    """Mosquitto with its default persistence, or the embedded broker, on loopback with everybody let in.

    `kind` is mosquitto, embedded, or auto: Mosquitto where there is one. `more` are further lines of Mosquitto's
    configuration. The port and the directory stay the same over restarts. Waits are bounded; BrokerProcessError says
    what the broker wrote when it does not come up.
    """

    def __init__(
        self,
        directory: Path,
        kind: str = "auto",
        port: int = 0,
        bind: str = "127.0.0.1",
        more: Sequence[str] = (),
    ) -> None:
        self.more = tuple(more)
        self.mosquitto = None if kind == "embedded" else find_mosquitto()
        if kind == "mosquitto" and self.mosquitto is None:
            raise BrokerProcessError("there is no mosquitto on this machine (TINYML_MOSQUITTO can name one)")
        self.kind = "mosquitto" if self.mosquitto else "embedded"
        self.directory, self.bind = directory, bind
        self.port = port or free_port(bind)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://{self.bind}:{self.port}"

    @property
    def log(self) -> Path:
        return self.directory / "broker.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the broker that was started last."""
        assert self._process is not None
        return self._process.pid

    def start(self, timeout_s: float = 15.0) -> None:
        """Starts the broker and waits until it takes connections. Raises BrokerProcessError."""
        if self._reachable():
            raise BrokerProcessError(f"somebody else listens at {self.url}")
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = self._launch(log)
        deadline = time.monotonic() + timeout_s
        while not self._reachable():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise BrokerProcessError(f"the {self.kind} broker did not start at {self.url}: {self._last_words()}")
            time.sleep(0.01)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ends the broker in order; by force when the time is over."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Ends the broker as a power cut would (kill -9)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def restart(self, timeout_s: float = 15.0) -> None:
        """Starts the broker again on the same port with the same data."""
        self.stop()
        self.start(timeout_s)

    def __enter__(self) -> BrokerProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self, log: BinaryIO) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in the terminal reaches our process, which then ends the broker last.
        return subprocess.Popen(
            self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )

    def _command(self) -> list[str]:
        if self.mosquitto is None:
            return [
                sys.executable,
                "-m",
                "broker.cli",
                "broker",
                "run",
                "--bind",
                self.bind,
                "--port",
                str(self.port),
            ]
        config = self.directory / "mosquitto.conf"
        lines = [
            f"listener {self.port} {self.bind}",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {self.directory.absolute()}/",
            *self.more,
        ]
        if os.geteuid() == 0:
            lines.append("user root")  # or it becomes a user who cannot write into the directory
        config.write_text("\n".join(lines) + "\n")
        return [str(self.mosquitto), "-c", str(config)]

    def _reachable(self) -> bool:
        try:
            socket.create_connection((self.bind, self.port), timeout=1.0).close()
        except OSError:
            return False
        return True

    def _last_words(self) -> str:
        words = self.log.read_text(errors="replace").strip().splitlines()
        return words[-1] if words else "it said nothing"
