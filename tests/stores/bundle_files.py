"""Bundle files as `tinyml bundle build` writes them, as far as the registry looks."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

from broker import codec
from broker.messages import Float32Array

PARTS = {
    "model.tflite": b"a model",
    "labels.cbor": codec.pack({"classes": ["pear", "apple"]}),
    "memory.cbor": codec.pack({"values": Float32Array.of([1.0, 2.0]), "labels": [0, 1]}),
    "calibration.cbor": codec.pack({"statistics": {"accuracy": 0.875}}),
}


def bundle(path: Path, *, parts: dict[str, bytes] | None = None, pack: bool = False, **about: Any) -> Path:
    """A file whose manifest lists PARTS and says `about`; it holds `parts` instead, where they are given."""
    listed = {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in PARTS.items()}
    manifest = {"format": "tinymlops-bundle", "version": 1, "parts": listed, "dimension": 64, "k": 5, **about}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if pack else zipfile.ZIP_STORED) as file:
        file.writestr("manifest.json", json.dumps(manifest))
        for name, data in {**PARTS, **(parts or {})}.items():
            file.writestr(name, data)
    return path


def report(path: Path, **changed: Any) -> Path:
    """A report as `tinyml train` writes it."""
    told = {
        "format": "tinymlops-training",
        "version": 1,
        "model": {"sha256": hashlib.sha256(PARTS["model.tflite"]).hexdigest(), "size": 7},
        "options": {"backbone": "mobilenet-v2", "alpha": 0.5, "seed": 0},
        "classes": ["apple", "pear"],
        "pictures": {"learned_from": 70, "held_out": 30},
        "passes": [_pass(1, 1.5), _pass(2, 0.75)],
        "accuracy": {"float": 0.9, "int8": 0.8},
        "confusion": [[12, 3], [3, 12]],
    }
    path.write_text(json.dumps({**told, **changed}))
    return path


def _pass(number: int, loss: float) -> dict[str, Any]:
    measured = {"loss": loss, "accuracy": 0.8, "held_out_accuracy": 0.7, "seconds": 2.5}
    return {"phase": "head", **measured, "ended_s": 1_700_000_000.0 + number}
