"""Brokers and connections for the tests of this folder."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from broker.address import BrokerAddress
from broker.connection import Connection, Delivery, Options
from broker.process import BrokerProcess, find_mosquitto
from tests.support import missing, wait_until


def mosquitto_path() -> Path:
    return find_mosquitto() or missing("mosquitto")


class Mosquitto(BrokerProcess):
    """Mosquitto with lines of configuration of the test's own."""

    def __init__(self, directory: Path, config: str, port: int = 0) -> None:
        mosquitto_path()
        super().__init__(directory, "mosquitto", port)
        self.config = config

    def _command(self) -> list[str]:
        config = self.directory / "mosquitto.conf"
        config.write_text(self.config.replace("PORT", str(self.port)) + "\nuser root\n")
        return [str(self.mosquitto), "-c", str(config)]


def passwords(directory: Path, *users: str) -> Path:
    """A password file in which the password of each user is `secret-<user>`."""
    beside = mosquitto_path().parents[1] / "bin"
    tool = (
        shutil.which("mosquitto_passwd")
        or shutil.which("mosquitto_passwd", path=beside)
        or missing("mosquitto_passwd")
    )
    file = directory / "passwords"
    file.touch(mode=0o600)
    for user in users:
        subprocess.run([tool, "-b", str(file), user, f"secret-{user}"], check=True, timeout=20)
    return file


class Peer:
    """A connection that remembers all it was told."""

    def __init__(self, url: str, client_id: str, *, filters: tuple[str, ...] = (), **options: Any) -> None:
        address = options.pop("address", None) or BrokerAddress.of(url)
        chosen = {"backoff_base_s": 0.02, "backoff_cap_s": 0.1, **options}
        self.messages: list[tuple[str, bytes, Delivery]] = []
        self.ups: list[tuple[int, bool]] = []
        self.downs: list[str] = []
        self.confirmed: dict[int, int] = {}
        self.granted: dict[str, int] = {}
        self.connection = Connection(
            Options(address=address, client_id=client_id, **chosen),
            on_message=lambda *message: self.messages.append(message),
            on_up=lambda *up: self.ups.append(up),
            on_down=self.downs.append,
            on_published=self.confirmed.__setitem__,
            on_subscribed=self.granted.update,
        )
        self.connection.subscribe([(name, 1) for name in filters])
        self.filters = filters

    def start(self) -> Self:
        """Starts and waits until it is connected and subscribed."""
        self.connection.start()
        assert self.connection.wait_connected(10), self.connection.state
        wait_until(lambda: self.ups and all(name in self.granted for name in self.filters))
        return self

    def publish(self, topic: str, payload: bytes = b"x", **more: Any) -> int:
        """Publishes and gives the reason code of the broker's confirmation."""
        mid = self.connection.publish(topic, payload, **more)
        assert mid is not None
        wait_until(lambda: mid in self.confirmed)
        return self.confirmed.pop(mid)

    def payloads(self, topic: str) -> list[bytes]:
        return [payload for name, payload, _ in self.messages if name == topic]

    def cut(self) -> None:
        """Breaks the link as a dead network does: without a word to the broker."""
        before = len(self.downs)
        sock = self.connection._client.socket()
        assert sock is not None
        sock.shutdown(2)  # type: ignore[attr-defined]
        wait_until(lambda: len(self.downs) > before)


@contextmanager
def peers(*made: Peer) -> Iterator[tuple[Peer, ...]]:
    """Stops them in the end, and sees to it that none leaves a thread behind."""
    try:
        yield made
    finally:
        for peer in made:
            peer.connection.stop()
        wait_until(lambda: not any(peer.connection._thread.is_alive() for peer in made))
