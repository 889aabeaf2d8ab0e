"""A managed device that is run again whenever it wants that, and a server that tells it what people want."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from broker import codec
from broker.errors import TinymlError
from broker.messages import CommandIssued, CommandReported, ConfigReported, Header, Message
from edge_actors.process import EdgeProcess, start
from edge_actors.settings import EdgeSettings
from tests.edge.server import Server
from tests.support import wait_until

M = TypeVar("M", bound=Message)


class Site:
    """`setup` is how the device was set up."""

    def __init__(self, server: Server, setup: EdgeSettings) -> None:
        self.server, self.setup = server, setup
        self.processes: list[EdgeProcess] = []
        server.listen()
        self.start()

    def start(self) -> None:
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        again = True
        while again and not self._stopping:
            process = start(self.setup)
            self.processes.append(process)
            try:
                process.run()
                again = process.again
            except TinymlError:
                again = True  # as systemd would

    def stop(self) -> None:
        self._stopping = True
        self.processes[-1].stop("the test is over")
        self._thread.join(20)
        assert not self._thread.is_alive()

    def say(self, path: str, message: Message, *, retain: bool = True) -> None:
        topic = f"{self.server.root}/dev1/{path}"
        self.server.connection.publish(topic, codec.encode(message), retain=retain)

    def command(self, command: str, verb: str, **more: Any) -> list[CommandReported]:
        """Issues a command and waits for its last report; all its reports."""
        self.say(f"command/{command}", CommandIssued(command=command, verb=verb, **more))
        reports: Callable[[], list[CommandReported]] = lambda: [  # noqa: E731  it is asked again and again
            report for report in self.reports() if report.command == command
        ]
        wait_until(lambda: reports() and reports()[-1].state in ("done", "failed", "expired"), 20)
        return reports()

    def reports(self) -> list[CommandReported]:
        return self.heard(CommandReported)

    def record(self, message: Message) -> bytes:
        """What the device would send."""
        return codec.encode(message, Header(device="dev1", boot="00000000-000001"))

    def heard(self, kind: type[M]) -> list[M]:
        return [message for _, _, message in list(self.server.heard) if isinstance(message, kind)]

    def latest(self, kind: type[M]) -> M:
        """The last heard of this kind, once there is one: records of different kinds may overtake each other."""
        wait_until(lambda: self.heard(kind), 20)
        return self.heard(kind)[-1]

    def config(self, revision: int, waiting: bool = False) -> ConfigReported:
        """The report of this revision, once nothing waits for a restart any more."""
        found: Callable[[], list[ConfigReported]] = lambda: [  # noqa: E731
            one for one in self.heard(ConfigReported) if one.revision == revision and bool(one.restart) == waiting
        ]
        wait_until(found, 20)
        return found()[-1]
