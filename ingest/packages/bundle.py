"""A bundle in a package: registered as `tinyml ingest register` does, but no alias points to it: people deploy."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from ..bundles import MOST_BYTES, read_bundle
from ..errors import EntryRefused, PackageRefused, RegistryError
from ..stores.ports import ModelRegistry
from . import zips
from .contents import MANIFEST
from .limits import Limits, Meter
from .streams import CHUNK, Stream

MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def register(entry: str, stream: Stream, registry: ModelRegistry) -> tuple[str, bool]:
    """Which version it is, for people, and whether that is a new one. Raises EntryRefused, StoreAway."""
    model = Path(entry).stem
    if not MODEL.fullmatch(model):
        raise EntryRefused(f"{model[:80]!r} is no name of a model; the bundle's file has to have one")
    folder = Path(tempfile.mkdtemp(prefix="tinyml-bundle-"))
    try:
        path = folder / f"{model}.bundle"
        _copy(stream, path)
        read = read_bundle(path)
        known = registry.by_digest(model, read.digest)
        version = known or registry.register(path, model, read.tags, parts=read.parts, about=read.about)
    except OSError as error:
        raise EntryRefused(f"there is no room to look into it: {error.strerror}") from None
    except RegistryError as error:
        raise EntryRefused(str(error).replace(str(folder) + "/", "")) from None
    finally:
        shutil.rmtree(folder)
    return f"{version.model} version {version.version}", known is None


def _copy(stream: Stream, path: Path) -> None:
    """Raises EntryRefused for what is larger than a bundle may be, or is a zip that is not to be opened."""
    size = 0
    with path.open("w+b") as file:
        while part := stream.read(CHUNK):
            size += len(part)
            if size > MOST_BYTES:
                raise EntryRefused(f"a bundle may have {MOST_BYTES:,} bytes")
            file.write(part)
        try:
            with zips.opened(file, Meter(Limits(), size)) as archive:
                if MANIFEST not in archive.namelist():
                    raise EntryRefused("an archive within an archive is not opened")
        except PackageRefused as error:
            raise EntryRefused(str(error)) from None
