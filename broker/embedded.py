"""An MQTT broker by pip alone, for the demo and for tests: amqtt, in this process or in one of its own.

It speaks MQTT 3.1.1 only, keeps everything in memory and may lose messages. Good enough because nothing here trusts
the broker: the device forgets a record when the server says it is stored.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager

from .errors import ListenError, MissingExtraError
from .process import BrokerProcess, find_mosquitto

__all__ = ["BrokerProcess", "EmbeddedBroker", "find_mosquitto", "main"]


class EmbeddedBroker:
    """A broker on a thread of its own. `start` returns the port."""

    def __init__(self, port: int = 0, bind: str = "127.0.0.1") -> None:
        self.port, self.bind = port, bind
        self._started: Future[int] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="embedded broker", daemon=True)

    @property
    def url(self) -> str:
        return f"mqtt://{self.bind}:{self.port}"

    def start(self, timeout_s: float = 10.0) -> int:
        """Listens. Raises ListenError when the port is taken."""
        self._thread.start()
        self.port = self._started.result(timeout_s)
        return self.port

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ends every connection and stops listening."""
        if self._loop and self._stop and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(timeout_s)

    def __enter__(self) -> EmbeddedBroker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with _listening(self.bind, self.port) as port:
                self._started.set_result(port)
                await self._stop.wait()
        except (ListenError, MissingExtraError) as error:
            self._started.set_exception(error)


def _listening(bind: str, port: int) -> AbstractAsyncContextManager[int]:
    try:
        from .amqtt_broker import listening  # noqa: PLC0415  slow to import, and of the server extra only
    except ImportError:
        raise MissingExtraError("the embedded broker", "server") from None
    return listening(bind, port)


# ---- `tinyml broker` -------------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tinyml broker",
        description="Runs the embedded MQTT broker: MQTT 3.1.1, no passwords, nothing kept over a restart. "
        "For trying things out on one machine; real fleets use Mosquitto (broker/mosquitto/) or a cluster.",
    )
    run = parser.add_subparsers(dest="verb", required=True).add_parser("run", help="listen until SIGTERM or Ctrl-C")
    run.add_argument("--port", type=int, default=1883, help="port to listen on; 0 takes a free one (default 1883)")
    run.add_argument(
        "--bind", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine only)"
    )
    arguments = parser.parse_args(argv)
    asyncio.run(_until_signal(arguments.bind, arguments.port))
    return 0


async def _until_signal(bind: str, port: int) -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    async with _listening(bind, port) as taken:
        print(f"listening on mqtt://{bind}:{taken}", flush=True)
        await told.wait()
