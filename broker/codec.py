"""Message <-> CBOR.

Inside the device a message is `[kind, {field: value}]`; what leaves has a third element, the header as a map.
Arrays of numbers are RFC 8746 typed arrays. Decoding trusts nothing: the size is capped first, every tag but
the two we use is refused, map keys are text and unique, nesting is bounded, nothing may follow, and every
field is checked against its declared type. Unknown fields are ignored, missing ones get their default.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO, NoReturn, TypeVar, overload

import cbor2

from .errors import DecodeError, TruncatedError
from .fields import FLOAT32_LE, UINT8
from .messages import KINDS, SCHEMA_VERSION, Float32Array, Header, Message, Uint8Array
from .plan import Plan

MAX_BYTES = 1 << 20  # a message; larger things travel as blobs
SMALL_BYTES = 16 << 10  # up to here it matters what it costs to make a decoder
MESSAGE_DEPTH = 8
MAX_STATE_BYTES = 64 << 20  # a snapshot, a bundle part
M = TypeVar("M", bound=Message)


def encode(message: Message, header: Header | None = None) -> bytes:
    """The bytes of a message. The same message gives the same bytes, always. Raises EncodeError."""
    kind = type(message)
    item = [kind.__name__, _PLANS[kind].to_map(message)]
    if header is not None:
        item.append(_HEADER.to_map(header))
    return cbor2.dumps(item)


def decode(data: bytes, max_bytes: int = MAX_BYTES) -> Message:
    """The message in `data`, whatever its kind; a header is allowed and left out. Raises DecodeError."""
    return _message(_item(data, max_bytes))


@overload
def decode_as(kind: type[M], data: bytes) -> M: ...
@overload
def decode_as(kind: tuple[type[M], ...], data: bytes) -> M: ...
def decode_as(kind: type[M] | tuple[type[M], ...], data: bytes) -> M:
    """The message in `data`, which has to be of this kind (or one of these). Raises DecodeError."""
    message = decode(data)
    if not isinstance(message, kind):
        wanted = kind if isinstance(kind, tuple) else (kind,)
        raise DecodeError(f"{type(message).__name__} where {' or '.join(k.__name__ for k in wanted)} belongs")
    return message


def decode_record(data: bytes, max_bytes: int = MAX_BYTES) -> tuple[Header, Message]:
    """The header and the message of something that left a device. Raises DecodeError."""
    item = _item(data, max_bytes)
    header = _header(item)
    if not 1 <= header.version <= SCHEMA_VERSION:
        raise DecodeError(f"schema version {header.version} is not one of 1 to {SCHEMA_VERSION}")
    return header, _message(item)


def decode_header(data: bytes, max_bytes: int = MAX_BYTES) -> Header:
    """The header of a record whose message may not be readable, so that it can be answered. Raises DecodeError."""
    return _header(_item(data, max_bytes))


def pack(tree: object) -> bytes:
    """CBOR of a plain tree (dicts with text keys, lists, numbers, text, bytes, arrays): snapshots and bundles."""
    return cbor2.dumps(tree, encoders=_ARRAY_ENCODERS)


def unpack(data: bytes, max_bytes: int = MAX_STATE_BYTES) -> Any:
    """The tree that `pack` wrote; lists for lists. Raises DecodeError."""
    return _load(data, max_bytes, max_depth=16)


# ---- CBOR sequences (RFC 8742) ---------------------------------------------------------------------------------


def read_sequence(source: bytes | BinaryIO, max_bytes: int = MAX_BYTES) -> Iterator[bytes]:
    """The bytes of each item of a CBOR sequence, as they arrive; a stream may be a pipe.

    Raises TruncatedError when the last item is cut short (a power cut leaves that), DecodeError at what is no item
    or is larger than `max_bytes`; both carry the `offset` of the item, and everything before it has been yielded.
    """
    stream = BytesIO(source) if isinstance(source, bytes) else source
    read = getattr(stream, "read1", stream.read)  # read1 gives what a pipe holds now instead of waiting for more
    held, offset = b"", 0
    item = _Item(max_bytes)
    while chunk := read(1 << 16):
        held += chunk
        start = 0
        while (end := item.end(held, start, offset)) is not None:
            yield held[start:end]
            offset += end - start
            start, item = end, _Item(max_bytes)
        held = held[start:]
    if held:
        raise TruncatedError(f"the item at offset {offset} is cut short after {len(held)} bytes", offset)


class _Item:
    """Finds where an item ends without building it, going on where it stopped when more bytes arrive."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.walked = 0  # bytes from the start of the item that need no second look
        self.open = 1  # data items that are still to come; definite lengths need no stack

    def end(self, held: bytes, start: int, offset: int) -> int | None:
        """Where in `held` the item that starts at `start` ends; None when it goes on beyond."""
        at, size, open_ = start + self.walked, len(held), self.open
        while open_ and at < size:
            major, low = held[at] >> 5, held[at] & 31
            width = _WIDTHS[low]
            if width < 0:
                raise DecodeError(f"the item at offset {offset} is not CBOR of this contract", offset)
            if at + 1 + width > size:
                break
            value = int.from_bytes(held[at + 1 : at + 1 + width], "big") if width else low
            at += 1 + width
            open_ -= 1
            if major in (2, 3):
                at += value
            elif major == 4:
                open_ += value
            elif major == 5:
                open_ += 2 * value
            elif major == 6:
                open_ += 1
            if at - start + open_ > self.max_bytes:  # every open item takes a byte at least
                raise DecodeError(f"the item at offset {offset} has more than {self.max_bytes} bytes", offset)
        self.walked, self.open = at - start, open_
        return at if not open_ and at <= size else None


