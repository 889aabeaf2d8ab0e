"""What a person wants to know of a device that does not do as it should, small enough for one message."""

from __future__ import annotations

import json
import logging
import re
from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..process import EdgeProcess

LINES, LINE = 60, 400  # log lines that are kept, and characters of each
_USER = re.compile(r"//[^/@\s\"]*@")  # user and password in a URL


class LastLines(logging.Handler):
    """Keeps the last lines of the log in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self.lines: deque[str] = deque(maxlen=LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record)[:LINE])


def diagnostics(process: EdgeProcess, lines: LastLines) -> dict[str, str]:
    """JSON by subject, without secrets."""
    stats = process.spool.stats()
    spool = {key: value for key, value in asdict(stats).items() if key not in ("oldest", "produced")}
    found: dict[str, object] = {
        "versions": process.birth().versions,
        "boot": process.spool.boot,
        "bundle": process.bundle.manifest | {"digest": process.bundle.digest, "warnings": process.bundle.warnings},
        "settings": json.loads(process.settings.as_text()),
        "faults": sorted(process.faults()),
        "metrics": process.probe.latest.metrics | process.device.latencies(),
        "spool": spool,
        "log": list(lines.lines),
    }
    return {what: _USER.sub("//***@", json.dumps(value, default=str)) for what, value in found.items()}
