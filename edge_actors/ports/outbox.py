"""Where records go that leave the device: the spool on disk, or a list in a replay."""

from __future__ import annotations

from typing import Protocol

from broker.topics import Rank


class Outbox(Protocol):
    """Takes the records of one boot in the order of their sequence numbers."""

    @property
    def boot(self) -> str:
        """The boot id that the headers carry."""

    @property
    def next_seq(self) -> int:
        """The number the next record has to have; the uplink asks for it, so a rebuilt uplink leaves no gap."""

    def append(self, seq: int, rank: Rank, path: str, record: bytes) -> None:
        """Takes the bytes of one record for a path under tinyml/<device>/; never waits, never raises."""
