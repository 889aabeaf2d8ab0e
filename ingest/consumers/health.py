"""How devices fare: telemetry, summaries of predictions, log lines."""

from __future__ import annotations

from broker.messages import Header, LogRecord, Predictions, Telemetry

from ..errors import Poison
from ..stores.batch import Batch, Table

TELEMETRY = Table("telemetry", ("names", "ages", "readings", "faults"))
PREDICTION = Table(
    "prediction",
    ("seconds", "frames", "labels", "counts", "confidence", "distance", "score", "each_frame", "each_label"),
)
LOG = Table("log", ("level", "source", "text"))


def telemetry(header: Header, m: Telemetry, batch: Batch) -> None:
    rows, names, readings = len(m.ages) // 4, len(m.names), len(m.values) // 4
    if readings != rows * names:
        raise Poison(f"{readings} readings are not {rows} rows of {names} names")
    batch.add(TELEMETRY, header, m.at, (list(m.names), m.ages, m.values, list(m.faults)))


def predictions(header: Header, m: Predictions, batch: Batch) -> None:
    if len(m.labels) != len(m.counts):
        raise Poison(f"{len(m.counts)} counts do not fit {len(m.labels)} labels")
    counted = (m.seconds, m.frames, list(m.labels), list(m.counts))
    values = (*counted, m.confidence, m.distance, m.score, list(m.each_frame), list(m.each_label))
    batch.add(PREDICTION, header, m.at, values)


def log(header: Header, m: LogRecord, batch: Batch) -> None:
    batch.add(LOG, header, m.at, (m.level, m.where, m.text))
