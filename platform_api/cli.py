"""`tinyml api`: run the REST API and the publisher of labels, or print the API's description."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import socket
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence

import uvicorn
from fastapi import FastAPI

from broker.errors import SettingsError
from broker.settings import add_arguments, from_arguments
from ingest.stores.models import MlflowRegistry
from ingest.stores.objects import open_objects

from .app import create_app, describe
from .broker_link import Link
from .database import Database
from .desk import Desk
from .settings import PREFIX, ApiSettings
from .stores import Stores

ABOUT = """The REST API for people and programs, and the publisher that brings their labels to the devices.

Several may run on one database: all answer, one publishes. Labels are safe in the database whatever is killed."""


def main(argv: Sequence[str]) -> int:
    """The command line of `tinyml api`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="tinyml api", description=ABOUT, formatter_class=RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="answer requests and publish labels",
        description=ABOUT,
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_arguments(run, ApiSettings, PREFIX)
    commands.add_parser("openapi", help="print the OpenAPI document")
    arguments = parser.parse_args(argv)
    if arguments.command == "openapi":
        print(json.dumps(describe().openapi(), indent=2))
        return 0
    return serve(from_arguments(ApiSettings, arguments, PREFIX))


def serve(settings: ApiSettings) -> int:
    """Answers requests until SIGTERM or Ctrl-C; 1 where the publisher of labels failed."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stores = Stores(
        Database(settings.database, settings.connections),
        open_objects(settings.objects),
        MlflowRegistry(settings.registry),
    )
    link = Link(
        broker=settings.broker_address(),
        root=settings.root,
        outstanding=settings.outstanding,
        backoff_cap_s=settings.backoff_cap_s,
    )
    desk = Desk(stores, settings.packages, link.broker, limits=settings.package_limits(), root=settings.root)
    app = create_app(stores, link, settings.token, desk)
    listener = listen(settings.host, settings.port)
    server = _Server(app, listener)
    # Before uvicorn has handlers of its own, and when it raises the signal again after it has stopped.
    signal.signal(signal.SIGTERM, server.stop)
    server.run(sockets=[listener])
    return 0 if server.started and not server.publisher_failed else 1


class _Server(uvicorn.Server):
    """Says where it listens once it answers, and stops when the publisher of labels has failed."""

    def __init__(self, app: FastAPI, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app, log_config=None, server_header=False, ws="none", lifespan="on", timeout_graceful_shutdown=5
        )
        super().__init__(config)
        self.app, self.listener = app, listener

    def stop(self, *_: object) -> None:
        """Answers what has been asked, then ends; a signal handler."""
        self.should_exit = True

    @property
    def publisher_failed(self) -> bool:
        failed: bool = self.app.state.publisher_failed
        return failed

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.listener.getsockname()[:2]
            print(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self.publisher_failed


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises SettingsError where that cannot be."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    # asyncio would do this only for sockets that carry TCP's number; without it every answer takes 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
