"""What `connection` needs of paho: options, clients made of them, and sentences for what goes wrong."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from .address import BrokerAddress
from .errors import SettingsError

MQTT_5, MQTT_311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
VERSIONS = {"auto": MQTT_5, "5": MQTT_5, "3.1.1": MQTT_311}

PACKETS_AT_ONCE = 64  # read before what waits to be written has its turn
UNSUPPORTED_VERSION = 0x84
# Refusals that a person has to mend, and how they read; whatever else a broker answers passes by itself.
REFUSALS = {
    UNSUPPORTED_VERSION: "the broker does not speak this version of MQTT",
    0x85: "the broker does not accept this client id",
    0x86: "the broker does not know this user name and password",
    0x87: "the broker does not allow this client to connect",
    0x8A: "the broker has banned this client",
    0x8C: "the broker asks for another way to authenticate",
}


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for us when the link breaks without a word."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to connect; the defaults suit a device."""

    address: BrokerAddress
    client_id: str
    protocol: str = "auto"  # auto | 5 | 3.1.1
    keepalive_s: int = 10  # how long a dead peer goes unnoticed, and keeps its share of a shared subscription
    session_expiry_s: int = 0  # how long the broker keeps our session; 0: a new one each time
    will: Callable[[int], Will] | None = None  # asked with the number of each session
    manual_ack: bool = False
    receive_maximum: int = 0  # messages the broker may have in flight to us (MQTT 5); 0 leaves it to the broker
    max_inflight: int = 20  # messages we have in flight to the broker: what Mosquitto grants by default
    max_packet_bytes: int = (1 << 20) + (64 << 10)  # the largest message, and room for its topic
    connect_timeout_s: float = 5.0
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 60.0
    stable_s: float = 60.0  # a link that held so long starts the pauses anew

    def __post_init__(self) -> None:
        if self.protocol not in VERSIONS:
            raise SettingsError(f"the protocol is {self.protocol!r}; it can be {', '.join(VERSIONS)}")
        if not self.client_id:
            raise SettingsError("a client id is needed to connect to the broker")


class Network:
    """Moves the packets of a client on the thread that entered it; `wake` lets others interrupt its waiting."""

    def __enter__(self) -> Network:
        self._awake, self._alarm = socket.socketpair()
        self._awake.setblocking(False)
        self._alarm.setblocking(False)
        return self

    def __exit__(self, *_: object) -> None:
        self._awake.close()
        self._alarm.close()

    def wake(self) -> None:
        with suppress(OSError):  # full: it will wake anyway; closed: nobody waits any more
            self._alarm.send(b"\0")

    def step(self, client: Client, timeout_s: float) -> bool:
        """Waits for packets, reads, writes and keeps the link alive once; False when there is no link any more."""
        sock: Any = client.socket()
        if sock is None:
            return False
        held = _held(sock)
        sending = [sock] if client.want_write() else []
        readable, writable, _ = select.select([sock, self._awake], sending, [], 0.0 if held else timeout_s)
        if self._awake in readable:
            self._awake.recv(1 << 12)
        if (held or sock in readable) and not _read(client, sock):
            return False
        if (writable or self._awake in readable) and not _goes_on(client, client.loop_write()):
            return False
        return _goes_on(client, client.loop_misc())


def _read(client: Client, sock: Any) -> bool:
    """Reads the packets that are there; not for ever, since answers wait to be written."""
    for _ in range(PACKETS_AT_ONCE):
        if not _goes_on(client, client.loop_read()):
            return False
        if not _held(sock) and not select.select([sock], [], [], 0.0)[0]:
            break
    return True


def _held(sock: Any) -> bool:
    """Whether TLS has read bytes from the network that paho has not."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


def _goes_on(client: Client, code: MQTTErrorCode) -> bool:
    return code == MQTTErrorCode.MQTT_ERR_SUCCESS and client.socket() is not None


def new_client(
    options: Options,
    version: MQTTProtocolVersion,
    max_inflight: int,
    tls: ssl.SSLContext | None,
    wake: Callable[[], None],
) -> Client:
    """A client that neither reconnects by itself nor writes from the threads that publish."""
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=options.client_id,
        clean_session=None if version == MQTT_5 else options.session_expiry_s == 0,
        protocol=version,
        reconnect_on_failure=False,
        manual_ack=options.manual_ack,
    )
    client.connect_timeout = options.connect_timeout_s
    client.max_inflight_messages = max_inflight
    # With this callback set, paho leaves writing to us; else the threads that publish would write as well.
    client.on_socket_register_write = lambda *_: wake()
    if options.address.username:
        client.username_pw_set(options.address.username, options.address.password or None)
    if tls:
        client.tls_set_context(tls)
    return client


def open_link(client: Client, options: Options, will: Will | None) -> None:
    """Opens the socket and asks to connect; `Network.step` brings the answer. Raises OSError."""
    address = options.address
    if will:
        client.will_set(will.topic, will.payload, will.qos, will.retain)
    if client.protocol == MQTT_5:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = options.max_packet_bytes
        if options.session_expiry_s:
            properties.SessionExpiryInterval = options.session_expiry_s
        if options.receive_maximum:
            properties.ReceiveMaximum = options.receive_maximum
        clean = options.session_expiry_s == 0
        client.connect_async(
            address.host, address.port, options.keepalive_s, clean_start=clean, properties=properties
        )
    else:
        client.connect_async(address.host, address.port, options.keepalive_s)
    client.reconnect()


def number(properties: Properties | None, name: str, default: int) -> int:
    """A property of a packet that holds a number."""
    return int(getattr(properties, name, default))


def no_link(address: BrokerAddress, error: OSError) -> str:
    """Why there is not even a connection to ask over."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {address} is not to be trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with {address}: {error.reason or error}"
    if isinstance(error, socket.gaierror):
        return f"the name {address.host!r} cannot be resolved"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {address}"
    if isinstance(error, TimeoutError):
        return f"{address} does not answer"
    return f"{address} cannot be reached: {error.strerror or error}"


def link_ended(flags: DisconnectFlags, code: ReasonCode, properties: Properties | None, keepalive_s: int) -> str:
    """Why a link is over."""
    if flags.is_disconnect_packet_from_server:
        detail = getattr(properties, "ReasonString", "")
        return f"the broker ended the connection: {code}" + (f" ({detail})" if detail else "")
    if code == "Keep alive timeout":
        return f"the broker has not answered for {keepalive_s} s"
    return "the link broke"
