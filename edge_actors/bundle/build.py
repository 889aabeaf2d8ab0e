"""Makes a bundle of labelled pictures or features: part becomes the memory, the rest calibrates what is usual."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from .. import pictures
from ..algorithms.calibration import Calibration, Statistics, measure
from ..algorithms.naming import can_be_given
from ..algorithms.neighbours import Memory
from ..algorithms.projection import LARGEST, Projection
from ..algorithms.votes import CONFIDENCES, DISTANCES
from ..arrays import Floats
from ..errors import BundleBuildError
from ..ports.interpreter import Interpreter
from . import archive
from .bundle import NO_RUNTIME, Bundle
from .features import FeatureTable
from .parts import Contents, Reference, Settings, encoded

MEMORY_SHARE = 0.55  # of the pictures of a class; the rest calibrates
USUAL_DIMENSION = 64
FEWEST_PICTURES = 4  # of a class: two to know it by, two to see whether it is known
MOST_CALIBRATION = 1000  # frames; more would only cost the device memory
SAME_SCENE = 0.95  # of the views of a picture are taken for the same scene


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How a bundle is made; the same pictures and options give the same bytes."""

    dimension: int | None = None  # of the projection; by itself 64, or half of what model or pictures allow
    k: int = 5
    seed: int = 0  # which pictures become memory and which calibration
    augment: int = 1  # further views of each picture, as `jitter` makes them; they show how one scene varies
    most_memory: int = 500  # samples, evenly over the classes
    room: int = 250  # samples the device may add
    distance: str = DISTANCES[0]
    confidence: str = CONFIDENCES[0]  # the share of the votes, or of votes weighed by their distance
    quota: int = 0  # samples of one class that the device may add; 0: as many as there is room for
    condense: bool = False  # a full memory first lets go of the guesses that it can do without


Labelled = tuple[
    pictures.Pixels, str, str
]  # a picture of any size, its class, its part: "", ref, memory, calibration
Jitter = Callable[[pictures.Pixels, np.random.Generator], pictures.Pixels]


class View(NamedTuple):
    """One look at one picture."""

    embedding: Floats
    label: str
    part: str
    picture: int  # which picture it is a view of
    turn: int  # 0 as it is, 1.. jittered


def build_bundle(
    labelled: Iterable[Labelled],
    model: bytes,
    options: BuildOptions | None = None,
    *,
    jitter: Jitter = pictures.jitter,
    lineage: Mapping[str, int | str] | None = None,
) -> Bundle:
    """A checked bundle, ready to be run or written. Raises BundleBuildError and ModelError.

    `lineage` are facts about the pictures' origin that the manifest should keep, as they are once all were read.
    """
    options = options or BuildOptions()
    interpreter = Interpreter(model)
    chance = np.random.default_rng(options.seed)
    views, origin = _look(labelled, interpreter, options, jitter, chance)
    source = {"runtime": interpreter.name, "input": list(interpreter.input_shape)}
    return _bundle_of(views, model, source, options, chance, {**(lineage or {}), "pictures": origin})


def build_features_bundle(table: FeatureTable, options: BuildOptions | None = None) -> Bundle:
    """A checked bundle without a model: the device that runs it takes features. Raises BundleBuildError."""
    options = replace(options or BuildOptions(), augment=0)
    rows = zip(table.features, table.labels, table.parts, strict=True)
    views = [View(row, label, part, number, 0) for number, (row, label, part) in enumerate(rows)]
    source = {"runtime": NO_RUNTIME, "input": None}
    lineage: dict[str, int | str] = {"listed": len(views), "features": table.digest()}
    return _bundle_of(views, None, source, options, np.random.default_rng(options.seed), lineage)


def _bundle_of(
    views: list[View],
    model: bytes | None,
    source: Mapping[str, Any],
    options: BuildOptions,
    chance: np.random.Generator,
    lineage: Mapping[str, int | str],
) -> Bundle:
    _check_labels(views)
    _check_numbers(views)
    memory_views, calibration_views = _split(views, chance)
    contents = _contents(model, memory_views, calibration_views, options)
    about = {
        **source,
        "embedding": contents.projection.embedding,
        "dimension": contents.projection.dimension,
        "distance": options.distance,
        "k": options.k,
        "classes": list(contents.classes),
        "lineage": {
            **lineage,
            **asdict(options),
            "memory": dict(sorted(Counter(contents.reference.labels).items())),
            "calibration": dict(sorted(Counter(contents.calibration.labels).items())),
        },
    }
    return Bundle.of_bytes(archive.to_bytes(about, encoded(contents)), "just built")


def _look(
    labelled: Iterable[Labelled],
    interpreter: Interpreter,
    options: BuildOptions,
    jitter: Jitter,
    chance: np.random.Generator,
) -> tuple[list[View], str]:
    """All views of all pictures, and a digest of what was looked at."""
    views: list[View] = []
    seen = hashlib.sha256()
    height, width, channels = interpreter.input_shape
    for number, (pixels, label, part) in enumerate(labelled):
        plain = pictures.fit(pixels, height, width, channels)
        seen.update(
            f"{label}\n{part}\n{hashlib.sha256(plain.tobytes()).hexdigest()}\n".encode(errors="surrogatepass")
        )
        for turn in range(1 + options.augment):
            shown = plain if turn == 0 else pictures.fit(jitter(pixels, chance), height, width, channels)
            views.append(View(interpreter.embed(shown).copy(), label, part, number, turn))
    return views, seen.hexdigest()


