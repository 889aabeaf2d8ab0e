"""Brings notifications to their channels: at least once, with an end to the trying."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import psycopg

from broker.errors import SettingsError

from ..settings import IngestSettings
from ..stores.queries import query
from .channels import Mail, NotDelivered, Notice, Webhook
from .rules import RULES

AT_ONCE = 50  # webhooks a run
FIRST_PAUSE_S, LONGEST_PAUSE_S = 10.0, 3600.0
NOTICE = tuple(field.name for field in fields(Notice))  # as the statement gives them
MOST_TRIES = 15  # within about six hours


class Delivery:
    """The channels that the settings name."""

    def __init__(self, settings: IngestSettings) -> None:
        self.webhook = Webhook(settings.webhook, settings.webhook_secret) if settings.webhook else None
        sender = settings.mail_from or (settings.mail_to[0] if settings.mail_to else "")
        self.mail = (
            Mail(settings.smtp, sender, settings.mail_to, settings.smtp_password, settings.smtp_ca_file)
            if settings.smtp
            else None
        )
        self.digest_s, self.public_url = settings.mail_digest_s, settings.public_url.rstrip("/")

    @property
    def channels(self) -> tuple[str, ...]:
        named = (("webhook", self.webhook), ("mail", self.mail))
        return tuple(name for name, channel in named if channel is not None)

    def run(self, database: psycopg.Connection) -> str:
        """Sends what is due. What failed is tried again later, longer and longer."""
        sent = failed = 0
        for channel, work in (("webhook", self._webhooks), ("mail", self._mails)):
            if channel in self.channels:
                done, not_done = work(database)
                sent, failed = sent + done, failed + not_done
        said = [f"{sent} delivered"] if sent else []
        return ", ".join(said + ([f"{failed} not delivered"] if failed else []))

    def notice(self, database: psycopg.Connection, number: int) -> Notice:
        """A notification as it is sent."""
        row = database.execute(query("read_notification", __package__), [number]).fetchone()
        assert row is not None  # deliveries go with their notification
        said = dict(zip(NOTICE, row, strict=True))
        times = {name: said[name].isoformat() for name in ("since", "notified_at")}
        return Notice(**{**said, **times, "uid": str(said["uid"]), "link": self.public_url + said["link"]})

    def _webhooks(self, database: psycopg.Connection) -> tuple[int, int]:
        hook = self.webhook
        assert hook is not None
        due = database.execute(query("due_webhooks", __package__), [AT_ONCE]).fetchall()
        for done, (number, tries) in enumerate(due):
            notice = self.notice(database, number)
            if not _attempt(database, "webhook", [number], tries, partial(hook.send, notice)):
                return done, 1  # the others would only wait for the same
        return len(due), 0

    def _mails(self, database: psycopg.Connection) -> tuple[int, int]:
        post = self.mail
        assert post is not None
        sent = failed = 0
        for mail, numbers, tries in self._letters(database):
            notices = [self.notice(database, number) for number in numbers]
            if _attempt(database, "mail", numbers, tries, partial(post.send, mail, notices)):
                sent += len(numbers)
            else:
                failed = len(numbers)
                break  # the others would only wait for the same
        return sent, failed

    def _letters(self, database: psycopg.Connection) -> list[tuple[str, list[int], int]]:
        """Mails that are due, each with its name, which is noted before it is sent for the first time."""
        letters: dict[str, tuple[list[int], int]] = {}
        fresh = str(uuid.uuid4())
        due = database.execute(query("due_mails", __package__), {"digest_s": self.digest_s}).fetchall()
        for number, mail, alone, tries in due:
            name = str(mail) if mail else str(uuid.uuid4()) if alone else fresh
            letters.setdefault(name, ([], tries))[0].append(number)
            if not mail:
                database.execute(query("put_into_mail", __package__), {"mail": name, "ids": [number]})
        return [(name, numbers, tries) for name, (numbers, tries) in letters.items()]


def check(settings: IngestSettings) -> None:
    """Raises SettingsError where a channel cannot be used as it is set, or a kind that is muted does not exist."""
    Delivery(settings)
    if unknown := set(settings.notify_mute) - set(RULES):
        raise SettingsError(f"notify_mute: there is no {', '.join(sorted(unknown))}; there are {', '.join(RULES)}")


def _attempt(
    database: psycopg.Connection, channel: str, numbers: Sequence[int], tries: int, send: Callable[[], Any]
) -> bool:
    values: dict[str, Any] = {"channel": channel, "ids": list(numbers)}
    try:
        send()
    except NotDelivered as error:
        pause_s = min(FIRST_PAUSE_S * 2.0**tries, LONGEST_PAUSE_S)
        more = {"error": str(error)[:500], "pause_s": pause_s, "most": MOST_TRIES}
        database.execute(query("not_delivered", __package__), {**values, **more})
        return False
    database.execute(query("delivered", __package__), values)
    return True
