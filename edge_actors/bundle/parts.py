"""The parts of a bundle as CBOR, and back with nothing taken on trust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from broker import codec
from broker.errors import DecodeError
from broker.messages import Float32Array

from ..algorithms.calibration import Calibration, Statistics
from ..algorithms.mewma import Places
from ..algorithms.projection import Projection
from ..algorithms.scores import Pair, Usual
from ..algorithms.votes import CONFIDENCES, DISTANCES
from ..arrays import Floats, floats, packed
from ..errors import BundleError
from .archive import MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the memory is to be used."""

    k: int = 5
    capacity: int = 0  # samples the memory may hold, the reference included
    distance: str = DISTANCES[0]
    confidence: str = CONFIDENCES[0]
    quota: int = 0  # samples of one class that the device may add; 0: as many as there is room for
    condense: bool = False  # a full memory first lets go of the guesses that it can do without

    def rules(self) -> dict[str, Any]:
        """All of it, as a memory takes it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Reference:
    """The memory as delivered: row i is a sample of class labels[i]."""

    values: Floats  # (n, D)
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All parts of a bundle."""

    model: bytes | None  # None: the bundle takes features, which something else extracts
    classes: tuple[str, ...]
    projection: Projection
    reference: Reference
    calibration: Calibration
    statistics: Statistics
    settings: Settings


def encoded(contents: Contents) -> dict[str, bytes]:
    """Name of the part -> its bytes."""
    projection, statistics = contents.projection, contents.statistics
    index = {label: at for at, label in enumerate(contents.classes)}
    trees: dict[str, dict[str, Any]] = {
        "labels.cbor": {"classes": list(contents.classes)},
        "projection.cbor": {
            "matrix": packed(projection.matrix),
            "offset": packed(projection.offset),
            "centre": packed(projection.centre),
            "inverse_spread": packed(projection.inverse_spread),
        },
        "memory.cbor": {
            "values": packed(contents.reference.values),
            "labels": [index[label] for label in contents.reference.labels],
        },
        "calibration.cbor": {
            "values": packed(contents.calibration.values),
            "residuals": packed(contents.calibration.residuals),
            "labels": [index[label] for label in contents.calibration.labels],
            "statistics": {
                "everywhere": [list(usual) for usual in statistics.everywhere],
                "classes": {label: [list(usual) for usual in pair] for label, pair in statistics.classes.items()},
                "overall": list(statistics.overall),
                "usual": list(statistics.usual),
                "nearest": statistics.nearest,
                "scene": statistics.scene,
                "accuracy": statistics.accuracy,
                "means": {label: packed(mean) for label, mean in statistics.places.means.items()},
                "shares": statistics.places.shares,
                "whitening": packed(statistics.places.whitening),
            },
        },
        "settings.cbor": {
            "k": contents.settings.k,
            "capacity": contents.settings.capacity,
            "distance": contents.settings.distance,
            "confidence": contents.settings.confidence,
            "quota": contents.settings.quota,
            "condense": contents.settings.condense,
        },
    }
    model = {} if contents.model is None else {MODEL: contents.model}
    return model | {name: codec.pack(tree) for name, tree in trees.items()}


def decoded(parts: Mapping[str, bytes], dimension: int, embedding: int, where: str) -> Contents:
    """The parts of a bundle of these sizes. Raises BundleError where one is missing, does not fit or is no number."""
    trees = {name: _Part(where, name, data) for name, data in parts.items() if name.endswith(".cbor")}
    classes = tuple(trees["labels.cbor"].list_of(str, "classes"))
    if len(classes) < 2 or len(set(classes)) != len(classes):
        raise BundleError(where, "it needs two classes or more, each once")
    held, memory, calibration = trees["projection.cbor"], trees["memory.cbor"], trees["calibration.cbor"]
    return Contents(
        model=parts.get(MODEL),
        classes=classes,
        projection=Projection(
            held.array("matrix", dimension, embedding),
            held.array("offset", dimension),
            held.array("centre", embedding),
            held.array("inverse_spread", embedding),
        ),
        reference=Reference(*_labelled(memory, classes, dimension)),
        calibration=_calibration(calibration, classes, dimension),
        statistics=_statistics(calibration.part("statistics"), classes, dimension),
        settings=_settings(trees["settings.cbor"]),
    )


def _labelled(part: _Part, classes: Sequence[str], dimension: int) -> tuple[Floats, tuple[str, ...]]:
    indices = part.list_of(int, "labels")
    if not all(0 <= index < len(classes) for index in indices):
        part.refuse("labels", "names a class that the bundle does not have")
    return part.array("values", len(indices), dimension), tuple(classes[index] for index in indices)


def _calibration(part: _Part, classes: Sequence[str], dimension: int) -> Calibration:
    values, labels = _labelled(part, classes, dimension)
    if not labels:
        part.refuse("labels", "is empty")
    return Calibration(values, part.array("residuals", len(labels)), labels)


