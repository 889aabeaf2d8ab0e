"""CBOR sequences: pictures on standard input, and the frames that a device recorded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cbor2

from broker import codec
from broker.errors import DecodeError, JournalError, TruncatedError
from broker.journal import segments
from broker.messages import Embedded, Frame, Message

from ...errors import CameraError
from .pipe import Pipe
from .shot import MAX_PICTURE_BYTES, Picture, Shot

BYTE_STRING = 2  # CBOR major type


class Stream:
    """Byte strings that are encoded pictures, `Frame` or `Embedded` messages on a file descriptor."""

    paced = True

    def __init__(self, descriptor: int, stopping: threading.Event) -> None:
        self._pipe = Pipe(descriptor, stopping)

    def pictures(self) -> Iterator[Shot]:
        try:
            for item in codec.read_sequence(self._pipe, MAX_PICTURE_BYTES):
                yield Shot(_picture(item))
        except DecodeError as error:
            raise CameraError("-", str(error)) from None


class Recording:
    """The frames of a journal, a folder or one file of it; the other messages are passed over. Raises CameraError.

    A power cut may have ended a file in the middle of an item; the frames before it are played.
    """

    paced = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._segments()

    def _segments(self) -> list[Path]:
        try:
            return segments(self.path)
        except JournalError as error:
            raise CameraError(str(self.path), str(error)) from None

    def pictures(self) -> Iterator[Shot]:
        for segment in self._segments():
            try:
                with segment.open("rb") as file:
                    for item in codec.read_sequence(file, codec.MAX_STATE_BYTES):
                        if (picture := _recorded(item)) is not None:
                            yield Shot(picture)
            except TruncatedError:
                continue
            except FileNotFoundError:
                continue  # the device that writes it has let go of its oldest part
            except (OSError, DecodeError) as error:
                raise CameraError(str(segment), str(error)) from None


def _picture(item: bytes) -> Picture:
    if item[0] >> 5 == BYTE_STRING:
        encoded: bytes = cbor2.loads(item)
        return encoded
    message = _message(item)
    # Of anything else no picture can be made, and it is counted as such.
    return message if isinstance(message, Frame | Embedded) else b""


def _recorded(item: bytes) -> Picture | None:
    if item[0] >> 5 == BYTE_STRING:
        return _picture(item)
    message = _message(item)
    return message if isinstance(message, Frame | Embedded) else None


def _message(item: bytes) -> Message | None:
    with suppress(DecodeError):
        return codec.decode(item, MAX_PICTURE_BYTES)
    return None
