"""Tells devices which of their carried records are stored, so that one that is online forgets them at once.

One that is not sends them again when it has a link, which changes nothing: so nobody waits for anything here.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

from broker import topics
from broker.address import BrokerAddress
from broker.codec import encode
from broker.connection import Connection, Options
from broker.messages import Stored

from .records import Ranges

PATIENCE_S, ATTEMPTS = 3.0, 3
RANGES = 1_000  # in one message


def messages(stored: Ranges) -> Iterator[tuple[str, Stored]]:
    """The device and what it is to hear, for every device and boot."""
    for (device, boot), ranges in sorted(stored.items()):
        for at in range(0, len(ranges), RANGES):
            yield device, Stored(boot=boot, ranges=ranges[at : at + RANGES])


def tell(stored: Ranges, address: BrokerAddress, root: str = topics.ROOT) -> str:
    """Publishes `stored` for these records; why the devices could not be told, empty where they were."""
    if not stored:
        return ""
    client_id = f"packages-{secrets.token_hex(6)}"
    connection = Connection(Options(address=address, client_id=client_id, backoff_base_s=0.1, backoff_cap_s=0.2))
    connection.start()
    try:
        if not _connected(connection):
            return connection.state.reason or f"{address} does not answer"
        for device, message in messages(stored):
            if connection.publish(topics.full(device, "stored", root), encode(message)) is None:
                return "the link to the broker broke"
    finally:
        connection.stop()
    return ""


def _connected(connection: Connection) -> bool:
    """Whether the broker can be reached, after a few attempts at the most."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not connection.wait_connected(0.05):
        if time.monotonic() > give_up_at or connection.state.session > ATTEMPTS or connection.state.refused:
            return False
    return True
