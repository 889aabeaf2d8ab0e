"""`tinyml decode`: any message, record, journal or captured payload, printed for a person."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from . import codec, journal, topics
from .describe import describe, describe_fields, plain
from .errors import DecodeError, TopicError

ABOUT = """Prints messages of this system: a file or a pipe of binary CBOR, one message or many (a journal, a
recording, a directory of journal segments), or hexadecimal text, also in lines "topic hex" as mosquitto_sub
writes them:

  tinyml decode state/journal
  mosquitto_sub -t 'tinyml/#' -F '%t %x' | tinyml decode
  tinyml decode --hex 82645469636ba0

Ends with status 1 when something could not be read; what could be is printed first."""

EMPTY = "an empty payload: on a retained topic it removes what was retained there; it is never a message"


@dataclass(frozen=True, slots=True)
class Piece:
    """One item with where it was found; empty bytes stand for an empty payload."""

    where: str
    data: bytes
    topic: str = ""


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tinyml decode", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "file", nargs="?", default="-", help="file or journal directory; - or nothing: standard input"
    )
    parser.add_argument("--hex", metavar="TEXT", help="the bytes themselves, in hexadecimal")
    parser.add_argument("--json", action="store_true", help="one line of JSON an item: arrays whole, bytes in base64")
    arguments = parser.parse_args(argv)
    failed = False
    pieces = _pieces(arguments.file, arguments.hex)
    while True:
        try:
            piece = next(pieces, None)
            if piece is None:
                return 1 if failed else 0
            lines = _lines(piece, arguments.json)
        except DecodeError as error:
            failed = True
            print(f"tinyml decode: {error}", file=sys.stderr)
        else:
            print("\n".join(lines), flush=True)


def _lines(piece: Piece, as_json: bool) -> list[str]:
    """An item as text. Raises DecodeError, saying where."""
    try:
        kind, parts, lines = _item(piece.data) if piece.data else ("", {}, [EMPTY])
    except DecodeError as error:
        raise DecodeError(f"{piece.where}: {error}", error.offset) from None
    if as_json:
        return [json.dumps({"where": piece.where, "topic": piece.topic or None, "kind": kind or None, **parts})]
    title = f"{piece.topic or piece.where}: {lines[0]}"
    return [title, *([f"  {note}"] if (note := _misplaced(piece.topic, kind)) else []), *lines[1:]]


def _item(data: bytes) -> tuple[str, dict[str, Any], list[str]]:
    """Kind, parts for JSON, and lines of one item. Raises DecodeError."""
    tree = codec.unpack(data)
    if isinstance(tree, list) and len(tree) == 2 and str(tree[0]).startswith("_") and isinstance(tree[1], dict):
        of = "an export" if tree[0] == "_export" else "the journal"
        return tree[0], {"fields": plain(tree[1])}, [f"{tree[0]} (of {of})", *describe_fields(tree[1])]
    header = None
    if isinstance(tree, list) and len(tree) == 3:
        header, message = codec.decode_record(data)
    else:
        message = codec.decode(data)
    parts = {"header": plain(header), "fields": plain(message)}
    return type(message).__name__, parts, describe(message, header)


def _misplaced(topic: str, kind: str) -> str:
    """What is wrong with a topic, or with this kind on it; empty when nothing is."""
    if not topic or not kind:
        return ""
    _, _, path = topic.partition("/")
    if path == topics.INGEST_STATE or path.startswith(topics.DEAD + "/"):
        return ""
    try:
        known = topics.parse(topic, topic.partition("/")[0]).topic.kinds
    except TopicError as error:
        return f"note: {error}"
    return "" if kind in {item.__name__ for item in known} else f"note: {kind} does not belong on this topic"


# ---- where the bytes come from ---------------------------------------------------------------------------------


def _pieces(name: str, hexadecimal: str | None) -> Iterator[Piece]:
    """The items of what was named. Raises DecodeError, after everything before the trouble."""
    if hexadecimal is not None:
        yield from _of_stream(BytesIO(hexadecimal.encode()), "--hex", text=True)
    elif name == "-":
        yield from _of_stream(sys.stdin.buffer, "standard input")
    else:
        path = Path(name)
        for part in journal.segments(path) if path.is_dir() else [path]:
            try:
                with part.open("rb") as file:
                    yield from _of_stream(file, part.name)
            except OSError as error:
                raise DecodeError(f"{part} cannot be read: {error.strerror}") from None


def _of_stream(stream: BinaryIO, name: str, text: bool = False) -> Iterator[Piece]:
    first = stream.peek(1)[:1] if isinstance(stream, BufferedReader) else b""
    if not first and not text:
        yield Piece(name, b"")
    elif text or first < b"\x80":  # a message is an array, and no array begins with a character of ASCII
        yield from _of_text(stream, name)
    else:
        yield from _of_sequence(stream, name)


def _of_sequence(stream: BinaryIO, name: str, topic: str = "") -> Iterator[Piece]:
    offset = 0
    try:
        for data in codec.read_sequence(stream, codec.MAX_STATE_BYTES):
            yield Piece(f"{name}, offset {offset}", data, topic)
            offset += len(data)
    except DecodeError as error:
        raise DecodeError(f"{name}: {error}", error.offset) from None


def _of_text(stream: BinaryIO, name: str) -> Iterator[Piece]:
    """Lines "topic hex", each for itself, or lines that hold a sequence together."""
    lines = enumerate(stream, start=1)
    for number, line in lines:
        if b"/" not in line:
            yield from _of_sequence(_Joined(chain([(number, line)], lines)), name)
            return
        where = f"{name}, line {number}"
        topic, _, payload = line.decode(errors="replace").strip().partition(" ")
        if payload.strip():
            yield from _of_sequence(BytesIO(_bytes(payload, where)), where, topic)
        else:
            yield Piece(where, b"", topic)


class _Joined(BytesIO):
    """Lines of hexadecimal text as the stream of bytes that they spell, line by line as they arrive."""

    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        super().__init__()
        self._lines = lines

    def read1(self, _size: int | None = -1, /) -> bytes:
        for number, line in self._lines:
            if data := _bytes(line.decode(errors="replace"), f"line {number}"):
                return data
        return b""


def _bytes(text: str, where: str) -> bytes:
    try:
        return bytes.fromhex(text.replace(":", " ").replace("0x", " "))
    except ValueError:
        raise DecodeError(f"{where} is neither a message nor hexadecimal text") from None
