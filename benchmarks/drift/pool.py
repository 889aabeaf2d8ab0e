"""Embeddings of many views of every picture, kept in a folder: the one slow step, done once.

    ref-<v>.npz                      x (reference pictures, D): view v of each
    clean-<v>.npz                    x (stream pictures, D)
    <corruption>-<severity>.npz      x (stream pictures, D): one view of each, corrupted
    <corruption>-4-again.npz         a second one, as accuracy is measured on that severity

Rows are in the order of the album's pictures of that part. A part is made whole or not at all, from chance of its
own, so a run that was interrupted goes on and gives the same numbers.
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_actors.arrays import Floats
from edge_actors.pictures import Pixels
from edge_actors.ports.interpreter import Interpreter

from .album import Album, view
from .corruptions import KINDS, corrupt

INDEX = "pool.json"
CLEAN_VIEWS, REF_VIEWS = 8, 4
SEVERITY_ORDER = (4, 5, 3, 2, 1)
AGAIN = "-again"


def parts() -> list[str]:
    """All parts of a pool, the most useful first."""
    clean = [f"ref-{v}" for v in range(REF_VIEWS)] + [f"clean-{v}" for v in range(CLEAN_VIEWS)]
    corrupted = [f"{kind}-{severity}" for severity in SEVERITY_ORDER for kind in KINDS]
    return clean + corrupted + [f"{kind}-4{AGAIN}" for kind in KINDS]


class Pool:
    """The views of an album; what is asked for must have been filled."""

    def __init__(self, directory: Path, labels: list[str], of: list[str]) -> None:
        self.directory = directory
        everything = np.array(labels)
        self.ref_labels = everything[[i for i, part in enumerate(of) if part == "ref"]]
        self.stream_labels = everything[[i for i, part in enumerate(of) if part == "stream"]]
        self._held: dict[str, Floats] = {}

    @classmethod
    def open(cls, directory: Path) -> Pool:
        """A pool that `fill` has begun or finished."""
        about = json.loads((directory / INDEX).read_text())
        return cls(directory, about["labels"], about["parts"])

    @property
    def classes(self) -> list[str]:
        return sorted(set(self.stream_labels.tolist()))

    def has(self, part: str) -> bool:
        return (self.directory / f"{part}.npz").is_file()

    def __getitem__(self, part: str) -> Floats:
        """(pictures of that part, D)."""
        if part not in self._held:
            with np.load(self.directory / f"{part}.npz") as held:
                self._held[part] = held["x"]
        return self._held[part]

    def clean(self) -> Floats:
        """(views, stream pictures, D)."""
        return self._stack("clean")

    def ref(self) -> Floats:
        """(views, reference pictures, D)."""
        return self._stack("ref")

    def corrupted(self, kind: str, severity: int) -> Floats:
        """(views, stream pictures, D)."""
        name = f"{kind}-{severity}"
        both = (name, name + AGAIN) if self.has(name + AGAIN) else (name,)
        return np.stack([self[part] for part in both])

    def _stack(self, kind: str) -> Floats:
        if kind not in self._held:
            count = CLEAN_VIEWS if kind == "clean" else REF_VIEWS
            self._held[kind] = np.stack([self[f"{kind}-{v}"] for v in range(count) if self.has(f"{kind}-{v}")])
            for v in range(count):
                self._held.pop(f"{kind}-{v}", None)
        return self._held[kind]


def fill(album: Album, directory: Path, seed: int = 0, progress: bool = True) -> Pool:
    """Makes what is missing; a pool of other pictures or another model in the folder is an error."""
    directory.mkdir(parents=True, exist_ok=True)
    about = {
        "album": album.name,
        "digest": album.digest(),
        "seed": seed,
        "labels": album.labels,
        "parts": album.parts,
    }
    index = directory / INDEX
    if index.is_file() and json.loads(index.read_text())["digest"] != about["digest"]:
        raise SystemExit(f"{directory} holds the embeddings of other pictures; give another --pool, or remove it")
    index.write_text(json.dumps(about))
    pool = Pool(directory, list(album.labels), list(album.parts))
    missing = [part for part in parts() if not pool.has(part)]
    if missing:
        _make(album, pool, missing, seed, progress)
    return pool


def _make(album: Album, pool: Pool, missing: list[str], seed: int, progress: bool) -> None:
    interpreter = Interpreter(album.model)
    kept = {index: album.pixels(index, interpreter.input_shape) for index in range(len(album.labels))}
    started, done = time.monotonic(), 0
    total = sum(len(album.of(_of(part))) for part in missing)
    for part in missing:
        chance = np.random.default_rng([seed, zlib.crc32(part.encode())])
        views = _views(album, part, kept, interpreter.input_shape, chance)
        embedded = np.stack([interpreter.embed(pixels).copy() for pixels in views])
        beside = pool.directory / f"{part}.part.npz"
        np.savez_compressed(beside, x=embedded)
        beside.replace(pool.directory / f"{part}.npz")
        done += len(embedded)
        if progress:
            left = (time.monotonic() - started) / done * (total - done)
            print(
                f"embedding {part}: {done} of {total} views, {left / 60:.1f} min to go", file=sys.stderr, flush=True
            )


def _of(part: str) -> str:
    return "ref" if part.startswith("ref-") else "stream"


def _views(
    album: Album, part: str, kept: dict[int, Pixels], size: tuple[int, int, int], chance: np.random.Generator
) -> Iterator[Pixels]:
    kind, number = part.removesuffix(AGAIN).rsplit("-", 1)
    for index in album.of(_of(part)):
        seen = view(kept[index], size, album.mirror, chance)
        yield corrupt(seen, kind, int(number), chance) if kind in KINDS else seen
