"""The device as it is, watching a stream as `tinyml evaluate` plays it; what it said as figures."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_actors import wiring
from edge_actors.bundle import Bundle
from edge_actors.bundle.features import FeatureStream
from edge_actors.evaluation import Played, meanings, play, pseudo_labelled
from edge_actors.settings import EdgeSettings

from . import forced
from .measures import Outcome, accuracies
from .plots import Watched
from .pool import Pool
from .streams import Stream


@dataclass(frozen=True)
class Way:
    """How a device watches. Empty: as it does by itself; policy none: its memory stays as it was delivered."""

    name: str
    detector: str = ""
    policy: str = ""
    labels: int = 0  # requests that a person answers
    forced: bool = False  # an alarm is forced
    settings: tuple[tuple[str, Any], ...] = ()  # others than the usual ones

    def called(self, name: str, **changes: Any) -> Way:
        return replace(self, name=name, **changes)


def result(bundle: Bundle, pool: Pool, stream: Stream, way: Way) -> Played:
    """What the device said of the stream."""
    chosen: dict[str, Any] = {
        name: value for name, value in (("detectors", way.detector), ("policy", way.policy)) if value
    }
    settings = EdgeSettings(bundle=Path("task.bundle"), device="protocol", camera="-", **chosen, **dict(way.settings))
    build = forced.build if way.forced else wiring.build
    recorded = FeatureStream(stream.spec.name, stream.features(pool), tuple(stream.labels.tolist()))
    return play(bundle, recorded, settings, answers=way.labels, build=build)


def outcome(bundle: Bundle, pool: Pool, stream: Stream, way: Way) -> Outcome:
    """The same as figures."""
    started = time.perf_counter()
    said = result(bundle, pool, stream, way)
    stored = pseudo_labelled(said)
    means = meanings(stored, stream.labels.tolist(), bundle.contents.classes)
    wrong = sum(means.get(label, label) != stream.labels[frame] for frame, label in stored)
    begins, ends = frames_of(said)
    return Outcome(
        way.name,
        stream.spec,
        stream.spec.frames,
        stream.drifts,
        begins,
        ends,
        accuracies(said.predicted, stream, means),
        (wrong, len(stored)),
        min(len(said.labels_asked), way.labels),  # what is asked beyond that gets no answer
        tuple((one["frame"], one["kind"], one["outcome"]) for one in said.adaptations),
        time.perf_counter() - started,
    )


def watched(bundle: Bundle, pool: Pool, stream: Stream, way: Way, rivals: dict[str, list[int]]) -> Watched:
    """The same for a plot."""
    said = result(bundle, pool, stream, way)
    begins, ends = frames_of(said)
    adaptations = [(one["frame"], one["outcome"]) for one in said.adaptations]
    return Watched(stream, said.score, said.in_drift, begins, ends, adaptations, rivals)


def frames_of(said: Played) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Frames of begins and ends."""
    begins, ends = (
        tuple(event["frame"] for event in said.events if event["kind"] == kind) for kind in ("begin", "end")
    )
    return begins, ends
