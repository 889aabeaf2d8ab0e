"""The servers around the API's tests: the API itself, a broker, and a plain MQTT client that looks at it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

import httpx
import paho.mqtt.client as mqtt
import uvicorn
from fastapi import FastAPI
from paho.mqtt.enums import CallbackAPIVersion

from broker import codec
from broker.messages import LabelAssigned
from platform_api.app import create_app
from platform_api.broker_link import Link
from platform_api.cli import listen
from platform_api.stores import Stores
from tests.support import wait_until

LABELS = "tinyml/+/label/+"


class Api:
    """The API in a thread of this process, and a client for it."""

    def __init__(self, stores: Stores, link: Link, token: str = "", app: FastAPI | None = None) -> None:
        self.app = app or create_app(stores, link, token)
        self._socket = listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(self.app, log_config=None, ws="none", timeout_graceful_shutdown=2)
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self._server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()
        assert not self._thread.is_alive(), "the API did not stop"

    def get(self, path: str, **query: Any) -> Any:
        response = self.client.get(path, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    def label(self, device: str, sample: str, verdict: str = "is", label: str = "", **more: Any) -> httpx.Response:
        headers = more.pop("headers", {})
        label = label or ("pear" if verdict == "is" else "")
        said = {"device": device, "sample": sample, "verdict": verdict, "label": label, "by": "ada", **more}
        return self.client.post("/labels", json=said, headers=headers)

    def state(self, device: str, sample: str) -> list[str]:
        """States of all revisions of a label, the newest first."""
        return [item["state"] for item in self.get(f"/labels/{device}/{sample}")["items"]]

    def current(self, device: str, sample: str) -> Any:
        return self.get(f"/labels/{device}/{sample}")["items"][0]


class ApiProcess:
    """`tinyml api run` as people start it."""

    def __init__(self, *flags: str) -> None:
        command = [sys.executable, "-m", "broker.cli", "api", "run", "--port", "0", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("listening on http://"):
            self.end(signal.SIGKILL)
            raise AssertionError(f"the API did not start: {line!r}")
        self.url = line.split()[-1]

    def end(self, how: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.end(signal.SIGKILL)


class Onlooker:
    """A plain MQTT client that sees all label topics, as a device would, and can publish."""

    def __init__(self, port: int, *, retained: bool = True) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.retained = retained
        self._subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._hear
        self._client.on_connect = lambda client, *_: client.subscribe(LABELS, 1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _hear(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        if self.retained or not message.retain:
            self.heard.append((message.topic, message.payload))

    def publish(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1, retain=True).wait_for_publish(5)

    def holds(self) -> dict[str, bytes]:
        """What the topics hold by now, as far as it was heard."""
        return {topic: payload for topic, payload in dict(self.heard).items() if payload}

    def labels(self) -> dict[str, LabelAssigned]:
        return {topic: codec.decode_as(LabelAssigned, payload) for topic, payload in self.holds().items()}


def retained(port: int, quiet_s: float = 0.2) -> dict[str, LabelAssigned]:
    """The labels the broker retains, as a device that connects now would see them."""
    with Onlooker(port) as onlooker:
        before = -1
        while before != len(onlooker.heard):
            before = len(onlooker.heard)
            time.sleep(quiet_s)
        return onlooker.labels()
