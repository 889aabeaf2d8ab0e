"""A pool of made-up embeddings: classes lie apart, a corruption moves everything to one side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.drift import pool as pools
from benchmarks.drift.corruptions import KINDS
from benchmarks.drift.pool import Pool

CLASSES = ("ash", "beech", "cedar", "elm")
EACH = 60  # pictures of a class and part
DIMENSION = 24


def synthetic_pool(directory: Path) -> Pool:
    """As `pool.fill` leaves it, without pictures."""
    rng = np.random.default_rng(7)
    labels = [label for label in CLASSES for _ in range(2 * EACH)]
    of = [part for _ in CLASSES for part in ("ref", "stream") for _ in range(EACH)]
    places = {label: 4 * rng.standard_normal(DIMENSION) for label in CLASSES}
    pictures = np.stack([places[label] + rng.standard_normal(DIMENSION) for label in labels])
    rows = {part: [at for at, one in enumerate(of) if one == part] for part in ("ref", "stream")}
    sides = {kind: rng.standard_normal(DIMENSION) for kind in KINDS}
    about = {"album": "trees", "digest": "", "seed": 0, "labels": labels, "parts": of}
    (directory / pools.INDEX).write_text(json.dumps(about))
    for part in pools.parts():
        chosen = pictures[rows["ref" if part.startswith("ref-") else "stream"]]
        seen = chosen + 0.2 * rng.standard_normal(chosen.shape)
        kind, _, severity = part.removesuffix(pools.AGAIN).rpartition("-")
        if kind in KINDS:
            seen = seen + 0.8 * int(severity) * sides[kind]
        np.savez(directory / f"{part}.npz", x=seen.astype(np.float32))
    return Pool.open(directory)
