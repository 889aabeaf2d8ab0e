"""Rim: where what people want of the device arrives, on a thread that nothing waits for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from broker import codec
from broker.messages import CommandIssued, CommandReported, ConfigDesired, Message
from broker.topics import Rank

from ..ports.outbox import Outbox
from .commands import Commands

WAITING = 64  # commands; the broker brings what is dropped again with the next link
LOOK_S = 0.5


class Desk:
    """`take` and `heard` are for any thread and never wait; the rest happens on the desk's own.

    `look` is called there a few times a second.
    """

    def __init__(
        self,
        commands: Commands,
        configure: Callable[[ConfigDesired], object],
        look: Callable[[], object] = lambda: None,
    ) -> None:
        self._commands, self._configure, self._look = commands, configure, look
        self._changed = threading.Condition()
        self._desired: ConfigDesired | None = None  # the newest
        self._issued: dict[str, CommandIssued] = {}
        self._reports: deque[CommandReported] = deque(maxlen=4 * WAITING)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="desk", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ends after what is being done."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def take(self, message: Message) -> None:
        """Something that came down."""
        with self._changed:
            if isinstance(message, ConfigDesired):
                if self._desired is None or message.revision > self._desired.revision:
                    self._desired = message
            elif isinstance(message, CommandIssued) and len(self._issued) < WAITING:
                self._issued[message.command] = message
            self._changed.notify_all()

    def heard(self, report: CommandReported) -> None:
        """A report that is on its way to the server."""
        with self._changed:
            self._reports.append(report)
            self._changed.notify_all()

    def _run(self) -> None:
        self._commands.resume()
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._stopping or self._desired or self._issued or self._reports, LOOK_S
                )
                if self._stopping:
                    return
                desired, self._desired = self._desired, None
                issued, self._issued = list(self._issued.values()), {}
                reports = [self._reports.popleft() for _ in range(len(self._reports))]
            for report in reports:
                self._commands.heard(report)
            if desired is not None:
                self._configure(desired)
            for command in issued:
                self._commands.take(command)
            self._commands.look()
            self._look()


class Overheard:
    """An outbox that lets somebody know which command reports pass."""

    def __init__(self, outbox: Outbox, heard: Callable[[CommandReported], object]) -> None:
        self._outbox, self._heard = outbox, heard

    @property
    def boot(self) -> str:
        return self._outbox.boot

    @property
    def next_seq(self) -> int:
        return self._outbox.next_seq

    def append(self, seq: int, rank: Rank, path: str, record: bytes) -> None:
        self._outbox.append(seq, rank, path, record)
        if path.startswith("command/"):
            report = codec.decode_record(record)[1]
            if isinstance(report, CommandReported):
                self._heard(report)