def _statistics(part: _Part, classes: Sequence[str], dimension: int) -> Statistics:
    table = part.part("classes")
    if not set(table.tree) <= set(classes):
        part.refuse("classes", "names a class that the bundle does not have")
    usual = tuple(part.numbers("usual", 4))
    if min(*usual, part.number("nearest"), part.number("scene")) <= 0:
        part.refuse("usual, nearest or scene", "has to be above zero")
    return Statistics(
        part.pair("everywhere"),
        {label: table.pair(label) for label in table.tree},
        part.usual(part.numbers("overall", 2), "overall"),
        usual,
        part.number("nearest"),
        part.number("scene"),
        part.number("accuracy"),
        _places(part, classes, dimension),
    )


def _places(part: _Part, classes: Sequence[str], dimension: int) -> Places:
    means, shares = part.part("means"), part.part("shares")
    if set(means.tree) != set(classes) or set(shares.tree) != set(classes):
        part.refuse("means or shares", "does not name the classes of the bundle")
    return Places(
        {label: means.array(label, dimension) for label in classes},
        {label: shares.share(label) for label in classes},
        part.array("whitening", dimension, dimension),
    )


def _settings(part: _Part) -> Settings:
    later = Settings()  # what older bundles do not say
    settings = Settings(
        k=part.of(int, "k"),
        capacity=part.of(int, "capacity"),
        distance=part.of(str, "distance"),
        confidence=part.of(str, "confidence", later.confidence),
        quota=part.of(int, "quota", later.quota),
        condense=part.of(bool, "condense", later.condense),
    )
    for key, known in (("distance", DISTANCES), ("confidence", CONFIDENCES)):
        if getattr(settings, key) not in known:
            part.refuse(key, f"is {getattr(settings, key)}; known are {', '.join(known)}")
    if not 1 <= settings.k <= 100 or not 0 <= settings.capacity <= 100_000 or not 0 <= settings.quota <= 100_000:
        part.refuse("k, capacity or quota", "is out of range")
    return settings


class _Part:
    """A decoded part; everything asked of it is there, of the right type and size, or BundleError is raised."""

    def __init__(self, where: str, name: str, data: bytes | dict[str, Any]) -> None:
        self.where, self.name = where, name
        try:
            tree = codec.unpack(data) if isinstance(data, bytes) else data
        except DecodeError as error:
            raise BundleError(where, f"{name} cannot be read: {error}") from None
        if type(tree) is not dict:
            raise BundleError(where, f"{name} is not a map")
        self.tree: dict[str, Any] = tree

    def refuse(self, key: str, reason: str) -> None:
        raise BundleError(self.where, f"{self.name}: {key} {reason}")

    def of(self, kind: type, key: str, otherwise: Any = None) -> Any:
        value = self.tree.get(key, otherwise)
        if type(value) is not kind:
            self.refuse(key, f"is no {kind.__name__}")
        return value

    def part(self, key: str) -> _Part:
        return _Part(self.where, f"{self.name}/{key}", self.of(dict, key))

    def list_of(self, kind: type, key: str) -> list[Any]:
        values: list[Any] = self.of(list, key)
        if any(type(value) is not kind for value in values):
            self.refuse(key, f"holds something else than {kind.__name__}")
        return values

    def numbers(self, key: str, count: int) -> list[float]:
        values = self.list_of(float, key)
        if len(values) != count or not np.isfinite(values).all():
            self.refuse(key, f"is not {count} finite numbers")
        return values

    def number(self, key: str) -> float:
        value: float = self.of(float, key)
        if not np.isfinite(value):
            self.refuse(key, "is not finite")
        return value

    def share(self, key: str) -> float:
        value = self.number(key)
        if not 0 < value <= 1:
            self.refuse(key, "is no share")
        return value

    def pair(self, key: str) -> Pair:
        pair = self.list_of(list, key)
        if len(pair) != 2:
            self.refuse(key, "is not two signals")
        return self.usual(pair[0], key), self.usual(pair[1], key)

    def usual(self, numbers: list[Any], key: str) -> Usual:
        if len(numbers) != 2 or not all(type(number) is float and np.isfinite(number) for number in numbers):
            self.refuse(key, "is not mean and spread")
        if numbers[1] <= 0:
            self.refuse(key, "has no spread")
        return Usual(*numbers)

    def array(self, key: str, *shape: int) -> Floats:
        """An array of float32 of this shape, all of them finite."""
        found = floats(self.of(Float32Array, key))
        if found.size != np.prod(shape, dtype=np.int64):
            self.refuse(key, f"has {found.size} numbers instead of {' x '.join(map(str, shape))}")
        if not np.isfinite(found).all():
            self.refuse(key, "holds something that is no number")
        return found.reshape(shape)
