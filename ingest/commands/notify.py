"""`tinyml ingest notify`: what people were told lately, and whether the channels work."""

from __future__ import annotations

import argparse
import uuid

from ..knowledge.channels import NotDelivered
from ..knowledge.delivery import Delivery
from ..knowledge.notifications import write
from ..settings import IngestSettings
from ..stores.events import connect
from ..stores.queries import query
from .migrate import bring_up_to_date


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Shows the latest notifications. With --test it sends one through every channel that is set up\n"
        "(--webhook, --smtp with --mail-to) and says what came of it; the status is 1 where one failed."
    )
    parser.add_argument("--test", action="store_true", help="send a test notification now")
    parser.add_argument("--last", type=int, default=20, metavar="N", help="how many to show; default 20")


def run(chosen: IngestSettings, arguments: argparse.Namespace) -> int:
    """Prints a line a notification, or a line a channel."""
    bring_up_to_date(chosen)
    return _test(chosen) if arguments.test else _show(chosen, max(arguments.last, 1))


def _show(chosen: IngestSettings, last: int) -> int:
    with connect(chosen.database) as database:
        rows = database.execute(query("recent_notifications", "ingest.knowledge"), [last]).fetchall()
    for at, severity, kind, active, title, deliveries in rows:
        ways = ", ".join(f"{channel} {state}" for channel, state in sorted(deliveries.items()))
        print(f"{at:%Y-%m-%d %H:%M}  {severity:8}  {kind:15}  {'' if active else '(over) '}{title}  {ways}".rstrip())
    if not rows:
        print("there are no notifications")
    return 0


def _test(chosen: IngestSettings) -> int:
    delivery = Delivery(chosen)
    with connect(chosen.database) as database:
        said = (
            "This is a test",
            "Somebody asked for it with `tinyml ingest notify --test`.",
            "Nothing needs to be done.",
        )
        notice = delivery.notice(database, write(database, "test", "info", *said, "/notifications"))
    print(f"stored: notification {notice.id}")
    webhook, mail = delivery.webhook, delivery.mail
    ways = {
        "webhook": (lambda: webhook.send(notice)) if webhook else None,
        "mail": (lambda: mail.send(str(uuid.uuid4()), [notice])) if mail else None,
    }
    failed = 0
    for name, send in ways.items():
        try:
            if send is not None:
                send()
            print(f"{name}: {'sent' if send else 'not set up'}")
        except NotDelivered as error:
            failed = 1
            print(f"{name}: FAILED: {error}")
    return failed
