"""A picture that was carried apart from its sample: into the object store, and its digest into the sample's row."""

from __future__ import annotations

import hashlib
import warnings
from io import BytesIO

import psycopg
from PIL import Image, UnidentifiedImageError

from ..consumers.samples import PICTURE_TYPES
from ..errors import EntryRefused
from ..filing import Filing
from ..stores.batch import Batch
from ..stores.queries import query
from .contents import picture_type
from .names import sample_of
from .streams import Stream

KNOWN = "the sample has this picture already"
ANOTHER = "the sample has another picture already, which stays"


def take(stream: Stream, most: int) -> bytes:
    """The whole picture. Raises EntryRefused where it is larger than that."""
    parts, size = [], 0
    while part := stream.read(1 << 16):
        parts.append(part)
        size += len(part)
        if size > most:
            raise EntryRefused(f"a picture may have {most:,} bytes")
    return b"".join(parts)


def file(entry: str, data: bytes, filing: Filing, database: psycopg.Connection) -> tuple[str, str]:
    """Gives a picture to its sample; which device's it is, and why nothing was to be done where that is so.

    Raises EntryRefused, StoreAway, psycopg.Error.
    """
    device, sample = sample_of(entry)
    kind, width, height = _measured(data)
    package = __package__
    with database.transaction():
        row = database.execute(query("sample_picture", package=package), [device, sample]).fetchone()
        if row is None:
            raise EntryRefused(f"{device} has no sample {sample}, or it has not arrived yet")
        digest = hashlib.sha256(data).hexdigest()
        if row[0] is not None:
            return device, KNOWN if row[0] == digest else ANOTHER
        # A row never points to a picture that is not there: it is in the object store, or waits in the database.
        filing.events.store(Batch(waiting=filing.pictures.put({digest: (data, kind)}), live=False))
        values = {
            "device": device,
            "sample": sample,
            "digest": digest,
            "type": kind,
            "width": width,
            "height": height,
        }
        database.execute(query("give_picture", package=package), values)
    return device, ""


def _measured(data: bytes) -> tuple[str, int, int]:
    """Media type, width and height. Raises EntryRefused for what no browser would show as a picture."""
    kind = picture_type(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as picture:
                width, height = picture.size
                whole = Image.MIME.get(picture.format or "") == kind
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
        *(OSError, SyntaxError, ValueError, EOFError),
    ) as error:
        raise EntryRefused(f"it is no picture that can be shown: {' '.join(str(error).split())[:120]}") from None
    if not whole or kind not in PICTURE_TYPES:
        raise EntryRefused("it is no picture that can be shown")
    return kind, width, height
