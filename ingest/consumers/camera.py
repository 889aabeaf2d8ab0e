"""Faults of cameras: begin and end become rows of one table."""

from __future__ import annotations

from broker.messages import CameraFaulted, CameraRecovered, Header

from ..stores.batch import Batch, Table

CAMERA_EVENT = Table(
    "camera_event", ("phase", "episode", "frame", "fault", "statistic", "threshold", "frames", "seconds")
)


def faulted(header: Header, m: CameraFaulted, batch: Batch) -> None:
    values = ("begin", m.episode, m.frame, m.fault, m.statistic, m.threshold, m.frames, m.seconds)
    batch.add(CAMERA_EVENT, header, m.at, values)


def recovered(header: Header, m: CameraRecovered, batch: Batch) -> None:
    batch.add(CAMERA_EVENT, header, m.at, ("end", m.episode, m.frame, m.fault, 0.0, 0.0, m.frames, m.seconds))
