"""PUBLISH packets made beforehand by the thousand: one real message encoded, its numbers replaced in place.

Encoding in Python while the clock runs would measure the publisher. Every packet is what broker.codec would have
written: the template is, and the numbers that differ have their full width in CBOR.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from mqtt5 import PublishPacket, QoS

from broker import topics
from broker.codec import encode
from broker.messages import DriftDetected, Float32Array, Header, Message, Telemetry

FIRST_SEQ = 1 << 16  # from here on a sequence number has four bytes, so that all packets are equally long
SEQ, PACKET_ID = 0x5A5B5C5D, 0x7A7B  # what is looked for in the template
WALL_US, MONO_US = 1_790_000_123_456_789, 0x1122334455667  # both have eight bytes
STEP_US = {"drift": 50_000, "telemetry": 10_000_000, "long telemetry": 100_000_000}  # between messages of a device
READINGS = {"telemetry": (10, 10), "long telemetry": (100, 10)}  # times at which was read, and what, in a message
MOST_IN_FLIGHT = 60_000  # packet ids are used again after so many


@dataclass(frozen=True, slots=True)
class Packets:
    """Equally long packets one after the other, of devices in turn, as one connection sends them."""

    data: npt.NDArray[np.uint8]  # count x length
    devices: list[str]
    boot: str
    first_seq: int

    @property
    def count(self) -> int:
        return int(self.data.shape[0])

    @property
    def length(self) -> int:
        return int(self.data.shape[1])

    def span(self, device: str, first: int, last: int) -> slice:
        """Where the records of a device from one number to another are."""
        turn = len(self.devices)
        at = self.devices.index(device)
        return slice((first - self.first_seq) * turn + at, (last - self.first_seq) * turn + at + 1, turn)


def drift(device: str, boot: str) -> tuple[str, bytes]:
    """Topic and payload of the template: a drift event as a device sends it."""
    message = DriftDetected(
        at=MONO_US / 1e6,
        episode=f"{boot}-0000004711",
        frame=f"{boot}-0000004711",
        detector="cusum",
        drift_type="knn-distance",
        statistic=9.171,
        threshold=8.25,
        severity=1.11,
        frames=4711,
    )
    return _sent(message, device, boot)


def telemetry(kind: str, device: str, boot: str) -> tuple[str, bytes]:
    """Topic and payload of a batch of readings."""
    rows, names = READINGS[kind]
    readings = np.linspace(0.0, 100.0, rows * names, dtype="<f4")
    message = Telemetry(
        at=MONO_US / 1e6,
        names=tuple(f"reading_{name}" for name in range(names)),
        ages=Float32Array.of([float(rows - 1 - row) for row in range(rows)]),
        values=Float32Array(readings.tobytes()),
    )
    return _sent(message, device, boot)


def _sent(message: Message, device: str, boot: str) -> tuple[str, bytes]:
    header = Header(device=device, boot=boot, seq=SEQ, wall_us=WALL_US, mono_us=MONO_US, clock="synced")
    return topics.full(device, topics.path_of(message)), encode(message, header)


def device_names(count: int, first: int = 0) -> list[str]:
    """Names of the same length, so that all packets are."""
    return [f"bench-{number:05}" for number in range(first, first + count)]


def build(
    kind: str, count: int, devices: list[str], boot: str, *, now_us: int, first_seq: int = FIRST_SEQ
) -> Packets:
    """`count` packets of `kind` (drift, telemetry ...), the devices in turn, each numbering its own without a gap."""
    make = drift if kind == "drift" else partial(telemetry, kind)
    templates = [np.frombuffer(_packet(*make(device, boot)), np.uint8) for device in devices]
    data = np.resize(np.stack(templates), (count, len(templates[0])))
    turn = np.arange(count) // len(devices)
    apart_us = turn * STEP_US[kind]
    now_us -= int(apart_us[-1])  # the last one is of now
    sample = templates[0].tobytes()
    _put(data, sample, SEQ.to_bytes(4, "big"), (first_seq + turn).astype(">u4"))
    _put(data, sample, WALL_US.to_bytes(8, "big"), (now_us + apart_us).astype(">u8"))
    _put(data, sample, MONO_US.to_bytes(8, "big"), (MONO_US + apart_us).astype(">u8"))
    _put(data, sample, PACKET_ID.to_bytes(2, "big"), (np.arange(count) % MOST_IN_FLIGHT + 1).astype(">u2"))
    return Packets(data, devices, boot, first_seq)


def poisoned(packets: Packets, every: int) -> int:
    """Spoils one packet in `every`, in turn so that it cannot be decoded and so that the database refuses it."""
    spoiled = range(every // 2, packets.count, every)
    at = packets.data[0].tobytes().index(b"cusum")
    for number, index in enumerate(spoiled):
        if number % 2:
            packets.data[index, -20:] = 0xFF
        else:
            packets.data[index, at : at + 5] = 0  # PostgreSQL's text holds any character but this one
    return len(spoiled)


def _packet(topic: str, payload: bytes) -> bytes:
    return PublishPacket(topic, payload, qos=QoS.AT_LEAST_ONCE, packet_id=PACKET_ID).write()


def _put(data: npt.NDArray[np.uint8], template: bytes, marker: bytes, values: npt.NDArray[np.generic]) -> None:
    at = template.index(marker)
    if marker in template[at + 1 :]:
        raise AssertionError(f"the marker {marker.hex()} stands twice in the template")
    data[:, at : at + len(marker)] = values.view(np.uint8).reshape(len(data), len(marker))
