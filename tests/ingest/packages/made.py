"""Packages as people bring them, and as somebody who means harm would."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterable

from PIL import Image

from broker import codec, export
from broker.messages import Message, SampleQuarantined
from tests.records import BOOT, DEVICE, EVERY_KIND, header

Files = dict[str, bytes]


def records(messages: Iterable[Message] = EVERY_KIND, first: int = 1, device: str = DEVICE) -> list[bytes]:
    """The messages as consecutive records of one boot."""
    return [codec.encode(message, header(seq, device)) for seq, message in enumerate(messages, first)]


def exported(data: Iterable[bytes] | None = None, device: str = DEVICE) -> bytes:
    """What `tinyml edge export` writes, not packed."""
    data = records() if data is None else list(data)
    out = io.BytesIO()
    export.write(out, export.Export(device=device, boot=BOOT, boots=(BOOT,), records=len(data)), data)
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    packed: bytes = export.zstd().compress(data)
    return packed


def tar(files: Files, mode: str = "w:gz", form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=form) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def special(info: tarfile.TarInfo, data: bytes = b"") -> bytes:
    """A tar with one entry that is not what one expects."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zipped(files: Files, packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def picture(form: str = "PNG", size: tuple[int, int] = (8, 6), shade: int = 90) -> bytes:
    out = io.BytesIO()
    Image.new("L", size, shade).save(out, form)
    return out.getvalue()


def sample(name: str, seq: int = 1, device: str = DEVICE) -> bytes:
    """A sample without a picture, as a device with privacy level `features` sends it."""
    return codec.encode(SampleQuarantined(at=1.0, sample=name, episode="e1", label="pear"), header(seq, device))


def bomb(size: int = 64 << 20) -> bytes:
    """A gzip of zeros, about a thousandth of its size."""
    return gzip.compress(bytes(size), 9)
