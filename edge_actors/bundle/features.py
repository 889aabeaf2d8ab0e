"""Features that something else extracted, as NumPy archives hold them: what is read from one is checked."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..algorithms.projection import LARGEST
from ..arrays import Floats
from ..errors import FeaturesError

KINDS = ("uint8", "float32")  # of the features, as they come
PARTS = ("", "memory", "calibration")


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Row i: the features of one picture, its class ("" where it is not known), and what it may be used for."""

    features: Floats  # (n, D)
    labels: tuple[str, ...]
    parts: tuple[str, ...]

    def digest(self) -> str:
        """Names the content of the table."""
        seen = hashlib.sha256(np.ascontiguousarray(self.features).tobytes())
        seen.update(
            "\n".join(f"{label}\t{part}" for label, part in zip(self.labels, self.parts, strict=True)).encode(
                errors="surrogatepass"
            )
        )
        return seen.hexdigest()


@dataclass(frozen=True, slots=True)
class FeatureStream:
    """A recorded stream; `labels` say what each frame really shows, for scoring only."""

    name: str
    features: NDArray[Any]  # (n, D) uint8 or float32
    labels: tuple[str, ...] | None


def read_table(path: Path) -> FeatureTable:
    """Labelled features to build a bundle of: arrays `features`, `labels`, perhaps `part`. Raises FeaturesError."""
    arrays = _arrays(path, ("features", "labels", "part"))
    features = _features(path, arrays)
    labels = _texts(path, arrays, "labels", len(features))
    if labels is None:
        raise FeaturesError(path, "it has no array `labels`")
    parts = _texts(path, arrays, "part", len(features)) or ("",) * len(features)
    if unknown := sorted(set(parts) - set(PARTS)):
        raise FeaturesError(path, f"part {unknown[0]!r} is not known: it can be memory or calibration")
    return FeatureTable(features.astype(np.float32), labels, parts)


def read_stream(path: Path) -> FeatureStream:
    """A stream to play: arrays `features` and perhaps `labels`. Raises FeaturesError."""
    arrays = _arrays(path, ("features", "labels"))
    features = _features(path, arrays)
    return FeatureStream(path.name, features, _texts(path, arrays, "labels", len(features)))


def _arrays(path: Path, wanted: Sequence[str]) -> dict[str, NDArray[Any]]:
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise FeaturesError(path, "it is a single array; an .npz archive of named arrays is needed")
        with archive:
            return {name: archive[name] for name in wanted if name in archive.files}
    except OSError as error:
        raise FeaturesError(path, f"it cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        objects = "Object arrays" in str(error)
        text = "its strings are Python objects; save them as a NumPy array of strings" if objects else ""
        raise FeaturesError(path, text or "it is no .npz archive of arrays, or a damaged one") from None


def _features(path: Path, arrays: dict[str, NDArray[Any]]) -> NDArray[Any]:
    features = arrays.get("features")
    if features is None:
        raise FeaturesError(path, "it has no array `features`")
    if features.ndim != 2 or not features.size or features.shape[1] < 2:
        raise FeaturesError(path, f"`features` has the shape {features.shape}; frames x numbers are needed")
    if features.dtype.name not in KINDS:
        raise FeaturesError(path, f"`features` is {features.dtype.name}; it has to be {' or '.join(KINDS)}")
    if features.dtype != np.uint8:
        sound = (np.abs(features) <= LARGEST).all(axis=1)  # what is no number is not smaller either
        if not sound.all():
            first = int(np.flatnonzero(~sound)[0])
            reason = f"row {first} of `features` holds something that is no number, or larger than {LARGEST:g}"
            raise FeaturesError(path, reason)
    return features


def _texts(path: Path, arrays: dict[str, NDArray[Any]], name: str, count: int) -> tuple[str, ...] | None:
    texts = arrays.get(name)
    if texts is None:
        return None
    if texts.dtype.kind not in "US" or texts.shape != (count,):
        raise FeaturesError(path, f"`{name}` has to be {count} strings, one for each row of `features`")
    return tuple(str(text) for text in (np.char.decode(texts, "utf-8") if texts.dtype.kind == "S" else texts))
