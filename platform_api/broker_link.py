"""The publisher's connection to the broker: MQTT 5 where the broker speaks it, else 3.1.1."""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import aiomqtt
from aiomqtt import ProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from broker.address import BrokerAddress
from broker.backoff import Backoff
from broker.errors import RefusedError
from broker.mqtt import REFUSALS, UNSUPPORTED_VERSION
from broker.topics import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How labels reach the broker, and how patiently."""

    broker: BrokerAddress
    root: str = ROOT
    outstanding: int = 256  # labels of a device that may be on the broker at a time
    poll_s: float = 1.0  # how long a lost notification can go unnoticed
    audit_s: float = 300.0  # how often everything that is retained is compared with the database
    quiet_s: float = 0.4  # after this long without a message the broker is taken to have sent what it retains
    collect_s: float = 10.0  # but longer than this is not waited for it
    patience_s: float = 8.0  # for any answer of the broker
    backoff_cap_s: float = 30.0

    def backoff(self) -> Backoff:
        """The pauses between attempts to reach the broker."""
        return Backoff(random.Random(), base_s=min(0.2, self.backoff_cap_s), cap_s=self.backoff_cap_s)  # noqa: S311


@asynccontextmanager
async def connected(link: Link) -> AsyncIterator[aiomqtt.Client]:
    """A connection for the length of the block. Raises MqttError, or RefusedError where only a person can help."""
    try:
        client = await _connect(link)
    except aiomqtt.MqttCodeError as error:
        if (code := _number(error.rc)) in REFUSALS:
            raise RefusedError(f"{link.broker}: {REFUSALS[code]}", code) from error
        raise
    except aiomqtt.MqttError as error:
        raise aiomqtt.MqttError(f"{link.broker} cannot be reached: {error}") from error
    try:
        yield client
    except BaseException as error:
        with suppress(aiomqtt.MqttError):  # a broker that does not take our leave must not hide why we go
            await client.__aexit__(type(error), error, error.__traceback__)
        raise
    await client.__aexit__(None, None, None)


async def _connect(link: Link) -> aiomqtt.Client:
    try:
        return await _client(link, ProtocolVersion.V5).__aenter__()
    except aiomqtt.MqttCodeError as error:
        if _number(error.rc) != UNSUPPORTED_VERSION:
            raise
    return await _client(link, ProtocolVersion.V311).__aenter__()


def _client(link: Link, protocol: ProtocolVersion) -> aiomqtt.Client:
    broker = link.broker
    return aiomqtt.Client(
        broker.host,
        broker.port,
        username=broker.username or None,
        password=broker.password or None,
        identifier=f"tinyml-api-{secrets.token_hex(6)}",
        protocol=protocol,
        clean_session=True if protocol is ProtocolVersion.V311 else None,
        timeout=link.patience_s,
        keepalive=10,
        max_concurrent_outgoing_calls=8,
        tls_context=broker.tls_context() if broker.tls else None,
    )


def _number(code: ReasonCode | int | None) -> int:
    return int(code.value if isinstance(code, ReasonCode) else code or 0)
