"""Which bundle each boot of a device ran: what births say is kept, for the records do not say it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import psycopg

from ..stores.batch import Batch
from ..stores.queries import query

DIGEST = re.compile(r"[0-9a-f]{64}")
Boot = tuple[str, str]  # device and boot


def note(cursor: psycopg.Cursor[Any], batch: Batch) -> None:
    """Keeps what the births of a batch say; in the order of the key, so that workers do not lock each other out."""
    said = {
        (header.device, header.boot): birth.bundle for header, birth in batch.births if DIGEST.fullmatch(birth.bundle)
    }
    if said:
        boots = sorted(said)
        columns = [[device for device, _ in boots], [boot for _, boot in boots], [said[boot] for boot in boots]]
        cursor.execute(query("note_bundles", __package__), columns)


def of_boots(connection: psycopg.Connection, boots: Iterable[Boot]) -> dict[Boot, str]:
    """The digest of each; empty where nothing tells. What has to be inferred is kept, so that it stays the same."""
    wanted = sorted(set(boots))
    known = _known(connection, wanted)
    unknown = [boot for boot in wanted if boot not in known]
    for device, boot in unknown:
        connection.execute(query("infer_bundle", __package__), {"device": device, "boot": boot})
    return known | _known(connection, unknown)


def _known(connection: psycopg.Connection, boots: list[Boot]) -> dict[Boot, str]:
    columns = [[device for device, _ in boots], [boot for _, boot in boots]]
    rows = connection.execute(query("known_bundles", __package__), columns).fetchall()
    return {(device, boot): digest for device, boot, digest in rows}
