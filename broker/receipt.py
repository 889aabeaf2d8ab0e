"""What the server gives back for records that were carried to it: a file that the same person carries to the device.

A CBOR sequence (RFC 8742): `["_receipt", {...}]`, then `["Stored", {...}, {"device": ...}]` as it travels over MQTT,
and at the end `["_checkpoint", {...}]` with their number and the SHA-256 of all their bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from . import __version__, codec
from .errors import DecodeError, ReceiptError
from .messages import Header, Stored

FORMAT = 1
MOST_BYTES = 16 << 20
HEAD, END = (b"\x82" + codec.pack(name) for name in ("_receipt", "_checkpoint"))


def to_bytes(stored: Iterable[tuple[str, Stored]]) -> bytes:
    """The whole file, for each device and what of it is stored."""
    out, count, digest = BytesIO(), 0, hashlib.sha256()
    out.write(codec.pack(["_receipt", {"format": FORMAT, "version": __version__}]))
    for device, message in stored:
        item = codec.encode(message, Header(device=device, boot=message.boot))
        out.write(item)
        digest.update(item)
        count += 1
    out.write(codec.pack(["_checkpoint", {"records": count, "digest": digest.digest()}]))
    return out.getvalue()


def read(path: Path) -> list[tuple[str, Stored]]:
    """The devices and what of them is stored. Raises ReceiptError unless the file is a whole receipt."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ReceiptError(path, f"a receipt may have {MOST_BYTES} bytes")
        return _read(path, data)
    except OSError as error:
        raise ReceiptError(path, (error.strerror or str(error)).lower()) from None
    except DecodeError as error:
        raise ReceiptError(path, str(error)) from None


def _read(path: Path, data: bytes) -> list[tuple[str, Stored]]:
    items = list(codec.read_sequence(data))
    if len(items) < 2 or not items[0].startswith(HEAD) or not items[-1].startswith(END):
        raise ReceiptError(path, "it is no receipt, or cut short")
    head, end = codec.unpack(items[0])[1], codec.unpack(items[-1])[1]
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ReceiptError(path, f"this version knows receipts of format {FORMAT}")
    told = items[1:-1]
    if end != {"records": len(told), "digest": hashlib.sha256(b"".join(told)).digest()}:
        raise ReceiptError(path, "it is not what was written")
    found = []
    for item in told:
        header, message = codec.decode_record(item)
        if not isinstance(message, Stored):
            raise ReceiptError(path, f"a {type(message).__name__} does not belong into a receipt")
        found.append((header.device, message))
    return found
