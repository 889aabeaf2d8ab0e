"""The file: a zip of stored parts and a manifest with the digest of each. The same parts give the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import BundleError

FORMAT, VERSION = "tinymlops-bundle", 1
MANIFEST = "manifest.json"
MODEL = "model.tflite"  # the one part that may be missing: in a bundle that takes features
PARTS = (MODEL, "labels.cbor", "projection.cbor", "memory.cbor", "calibration.cbor", "settings.cbor")
MOST_BYTES = 64 << 20  # of the whole file; a stored zip holds no more than its size
MOST_MANIFEST_BYTES = 1 << 20
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: no entry says when it was made


class Archive(NamedTuple):
    digest: str  # sha256 of the manifest, hence of everything
    manifest: dict[str, Any]
    parts: dict[str, bytes]


def write(path: Path, about: Mapping[str, Any], parts: Mapping[str, bytes]) -> str:
    """Writes a bundle beside its place and renames it there; returns its digest. Raises BundleError."""
    data = to_bytes(about, parts)
    beside = path.with_name(path.name + ".part")
    try:
        with beside.open("wb") as file:
            file.write(data)
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise BundleError(str(path), f"it cannot be written: {error.strerror}") from None
    return digest_of(manifest_of(about, parts))


def to_bytes(about: Mapping[str, Any], parts: Mapping[str, bytes]) -> bytes:
    """The bytes of a bundle file."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED) as archive:
        for name, data in ((MANIFEST, manifest_of(about, parts)), *((name, parts[name]) for name in _present(parts))):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # the same on every system
            archive.writestr(entry, data)
    return held.getvalue()


def manifest_of(about: Mapping[str, Any], parts: Mapping[str, bytes]) -> bytes:
    """What a bundle says of itself, with size and digest of each part."""
    listed = {name: {"sha256": digest_of(parts[name]), "size": len(parts[name])} for name in _present(parts)}
    manifest = {**about, "format": FORMAT, "version": VERSION, "parts": listed}
    return (json.dumps(manifest, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _present(parts: Container[str]) -> list[str]:
    return [name for name in PARTS if name in parts or name != MODEL]


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read(data: bytes, where: str) -> Archive:
    """The parts of a bundle file, each checked against the manifest. Raises BundleError."""
    if len(data) > MOST_BYTES:
        raise BundleError(where, f"{len(data)} bytes are more than the {MOST_BYTES} that a bundle may have")
    held = _entries(data, where)
    said = held.pop(MANIFEST)
    manifest = _manifest(said, set(held), where)
    for name, part in held.items():
        listed = manifest["parts"].get(name)
        if not isinstance(listed, dict) or listed.get("sha256") != digest_of(part):
            raise BundleError(where, f"{name} is not what the manifest says it is")
    return Archive(digest_of(said), manifest, held)


def _entries(data: bytes, where: str) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if sorted(names) != sorted((MANIFEST, *_present(names))):
                raise BundleError(where, f"it has to hold {', '.join((MANIFEST, *PARTS))} and nothing else")
            for entry in entries:
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(data) or entry.flag_bits & 1:
                    raise BundleError(where, f"{entry.filename} is packed, and a bundle's parts are not")
            return {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, OSError, ValueError, struct.error, RuntimeError):
        raise BundleError(where, "it is damaged, cut off, or no bundle at all") from None


def _manifest(data: bytes, held: set[str] | None, where: str) -> dict[str, Any]:
    if len(data) > MOST_MANIFEST_BYTES:
        raise BundleError(where, f"a manifest of {len(data)} bytes is too large")
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError):
        raise BundleError(where, "its manifest is not JSON") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(where, "its manifest is not that of a bundle")
    if manifest.get("version") != VERSION:
        raise BundleError(where, f"its format is version {manifest.get('version')}, this software knows {VERSION}")
    listed = manifest.get("parts")
    if not isinstance(listed, dict) or held not in (None, set(listed)):
        raise BundleError(where, "its manifest does not list the parts of a bundle")
    return manifest


def manifest_in(path: Path) -> dict[str, Any]:
    """What the bundle in a file says of itself; its parts are not looked at. Raises BundleError."""
    return _manifest(_said(path), None, str(path))


def digest_in(path: Path) -> str:
    """The digest of the bundle in a file; its parts are not looked at. Raises BundleError."""
    return digest_of(_said(path))


def _said(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(MANIFEST).file_size > MOST_MANIFEST_BYTES:
                raise BundleError(str(path), "its manifest is too large")
            return archive.read(MANIFEST)
    except (zipfile.BadZipFile, KeyError, EOFError, OSError, ValueError, struct.error, RuntimeError):
        raise BundleError(str(path), "it cannot be read, or is no bundle") from None
