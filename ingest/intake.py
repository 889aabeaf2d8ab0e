"""From what a topic carried to a message that may be believed: decoded, from who it says, where it belongs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from broker import topics
from broker.codec import decode_header, decode_record
from broker.errors import DecodeError, TopicError
from broker.messages import Header, Message

from .consumers.dead_letters import letter
from .errors import Poison
from .stores.batch import Batch, Letter
from .wiring import CONSUMERS

BOOT = re.compile(r"[0-9A-Za-z-]{1,64}")
RETAINED = frozenset(kind for topic in topics.TOPICS if topic.retained for kind in topic.kinds)
SPOOLED = frozenset(kind for topic in topics.TOPICS if topic.rank is not None for kind in topic.kinds)


class Record(NamedTuple):
    """One message that was taken, with the bytes it came in."""

    topic: str
    payload: bytes
    header: Header
    message: Message

    @property
    def key(self) -> tuple[str, str, int]:
        """What its rows begin with: device, boot and number."""
        return self.header.device, self.header.boot, self.header.seq

    @property
    def spooled(self) -> bool:
        """Whether its device waits to hear that it is stored."""
        return type(self.message) in SPOOLED

    def refused(self, reason: str) -> Letter:
        """This record as a dead letter; it stands for the record, so that the device may forget it."""
        header = self.header if self.spooled else None
        return letter(
            self.header.device, self.topic, self.payload, reason, kind=type(self.message).__name__, header=header
        )


def read(topic: str, payload: bytes, root: str = topics.ROOT) -> Record | Letter | None:
    """The record, or the dead letter that it becomes; None where somebody only cleared a retained topic."""
    device = ""
    try:
        address = topics.parse(topic, root)
        device = address.device
        if address.topic.retained and not payload:
            return None
        header, message = decode_record(payload)
        check(address, header, message)
    except (TopicError, DecodeError, Poison) as error:
        return letter(device, topic, payload, str(error), header=answerable(device, payload))
    return Record(topic, payload, header, message)


def gather(records: Sequence[Record], batch: Batch) -> list[Letter]:
    """Lets the consumers add the records to the batch; returns what they would not take."""
    refused = []
    for record in records:
        batch.count(record.header.device, type(record.message).__name__, len(record.payload))
        try:
            CONSUMERS[type(record.message)](record.header, record.message, batch)
        except Poison as error:
            refused.append(record.refused(str(error)))
        if type(record.message) not in RETAINED:  # that one is read again whenever a worker starts
            batch.heard.add(record.header.device)
    return refused


def check(address: topics.Address, header: Header, message: Message) -> None:
    """Raises Poison, or TopicError, for a message that does not belong on its topic or cannot be a record."""
    if header.device != address.device:
        raise Poison(f"the header says device {header.device[:64]!r}, the topic {address.device!r}")
    if type(message) not in address.topic.kinds:
        raise Poison(f"{type(message).__name__} does not belong on {address.topic.path}")
    if address.names:
        address.check(message)
    if not is_boot(header.boot):
        raise Poison(f"{header.boot[:64]!r} is not a boot id")
    if address.topic.rank is not None and header.seq < 1:
        raise Poison(f"sequence number {header.seq} of a {type(message).__name__} is not 1 or more")


@lru_cache(maxsize=4096)  # a boot sends many messages
def is_boot(name: str) -> bool:
    """Whether this can be the id of a boot."""
    return BOOT.fullmatch(name) is not None


def answerable(device: str, payload: bytes) -> Header | None:
    """The header of a message that cannot be taken, if it names a spooled record of this very device."""
    try:
        header = decode_header(payload)
    except DecodeError:
        return None
    genuine = header.device == device and header.seq >= 1 and is_boot(header.boot)
    return header if genuine else None
