"""The broker's copy of the labels: what each retained label topic holds."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import aiomqtt

from broker import codec, topics
from broker.errors import DecodeError, RefusedError, TopicError
from broker.messages import LabelAssigned

from .broker_link import Link

Key: TypeAlias = tuple[str, str]  # device, sample
Held: TypeAlias = bytes | None  # digest of a label

NOTHING: Held = b""  # what an empty topic holds
FOREIGN: Held = None  # retained bytes that are no label of this contract

# Brokers silently drop retained messages of a large subscription (Mosquitto 2.0 from about 1,000 messages or 5 MB
# on): beyond this the topics are read again in groups of devices.
ALL_AT_ONCE = GROUP = 250
USUAL = 8  # topics a device may have beside those that are known of


class RetainedLabels:
    """Watches the label topics of all devices; `seen` collects what they hold until somebody has looked at it."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.seen: dict[Key, Held] = {}
        self.changed = asyncio.Event()
        self._messages = 0
        self._awaited: dict[Key, Held] = {}
        self._all_heard = asyncio.Event()

    async def watch(self, client: aiomqtt.Client) -> None:
        """Takes notes for ever."""
        async for message in client.messages:
            self._messages += 1
            try:
                address = topics.parse(message.topic.value, self.link.root)
            except TopicError:
                continue
            if LabelAssigned in address.topic.kinds and isinstance(message.payload, bytes):
                self._note((address.device, address.sample), _held(address.sample, message.payload))

    def expect(self, topics_hold: Mapping[Key, Held]) -> None:
        """Says what is about to be published."""
        self._awaited = dict(topics_hold)
        self._all_heard.clear()

    async def heard(self) -> None:
        """Waits until everything expected came back from the broker. Raises RefusedError when it does not.

        Being acknowledged is not enough: MQTT 3.1.1 has no way to refuse a message, and aiomqtt hides that of 5.
        """
        try:
            if self._awaited:
                await asyncio.wait_for(self._all_heard.wait(), self.link.patience_s)
        except TimeoutError:
            (device, sample), *_ = self._awaited
            raise RefusedError(
                f"the broker acknowledged what was published for sample {sample} of {device} and did not pass it on: "
                f"may the API write and read {self._filter('+')}?"
            ) from None

    def _note(self, key: Key, held: Held) -> None:
        if key in self._awaited and self._awaited[key] == held:
            del self._awaited[key]
            self.seen.pop(key, None)  # what was there before
            if not self._awaited:
                self._all_heard.set()
        else:
            self.seen[key] = held
            self.changed.set()

    async def read_again(self, client: aiomqtt.Client, expected: Iterable[Key]) -> None:
        """Reads every topic; afterwards `seen` has all that hold something, and of those expected also the empty."""
        expected = set(expected)
        everything = self._filter("+")
        await client.unsubscribe(everything)  # so that subscribing brings what is retained, the second time too
        await self._collect(client, [everything])
        if len(self.seen) >= ALL_AT_ONCE:
            for devices in _groups(expected | self.seen.keys()):
                filters = [self._filter(device) for device in devices]
                await self._collect(client, filters)
                await client.unsubscribe(filters)
        for key in expected:
            self.seen.setdefault(key, NOTHING)

    async def _collect(self, client: aiomqtt.Client, filters: list[str]) -> None:
        codes = await client.subscribe([(name, 0) for name in filters])
        if any(getattr(code, "is_failure", False) for code in codes):
            raise RefusedError("the broker does not let the publisher of labels read the label topics")
        clock = asyncio.get_running_loop().time
        deadline, before = clock() + self.link.collect_s, -1
        while before != self._messages and clock() < deadline:
            before = self._messages
            await asyncio.sleep(self.link.quiet_s)

    def _filter(self, device: str) -> str:
        return f"{self.link.root}/{device}/{topics.of_kind(LabelAssigned).filter}"


def digest(payload: bytes) -> bytes:
    """What stands for a payload in `seen`."""
    return hashlib.blake2b(payload, digest_size=16).digest()


def _held(sample: str, payload: bytes) -> Held:
    if not payload:
        return NOTHING
    try:
        label = codec.decode_as(LabelAssigned, payload)
    except DecodeError:
        return FOREIGN
    return digest(payload) if label.sample == sample else FOREIGN


def _groups(keys: Iterable[Key]) -> Iterator[list[str]]:
    """Devices in groups that have about GROUP topics together."""
    group: list[str] = []
    size = 0
    for device, count in sorted(Counter(device for device, _ in keys).items()):
        if group and size + count + USUAL > GROUP:
            yield group
            group, size = [], 0
        group.append(device)
        size += count + USUAL
    if group:
        yield group