# Bytes that follow the first byte of an item and hold its number; -1: reserved, or an indefinite length.
_WIDTHS = (*[0] * 24, 1, 2, 4, 8, -1, -1, -1, -1)


# ---- CBOR ------------------------------------------------------------------------------------------------------


def _array(kind: type[Float32Array] | type[Uint8Array], width: int, value: object, _immutable: bool) -> bytes:
    if type(value) is not bytes or len(value) % width:
        raise ValueError("a typed array is a byte string of whole numbers")
    return kind(value)


def _refuse(_value: object, _immutable: bool) -> NoReturn:
    raise ValueError("this tag is not part of the contract")


# cbor2 gives meaning to these unless told otherwise: dates, big numbers, regular expressions, shared references ...
_STANDARD_TAGS = (*range(6), 25, 28, 29, 30, *(35, 36, 37), 52, 54, 100, *(256, 258, 260, 261), 1004, 43000, 55799)
_TAGS: Mapping[int, Callable[[Any, bool], Any]] = {
    **dict.fromkeys(_STANDARD_TAGS, _refuse),
    FLOAT32_LE: partial(_array, Float32Array, 4),
    UINT8: partial(_array, Uint8Array, 1),
}
_ARRAY_ENCODERS: Any = {
    Float32Array: lambda encoder, value: encoder.encode_semantic(FLOAT32_LE, bytes(value)),
    Uint8Array: lambda encoder, value: encoder.encode_semantic(UINT8, bytes(value)),
}


def _decoder(stream: BytesIO, max_depth: int) -> cbor2.CBORDecoder:
    return cbor2.CBORDecoder(
        stream,
        semantic_decoders=_TAGS,
        tag_hook=_refuse,
        max_depth=max_depth,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    )


def _load(data: bytes, max_bytes: int, max_depth: int) -> Any:
    if len(data) > max_bytes:
        raise DecodeError(f"{len(data)} bytes is more than the {max_bytes} allowed")
    stream = BytesIO(data)
    try:
        tree = _decoder(stream, max_depth).decode()
    except (cbor2.CBORError, ValueError, OverflowError, MemoryError) as error:
        why = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        raise DecodeError(f"not CBOR of this contract: {why}") from None
    if stream.tell() != len(data):
        raise DecodeError(f"{len(data) - stream.tell()} bytes follow the message")
    return tree


class _Reader(threading.local):
    """A decoder that is used again and again, a thread its own: making one takes as long as a small message."""

    def __init__(self) -> None:
        stream = BytesIO()
        self.pair = stream, _decoder(stream, MESSAGE_DEPTH)


def _load_again(data: bytes) -> Any:
    """The tree of a small message; None where something about it is wrong."""
    stream, decoder = _READER.pair
    stream.seek(0)
    stream.truncate()
    stream.write(data)
    stream.seek(0)
    tree, whole = None, False
    try:
        tree = decoder.decode()
        whole = stream.tell() == len(data)
    except (cbor2.CBORError, ValueError, OverflowError, MemoryError):
        pass  # who asked looks again, and says what is wrong
    finally:
        if not whole:
            _READER.__init__()  # type: ignore[misc]  # what is left in the decoder belongs to no other message
    return tree if whole else None


def _item(data: bytes, max_bytes: int) -> list[Any]:
    item = _load_again(data) if len(data) <= SMALL_BYTES and len(data) <= max_bytes else None
    if item is None:
        item = _load(data, max_bytes, MESSAGE_DEPTH)
    if type(item) is not list or not 2 <= len(item) <= 3 or type(item[0]) is not str:
        raise DecodeError("not a message: [kind, fields] or [kind, fields, header] is expected")
    return item


def _header(item: list[Any]) -> Header:
    if len(item) != 3:
        raise DecodeError("a record from a device needs a header")
    header: Header = _HEADER.from_map(item[2])
    return header


def _message(item: list[Any]) -> Message:
    kind = KINDS.get(item[0])
    if kind is None:
        raise DecodeError(f"unknown kind {item[0][:64]!r}")
    made: Message = _PLANS[kind].from_map(item[1])
    return made


_PLANS: dict[type, Plan] = {kind: Plan(kind) for kind in KINDS.values()}
_HEADER = Plan(Header)
_READER = _Reader()
