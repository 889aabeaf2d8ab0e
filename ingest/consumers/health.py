"""How devices fare: telemetry, summaries of predictions, log lines."""

from __future__ import annotations

import numpy as np

from broker.messages import Header, LogRecord, Predictions, Telemetry

from ..errors import Poison
from ..stores.batch import Batch, Table
from ..stores.readings import TELEMETRY

MAX_AGE_S = 366 * 86_400.0  # of a reading in a message
MAX_NAME = 128  # characters of a reading's name
PREDICTION = Table(
    "prediction",
    ("seconds", "frames", "labels", "counts", "confidence", "distance", "score", "each_frame", "each_label"),
)
LOG = Table("log", ("level", "source", "text"))


def telemetry(header: Header, m: Telemetry, batch: Batch) -> None:
    rows, names, readings = len(m.ages) // 4, len(m.names), len(m.values) // 4
    if readings != rows * names:
        raise Poison(f"{readings} readings are not {rows} rows of {names} names")
    if (longest := max(map(len, m.names), default=0)) > MAX_NAME:
        raise Poison(f"a reading's name has {longest} characters; it can have {MAX_NAME}")
    ages, values = np.frombuffer(m.ages, "<f4"), np.frombuffer(m.values, "<f4")
    if not (np.abs(ages) <= MAX_AGE_S).all():
        raise Poison("a reading is not within a year of its message")
    measured = (int(np.count_nonzero(~np.isnan(values))), float(ages.max(initial=0.0)))
    batch.add(TELEMETRY, header, m.at, (m.names, m.ages, m.values, list(m.faults), *measured))


def predictions(header: Header, m: Predictions, batch: Batch) -> None:
    if len(m.labels) != len(m.counts):
        raise Poison(f"{len(m.counts)} counts do not fit {len(m.labels)} labels")
    counted = (m.seconds, m.frames, list(m.labels), list(m.counts))
    values = (*counted, m.confidence, m.distance, m.score, list(m.each_frame), list(m.each_label))
    batch.add(PREDICTION, header, m.at, values)


def log(header: Header, m: LogRecord, batch: Batch) -> None:
    batch.add(LOG, header, m.at, (m.level, m.where, m.text))
