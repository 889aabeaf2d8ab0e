"""Brings people's labels to the devices: what the database wants on the retained topics, the broker gets.

The database is the truth and the broker a copy that can be lost. So the publisher watches all label topics and
compares whatever it sees there with the database: what is missing or old is published, what was answered or never
meant is cleared. Every step can be repeated, so it may be killed between any two. An advisory lock lets one process
publish at a time; others stand by.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import aiomqtt
import psycopg

from broker import codec, topics
from broker.errors import RefusedError, SettingsError, TinymlError, TopicError
from broker.messages import Float32Array, LabelAssigned
from ingest.stores.events import PATIENCE

from .broker_link import Link, connected
from .database import Database, query
from .errors import DatabaseAwayError
from .retained import FOREIGN, NOTHING, Key, RetainedLabels, digest
from .schemas import Part

log = logging.getLogger(__name__)

Row: TypeAlias = Mapping[str, Any]
Mail: TypeAlias = tuple[str, bytes]  # topic and payload
BATCH = 256
AWAY = (
    aiomqtt.MqttError,
    OSError,
    RefusedError,
    SettingsError,  # a certificate that is being replaced
    DatabaseAwayError,
    psycopg.OperationalError,
    psycopg.InterfaceError,  # the connection broke while nobody spoke on it
)


class Publisher:
    """The one task that publishes and clears labels. `state` is what the health page says of the broker."""

    def __init__(self, database: Database, link: Link) -> None:
        self.database, self.link = database, link
        self.state = Part(ok=False, why="not started")
        self._retained = RetainedLabels(link)

    async def run(self) -> None:
        """Publishes until it is cancelled, whatever becomes of broker and database."""
        clock = asyncio.get_running_loop().time
        backoff = self.link.backoff()
        while True:
            started = clock()
            try:
                await self._serve()
            except* AWAY as group:
                self.state = Part(ok=False, why=_first(group))
                log.warning("labels wait: %s", self.state.why)
            await asyncio.sleep(backoff.pause(clock() - started))

    async def _serve(self) -> None:
        self._retained = RetainedLabels(self.link)
        notes = await psycopg.AsyncConnection.connect(
            self.database.url, autocommit=True, application_name="tinyml-labels", **PATIENCE
        )
        async with notes:
            await self._lead(notes)
            async with connected(self.link) as client, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._retained.watch(client))
                tasks.create_task(self._listen(notes))
                tasks.create_task(self._work(client))

    async def _lead(self, notes: psycopg.AsyncConnection) -> None:
        """Waits until this process is the one that publishes."""
        for statement in ("lead_with_care", "listen_labels", "listen_answers"):
            await notes.execute(query(statement))
        while True:
            row = await (await notes.execute(query("try_lead"))).fetchone()
            if row is not None and row[0]:
                return
            self.state = Part(ok=True, why="another process publishes the labels")
            await asyncio.sleep(self.link.poll_s)

    async def _listen(self, notes: psycopg.AsyncConnection) -> None:
        async for _ in notes.notifies():
            self._retained.changed.set()

    async def _work(self, client: aiomqtt.Client) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            published = await self._rows("published", {})
            await self._retained.read_again(client, [(row["device"], row["sample"]) for row in published])
            self.state = Part(ok=True)
            audited_at = clock()
            while clock() - audited_at < self.link.audit_s:
                self._retained.changed.clear()
                while await self._step(client):
                    pass
                try:  # a notification that got lost costs a moment, no more
                    await asyncio.wait_for(self._retained.changed.wait(), self.link.poll_s)
                except TimeoutError:
                    continue

    async def _step(self, client: aiomqtt.Client) -> bool:
        """One batch of each kind of work; False when there was none."""
        compared = await self._compare(client)
        answered = await self._rows("to_clear", {"limit": BATCH})
        await self._clear(client, answered)
        due = await self._rows("due", {"limit": BATCH, "outstanding": self.link.outstanding})
        await self._publish(client, due)
        return bool(compared or answered or due)

    async def _compare(self, client: aiomqtt.Client) -> int:
        """Compares what was seen on topics with what the database wants there."""
        keys = list(self._retained.seen)[:BATCH]
        held = {key: self._retained.seen.pop(key) for key in keys}
        old: list[Row] = []
        there: list[Row] = []
        ghosts: list[Row] = []
        for row in await self._rows("wanted", _columns(keys)) if keys else []:
            holds = held[row["device"], row["sample"]]
            if row["wanted"]:
                (there if holds not in (FOREIGN, NOTHING) and holds == digest(_payload(row)) else old).append(row)
            elif holds is FOREIGN:
                log.warning("what %s/%s holds is no label; it is left there", row["device"], row["sample"])
            elif holds != NOTHING:
                ghosts.append(row)
        await self._publish(client, old)
        await self._mark("mark_published", [row for row in there if row["queued"]])
        await self._clear(client, ghosts)
        return len(keys)

    async def _publish(self, client: aiomqtt.Client, rows: Sequence[Row]) -> None:
        mail: dict[Key, Mail] = {}
        sent = []
        for row in rows:
            try:
                mail[row["device"], row["sample"]] = (self._topic(row), _payload(row))
                sent.append(row)
            except TinymlError as error:  # not made by this API; it must not hold up the others
                await self._refuse(row, error)
        await self._send(client, mail)
        await self._mark("mark_published", sent)

    async def _clear(self, client: aiomqtt.Client, rows: Sequence[Row]) -> None:
        mail: dict[Key, Mail] = {}
        for row in rows:
            with contextlib.suppress(TopicError):  # not made by this API; there is no such topic to clear
                mail[row["device"], row["sample"]] = (self._topic(row), b"")
        await self._send(client, mail)
        await self._mark("mark_cleared", rows)

    async def _send(self, client: aiomqtt.Client, mail: Mapping[Key, Mail]) -> None:
        """Publishes retained, and returns when the broker has acknowledged everything and passed it on."""
        self._retained.expect({key: digest(payload) if payload else NOTHING for key, (_, payload) in mail.items()})
        async with asyncio.TaskGroup() as tasks:
            for topic, payload in mail.values():
                tasks.create_task(client.publish(topic, payload, qos=1, retain=True))
        await self._retained.heard()

    async def _refuse(self, row: Row, error: TinymlError) -> None:
        log.error("a label of %s cannot be sent: %s", row["device"], error)
        which = {"device": row["device"], "sample": row["sample"], "revision": row["revision"]}
        await asyncio.to_thread(self.database.change, "refuse_label", {**which, "reason": f"cannot be sent: {error}"})

    async def _rows(self, name: str, values: Mapping[str, object]) -> list[Any]:
        return await asyncio.to_thread(self.database.rows, name, values)

    async def _mark(self, name: str, rows: Sequence[Row]) -> None:
        if rows:
            revisions = {"revisions": [row["revision"] for row in rows]}
            keys = [(row["device"], row["sample"]) for row in rows]
            await asyncio.to_thread(self.database.change, name, {**_columns(keys), **revisions})

    def _topic(self, row: Row) -> str:
        return topics.full(row["device"], topics.path_of(LabelAssigned(sample=row["sample"])), self.link.root)


def _columns(keys: Sequence[Key]) -> dict[str, list[str]]:
    return {"devices": [device for device, _ in keys], "samples": [sample for _, sample in keys]}


def _payload(row: Row) -> bytes:
    plain = {name: row[name] for name in ("sample", "revision", "verdict", "label", "by", "bundle")}
    return codec.encode(LabelAssigned(**plain, values=Float32Array(row["features"])))


def _first(group: BaseExceptionGroup[Exception]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(str(error).split()) or type(error).__name__
