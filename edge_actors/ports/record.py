"""A record as it waits on the device and travels to the server."""

from __future__ import annotations

from dataclasses import dataclass, replace

from broker import codec
from broker.errors import DecodeError
from broker.messages import SampleQuarantined


@dataclass(frozen=True, slots=True)
class Record:
    """What leaves the device: `data` is an encoded message with its header, `path` its topic under the device's."""

    boot: str
    seq: int
    rank: int
    path: str
    data: bytes


def without_picture(data: bytes) -> bytes | None:
    """The same record of a sample under the same header, without its picture; None for anything else."""
    try:
        header, message = codec.decode_record(data)
    except DecodeError:
        return None
    if not isinstance(message, SampleQuarantined):
        return None
    return codec.encode(replace(message, picture=b"", picture_type=""), header)
