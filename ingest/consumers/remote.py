"""What devices say of the settings, commands and models that people wanted of them."""

from __future__ import annotations

from psycopg.types.json import Jsonb

from broker.messages import CommandReported, ConfigReported, Header, ModelReported

from ..errors import Poison
from ..stores.batch import Batch, Table, wall_time

COMMAND_REPORT = Table("command_report", ("command", "verb", "state", "reason", "result"))
STATES = frozenset({"accepted", "running", "done", "failed", "expired"})


def command_reported(header: Header, m: CommandReported, batch: Batch) -> None:
    if m.state not in STATES:
        raise Poison(f"state {m.state[:64]!r} of a command is not one of {', '.join(sorted(STATES))}")
    batch.add(COMMAND_REPORT, header, m.at, (m.command, m.verb, m.state, m.reason, Jsonb(m.result)))


def config_reported(header: Header, m: ConfigReported, batch: Batch) -> None:
    wall_time(header)
    batch.reports.append(("config", header, m))


def model_reported(header: Header, m: ModelReported, batch: Batch) -> None:
    wall_time(header)
    batch.reports.append(("model", header, m))
