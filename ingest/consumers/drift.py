"""Drift episodes: begin, continue and end become rows of one table."""

from __future__ import annotations

from broker.messages import DriftCleared, DriftContinued, DriftDetected, Header

from ..stores.batch import Batch, Table

DRIFT_EVENT = Table(
    "drift_event",
    (
        "phase",
        "episode",
        "frame",
        "detector",
        "drift_type",
        "statistic",
        "threshold",
        "severity",
        "frames",
        "samples",
        "reason",
    ),
)
NONE: list[str] = []


def detected(header: Header, m: DriftDetected, batch: Batch) -> None:
    measured = (m.statistic, m.threshold, m.severity, m.frames)
    batch.add(DRIFT_EVENT, header, m.at, ("begin", m.episode, m.frame, m.detector, m.drift_type, *measured, NONE, ""))


def continued(header: Header, m: DriftContinued, batch: Batch) -> None:
    measured = (m.statistic, m.threshold, m.severity, m.frames)
    values = ("continue", m.episode, m.frame, m.detector, "", *measured, list(m.samples), "")
    batch.add(DRIFT_EVENT, header, m.at, values)


def cleared(header: Header, m: DriftCleared, batch: Batch) -> None:
    measured = (m.statistic, m.threshold, 0.0, m.frames)
    batch.add(DRIFT_EVENT, header, m.at, ("end", m.episode, m.frame, m.detector, "", *measured, NONE, m.reason))
