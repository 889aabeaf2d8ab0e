"""What the registry has to know of a bundle file: read from its manifest, once every part is what that says.

The server imports nothing of the device, and needs no more than this of the format: a zip of stored parts whose
`manifest.json` lists the sha256 of each. The sha256 of the manifest names the bundle. What ends in `.cbor` is a map.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker import codec
from broker.errors import DecodeError
from broker.messages import Float32Array

from .errors import RegistryError

FORMAT = "tinymlops-bundle"
MANIFEST, MODEL = "manifest.json", "model.tflite"
MOST_BYTES = 64 << 20
MOST_PART = 4 << 20  # of a part that is kept beside the file; the model is, however large
TAGS = ("runtime", "dimension", "distance", "k", "classes", "input", "lineage")
MOST_TAG = 5000  # characters a tag may have


@dataclass(frozen=True, slots=True)
class BundleFile:
    """A whole bundle, as far as the registry looks."""

    digest: str
    tags: dict[str, str]  # `digest` among them
    parts: dict[str, bytes]  # the manifest, the parts, and what people can read of those that are CBOR
    parameters: dict[str, str]  # how it was built
    accuracy: float | None  # share of the calibration frames that it recognises
    model_sha256: str  # of its extractor; empty where it has none
    about: str  # a sentence or two for people


def bundle_key(digest: str) -> str:
    """Where the object store keeps the file of the bundle with this digest, if somebody put it there."""
    return f"bundles/{digest[:2]}/{digest}"


def read_bundle(path: Path) -> BundleFile:
    """What is in a bundle file. Raises RegistryError where it is not a whole bundle."""
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
    return _told(hashlib.sha256(said).hexdigest(), manifest, parts | {MANIFEST: said}, _trees(path, parts))


def _told(digest: str, manifest: dict[str, Any], parts: dict[str, bytes], trees: dict[str, Any]) -> BundleFile:
    statistics = trees.get("calibration.cbor", {}).get("statistics")
    accuracy = statistics.get("accuracy") if isinstance(statistics, dict) else None
    accuracy = accuracy if isinstance(accuracy, float) and 0 <= accuracy <= 1 else None
    lineage = manifest.get("lineage")
    lineage = lineage if isinstance(lineage, dict) else {}
    readable = {Path(name).with_suffix(".json").name: _readable(tree) for name, tree in trees.items()}
    small = {name: data for name, data in parts.items() if name == MODEL or len(data) <= MOST_PART}
    return BundleFile(
        digest=digest,
        tags=_tags(manifest, lineage, accuracy) | {"digest": digest},
        parts={**readable, **small},
        parameters={name: _text(value)[:MOST_TAG] for name, value in lineage.items()},
        accuracy=accuracy,
        model_sha256=hashlib.sha256(parts[MODEL]).hexdigest() if MODEL in parts else "",
        about=_about(manifest, lineage, accuracy),
    )


def _parts(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        # Stored parts are no larger than the file; packed ones could be anything.
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size > MOST_BYTES for entry in entries):
            raise zipfile.BadZipFile
        # Parts are written to a folder under their names.
        if any(Path(entry.filename).name != entry.filename for entry in entries):
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


def _trees(path: Path, parts: dict[str, bytes]) -> dict[str, Any]:
    trees = {}
    for name, part in parts.items():
        if name.endswith(".cbor"):
            try:
                trees[name] = codec.unpack(part)
            except DecodeError as error:
                raise RegistryError(f"{name} in {path} cannot be read: {error}") from None
            if not isinstance(trees[name], dict):
                raise RegistryError(f"{name} in {path} is not a map")
    return trees


def _tags(manifest: dict[str, Any], lineage: dict[str, Any], accuracy: float | None) -> dict[str, str]:
    tags = {name: _text(manifest[name]) for name in TAGS if name in manifest}
    # To find all that was made of the same data, whatever else the lineage says.
    tags |= {name: _text(lineage[name]) for name in ("pictures", "features") if name in lineage}
    if accuracy is not None:
        tags["accuracy"] = f"{accuracy:.4f}"
    return {name: value for name, value in tags.items() if len(value) <= MOST_TAG}


def _about(manifest: dict[str, Any], lineage: dict[str, Any], accuracy: float | None) -> str:
    known = f"Recognises {accuracy:.1%} of its calibration frames. " if accuracy is not None else ""
    classes = manifest.get("classes")
    many = f"{len(classes)} classes, " if isinstance(classes, list) else ""
    made_of = lineage.get("pictures") or lineage.get("features")
    source = f" Made of {lineage.get('listed', 'some')} samples, {_text(made_of)[:12]}." if made_of else ""
    return f"{known}{many}{manifest.get('dimension')} dimensions, made with {manifest.get('runtime')}.{source}"


def _readable(tree: Any) -> bytes:
    return (json.dumps(tree, indent=1, ensure_ascii=False, default=_size, skipkeys=True) + "\n").encode(
        errors="surrogatepass"
    )


def _size(value: Any) -> str:
    return f"{len(value) // 4} float32" if isinstance(value, Float32Array) else f"{len(value)} bytes"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
