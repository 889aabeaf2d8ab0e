"""A child process that is started, watched, killed and ended by its id."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from ..errors import DemoError


class Process:
    """One child; what it prints goes to a log file, line by line, and the last lines are kept for a person."""

    def __init__(self, name: str, argv: Sequence[str], log: Path):
        self.name, self.argv, self.log = name, list(argv), log
        self.on_line: Callable[[str], None] = lambda line: None
        self._child: subprocess.Popen[bytes] | None = None
        self._lines: deque[str] = deque(maxlen=200)
        self._printed = threading.Condition()
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Starts the child in a session of its own, so that Ctrl-C reaches only this process."""
        self._lines.clear()
        self._child = subprocess.Popen(
            self.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._reader = threading.Thread(
            target=self._read, args=(self._child,), name=f"{self.name} output", daemon=True
        )
        self._reader.start()

    def _read(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        with self.log.open("ab") as log, child.stdout as printed:
            for raw in printed:
                log.write(raw)
                log.flush()
                line = raw.decode(errors="replace").rstrip()
                with self._printed:
                    self._lines.append(line)
                    self._printed.notify_all()
                self.on_line(line)
        with self._printed:
            self._printed.notify_all()

    def wait_for(self, pattern: str, timeout_s: float = 60.0) -> re.Match[str]:
        """The first printed line that matches. Raises DemoError when the child ends or the time is over."""
        wanted = re.compile(pattern)
        with self._printed:
            found = self._printed.wait_for(lambda: self._search(wanted) or not self.running, timeout_s)
            if found and (match := self._search(wanted)):
                return match
        last = "; ".join(list(self._lines)[-3:]) or "nothing printed"
        raise DemoError(f"{self.name} did not come up ({last}); its log is {self.log}")

    def _search(self, wanted: re.Pattern[str]) -> re.Match[str] | None:
        return next((match for line in self._lines if (match := wanted.search(line))), None)

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the child that was started last."""
        assert self._child is not None
        return self._child.pid

    @property
    def stdin(self) -> IO[bytes]:
        assert self._child is not None
        assert self._child.stdin is not None
        return self._child.stdin

    @property
    def status(self) -> int | None:
        return None if self._child is None else self._child.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Waits until the child ends by itself, and ends it when it does not. Gives its exit status."""
        self._join(timeout_s)
        return self.status

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
        self._join(5.0)

    def stop(self, timeout_s: float = 15.0) -> int | None:
        """Asks the child to end, and ends it when it does not. Gives its exit status."""
        if self._child is None:
            return None
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
        self._join(timeout_s)
        return self._child.poll()

    def _join(self, timeout_s: float) -> None:
        if self._child is None:
            return
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(10.0)
        if self._child.stdin is not None:
            with suppress(BrokenPipeError):  # what was still buffered has no reader any more
                self._child.stdin.close()
        if self._reader is not None:
            self._reader.join(5.0)


def tinyml(*words: str) -> list[str]:
    """The command line of our own command, run by this interpreter."""
    return [sys.executable, "-m", "broker.cli", *words]
