"""Devices as ingest sees them, at any time: their records go through ingest's own store, and time can pass."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Self

import psycopg

from broker.messages import (
    AdaptationDecided,
    Birth,
    CameraFaulted,
    CameraRecovered,
    DriftCleared,
    DriftDetected,
    Float32Array,
    LabelAcknowledged,
    Message,
    SampleQuarantined,
    Status,
)
from ingest.knowledge import episodes, incidents, presence
from ingest.knowledge.incidents import Measure
from ingest.stores.batch import Batch
from ingest.stores.events import PostgresEvents
from ingest.wiring import CONSUMERS
from tests.records import header

BOOT = "0a1b2c3d-000001"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Every time that the jobs look at, by table.
TIMES = {
    "device": ("heard_at", "state_at", "birth_at", "first_heard_at"),
    "presence_event": ("at", "heard_at", "noted_at"),
    "drift_event": ("at", "received_at"),
    "camera_event": ("at", "received_at"),
    "sample": ("at", "received_at"),
    "dead_letter": ("at", "received_at"),
    "fleet_hour": ("hour",),
    "episode_state": ("begin_at", "end_at", "ended_heard_at", "last_heard_at", "at", "changed_at"),
    "incident": ("begin_at", "last_at", "opened_at", "closed_at"),
    "notification": ("since", "made_at", "seen_at", "notified_at", "over_at"),
    "notification_delivery": ("next_try", "sent_at"),
    "knowledge_mark": ("at",),
    "label": ("made_at", "answered_at"),
    "job": ("began_at", "ended_at", "done_at"),
    "waiting_object": ("since",),
}


class Fleet:
    def __init__(self, url: str) -> None:
        self.url, self.events = url, PostgresEvents(url)
        self.database = psycopg.connect(url, autocommit=True)
        self._seq = count(1)
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.events.close()
        self.database.close()

    def says(self, device: str, *messages: Message, ago_s: float = 0.0, boot: str = BOOT, **more: Any) -> None:
        """Stores messages that the device made so long ago."""
        batch = Batch()
        at = self.now - timedelta(seconds=ago_s)
        wall_us = int((at - EPOCH) / timedelta(microseconds=1))
        for message in messages:
            head = header(next(self._seq), device, boot, **{"wall_us": wall_us, **more})
            CONSUMERS[type(message)](head, message, batch)
        batch.heard.add(device)
        self.events.store(batch)

    def appears(
        self, *devices: str, bundle: str = "b1", report_s: float = 60.0, session: int = 1, **more: Any
    ) -> None:
        for device in devices:
            birth = Birth(session=session, bundle=bundle, report_s=report_s)
            self.says(device, birth, Status(state="online", session=session), **more)

    def drifts(
        self, device: str, episode: str = "e1", ago_s: float = 0.0, drift_type: str = "residual", **more: Any
    ) -> None:
        begun = DriftDetected(episode=episode, detector="cusum", drift_type=drift_type, severity=1.5)
        self.says(device, begun, ago_s=ago_s, **more)

    def recovers(self, device: str, episode: str = "e1", ago_s: float = 0.0, **more: Any) -> None:
        self.says(device, DriftCleared(episode=episode, detector="cusum", reason="usual again"), ago_s=ago_s, **more)

    def quarantines(self, device: str, *samples: str, episode: str = "e1", bundle: str = "b1") -> None:
        values = Float32Array.of([1.0])
        kept = [SampleQuarantined(sample=s, episode=episode, bundle=bundle, values=values) for s in samples]
        self.says(device, *kept)

    def acknowledges(self, device: str, sample: str) -> None:
        self.says(device, LabelAcknowledged(sample=sample, revision=1, outcome="applied", snapshot="n"))

    def adapts(self, device: str, outcome: str, episode: str = "e1") -> None:
        self.says(device, AdaptationDecided(adaptation=f"a{next(self._seq)}", episode=episode, outcome=outcome))

    def blinds(self, device: str, fault: str, ago_s: float = 0.0) -> None:
        self.says(device, CameraFaulted(episode="f1", fault=fault), ago_s=ago_s)

    def sees(self, device: str, fault: str) -> None:
        self.says(device, CameraRecovered(episode="f1", fault=fault))

    def breaks_off(self, *devices: str, session: int = 1) -> None:
        for device in devices:
            self.says(device, Status(state="offline", session=session, reason="the link broke"))

    def passes(self, seconds: float) -> None:
        """Everything that is known becomes so much older."""
        for table, columns in TIMES.items():
            moved = ", ".join(f"{column} = {column} - make_interval(secs => {seconds})" for column in columns)
            self.database.execute(f"UPDATE {table} SET {moved}".encode())
        self.events.close()  # it remembers which devices it heard just now
        self.events = PostgresEvents(self.url)

    def works(self, least: int = 3, share: float = 0.2) -> None:
        """The jobs, in their order."""
        presence.watch(self.database)
        episodes.refresh(self.database)
        incidents.gather(self.database, Measure(least, share))

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return self.database.execute(statement.encode()).fetchall()

    def statuses(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT device, episode, status, reason FROM episode_state ORDER BY device, episode")

    def incidents(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT kind, type, status, devices FROM v_incident ORDER BY begin_at, incident")
