"""What is kept of a training beside its model: options, passes, results. A model registry can be told of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from .album import Album

if TYPE_CHECKING:
    from .transfer import Training

FORMAT, VERSION = "tinymlops-training", 1


def report(training: Training, model: bytes, pictures: tuple[int, Album], accuracy: Mapping[str, float]) -> str:
    """The report as JSON; `pictures`: how many it learned from, and those held out; `accuracy` of the latter."""
    learned_from, held_out = pictures
    told = {
        "format": FORMAT,
        "version": VERSION,
        "model": {"sha256": hashlib.sha256(model).hexdigest(), "size": len(model)},
        "options": {**asdict(training.options), "epochs": training.options.passes},
        "parameters": training.parameters,
        "classes": list(training.classes),
        "pictures": {"learned_from": learned_from, "held_out": len(held_out)},
        "passes": training.passes,
        "accuracy": dict(accuracy),
        "confusion": training.confusion(model, held_out),
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"