def _check_labels(views: list[View]) -> None:
    counts = Counter(view.label for view in views if view.turn == 0)
    if not counts:
        raise BundleBuildError("there are no pictures to make a bundle of")
    if len(counts) == 1:
        raise BundleBuildError(f"all pictures show {next(iter(counts))!r}; at least two classes can be told apart")
    for label, count in sorted(counts.items()):
        if not can_be_given(label):
            raise BundleBuildError(f"{label!r} cannot be the name of a class")
        if count < FEWEST_PICTURES:
            raise BundleBuildError(f"there are {count} pictures of {label!r}; at least {FEWEST_PICTURES} are needed")


def _check_numbers(views: list[View]) -> None:
    """What a device would refuse of a frame, nothing can be learned of either."""
    for view in views:
        if not np.abs(view.embedding).max() <= LARGEST:
            raise BundleBuildError(
                f"the features of picture {view.picture}, of {view.label!r}, hold something that is no number, or"
                f" larger than {LARGEST:g}"
            )


def _split(views: list[View], chance: np.random.Generator) -> tuple[list[View], list[View]]:
    """Views for the memory and for calibration, plain ones first; all views of a picture go the same way."""
    part_of: dict[int, str] = {}
    plain_of: dict[str, list[View]] = {}
    for view in views:
        if view.turn == 0:
            plain_of.setdefault(view.label, []).append(view)
    for label, plain in sorted(plain_of.items()):
        free = [view.picture for view in plain if view.part in ("", "ref")]
        remember = round(MEMORY_SHARE * len(free))
        shuffled = [free[i] for i in chance.permutation(len(free)).tolist()]
        part_of |= {picture: "memory" if i < remember else "calibration" for i, picture in enumerate(shuffled)}
        part_of |= {view.picture: view.part for view in plain if view.part in ("memory", "calibration")}
        for part in ("memory", "calibration"):
            if not any(part_of.get(view.picture) == part for view in plain):
                raise BundleBuildError(f"no picture of {label!r} is left for the {part}")
    order = {picture: place for place, picture in enumerate(part_of)}
    ranked = sorted((view for view in views if view.picture in part_of), key=lambda v: (v.turn, order[v.picture]))
    memory = [view for view in ranked if part_of[view.picture] == "memory"]
    return memory, [view for view in ranked if part_of[view.picture] == "calibration"]


def _contents(model: bytes | None, memory: list[View], calibration: list[View], options: BuildOptions) -> Contents:
    embeddings = np.stack([view.embedding for view in memory])
    if not np.ptp(embeddings, axis=0).any():
        raise BundleBuildError("all pictures of the memory have the same features: nothing can be told apart by them")
    projection = Projection.fit(embeddings, _dimension(embeddings, options))
    remembered = _evenly(memory, options.most_memory)
    values, _ = _projected(projection, remembered)
    reference = Reference(values, tuple(view.label for view in remembered))
    if len(reference.labels) < options.k:
        raise BundleBuildError(
            f"the memory has {len(reference.labels)} samples, fewer than the {options.k} that vote"
        )
    usual = _evenly(calibration, MOST_CALIBRATION)
    frames = Calibration(*_projected(projection, usual), tuple(view.label for view in usual))
    settings = Settings(
        k=options.k,
        capacity=len(reference.labels) + options.room,
        distance=options.distance,
        confidence=options.confidence,
        quota=options.quota,
        condense=options.condense,
    )
    return Contents(
        model=model,
        classes=tuple(sorted({view.label for view in memory})),
        projection=projection,
        reference=reference,
        calibration=frames,
        statistics=_statistics(reference, frames, settings, _same_scene(projection, calibration)),
        settings=settings,
    )


def _statistics(reference: Reference, calibration: Calibration, settings: Settings, same_scene: float) -> Statistics:
    memory = Memory(reference.values, reference.labels, **settings.rules())
    statistics = measure(memory, calibration, same_scene)
    if not statistics.nearest > 0:
        raise BundleBuildError(
            "most calibration pictures have the same features as one of the memory, so nothing tells what is usual;"
            " they have to be different pictures"
        )
    return statistics


def _same_scene(projection: Projection, calibration: list[View]) -> float:
    """How far apart nearly all pairs of jittered views of a picture lie at most; 0 where there are none.

    Measured from the plain view: the difference of two jitters is larger than one by the root of two.
    """
    plain = {view.picture: projection.project(view.embedding)[0] for view in calibration if view.turn == 0}
    gaps = [projection.project(v.embedding)[0] - plain[v.picture] for v in calibration if v.turn]
    return sqrt(2) * float(np.quantile(np.linalg.norm(gaps, axis=1), SAME_SCENE)) if gaps else 0.0


def _dimension(embeddings: Floats, options: BuildOptions) -> int:
    """Smaller than the (n, E) embeddings allow, or nothing would be left unexplained."""
    views, numbers = embeddings.shape
    most: int = min(numbers, views) - 1
    if options.dimension is None:
        return min(USUAL_DIMENSION, max(1, most // 2))
    if not 1 <= options.dimension <= most:
        raise BundleBuildError(
            f"a projection to {options.dimension} dimensions is not possible: there are {numbers} numbers a picture"
            f" and the memory has {views} views, so 1 to {most} are"
        )
    return options.dimension


def _evenly(views: list[View], most: int) -> list[View]:
    """At most so many views, the same number of each class, the first ones of each."""
    quota = max(1, most // len({view.label for view in views}))
    taken: Counter[str] = Counter()
    kept = []
    for view in views:
        taken[view.label] += 1
        if taken[view.label] <= quota:
            kept.append(view)
    return kept


def _projected(projection: Projection, views: list[View]) -> tuple[Floats, Floats]:
    return projection.project_all(np.stack([view.embedding for view in views]))
