"""What the registry has to know of a bundle file: read from its manifest, once every part is what that says.

The server imports nothing of the device, and needs no more than this of the format: a zip of stored parts whose
`manifest.json` lists the sha256 of each. The sha256 of the manifest names the bundle.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

from .errors import RegistryError

FORMAT = "tinymlops-bundle"
MANIFEST = "manifest.json"
MOST_BYTES = 64 << 20
TAGS = ("runtime", "dimension", "distance", "k", "classes", "input", "lineage")
MOST_TAG = 5000  # characters a tag may have


def facts_of(path: Path) -> dict[str, str]:
    """The tags of a bundle file, `digest` among them. Raises RegistryError where it is not a whole bundle."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise RegistryError(f"{path} is larger than the {MOST_BYTES} bytes a bundle may have")
        parts = _parts(path)
        said = parts.pop(MANIFEST)
        manifest = json.loads(said)
    except OSError as error:
        raise RegistryError(f"cannot read {path}: {error.strerror}") from None
    except (zipfile.BadZipFile, KeyError, ValueError, RecursionError, EOFError, struct.error, RuntimeError):
        raise RegistryError(f"{path} is damaged, cut off, or no bundle at all") from None
    _check(path, manifest, parts)
    tags = {name: _tag(manifest[name]) for name in TAGS if name in manifest}
    short = {name: value for name, value in tags.items() if len(value) <= MOST_TAG}
    return {**short, "digest": hashlib.sha256(said).hexdigest()}


def _parts(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        # Stored parts are no larger than the file; packed ones could be anything.
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size > MOST_BYTES for entry in entries):
            raise zipfile.BadZipFile
        return {entry.filename: archive.read(entry) for entry in entries}


def _check(path: Path, manifest: Any, parts: dict[str, bytes]) -> None:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise RegistryError(f"the manifest of {path} is not that of a bundle")
    listed = manifest.get("parts")
    if not isinstance(listed, dict) or set(listed) != set(parts):
        raise RegistryError(f"{path} does not hold the parts that its manifest lists")
    for name, part in parts.items():
        if not isinstance(listed[name], dict) or listed[name].get("sha256") != hashlib.sha256(part).hexdigest():
            raise RegistryError(f"{name} in {path} is not what the manifest says it is")


def _tag(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
