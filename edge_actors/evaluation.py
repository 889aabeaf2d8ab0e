"""Plays recorded features through the device as it is, and writes down what it says.

The same actors with the same wiring and settings, every hop in CBOR, a fresh state for each stream. One actor is
added that listens; nothing of what it hears comes back, but answers to the device's own questions where asked for.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Never

import numpy as np

from broker.messages import (
    AdaptationDecided,
    DriftCleared,
    DriftContinued,
    DriftDetected,
    Embedded,
    LabelAssigned,
    LabelRequested,
    Message,
    Scored,
    SnapshotSaved,
    Tick,
)

from . import wiring
from .algorithms.naming import PROVISIONAL
from .arrays import packed
from .bundle import Bundle
from .bundle.features import FeatureStream
from .errors import EvaluationError
from .ports.outbox import Outbox
from .ports.snapshots import Snapshot
from .runtime.actor import Actor
from .runtime.device import Device, Identity
from .runtime.door import Doors
from .runtime.recording import Outputs
from .runtime.replay import Tape
from .runtime.seat import Factory
from .settings import EdgeSettings

FPS = 5  # frames a second of message time, the camera's default
BOOT = "00000000-000001"
STARTED_US = 1_700_000_000_000_000  # wall time of the first frame; nothing may depend on it
LAST = 500  # frames of the second accuracy
TOLD_EVERY = 500  # frames between two reports of progress

Inbox = Scored | DriftDetected | DriftContinued | DriftCleared | AdaptationDecided | LabelRequested
HEARD: tuple[type[Message], ...] = (
    *(Scored, DriftDetected, DriftContinued, DriftCleared, AdaptationDecided, LabelRequested),
)
KINDS: dict[type[Message], str] = {DriftDetected: "begin", DriftContinued: "continue", DriftCleared: "end"}
Build = Callable[[EdgeSettings, Bundle, Outbox], dict[str, Factory]]


@dataclass
class Played:
    """What the device said of one stream, a value for each frame, and what it did. Frames count from 0."""

    stream: str
    frames: int
    predicted: list[str] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    in_drift: list[int] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    adaptations: list[dict[str, Any]] = field(default_factory=list)
    labels_asked: list[int] = field(default_factory=list)
    seconds: float = 0.0
    accuracy: dict[str, float] | None = None  # where the stream has labels
    harm: float | None = None

    def tree(self) -> dict[str, Any]:
        """As JSON has it; what only labels can tell is left out where there are none."""
        return {name: value for name, value in vars(self).items() if value is not None}


def play(
    bundle: Bundle,
    stream: FeatureStream,
    settings: EdgeSettings,
    *,
    answers: int = 0,
    progress: Callable[[int], object] = lambda frames: None,
    build: Build = wiring.build,
) -> Played:
    """A fresh device on a stream; the labels answer its first `answers` questions and score what it said.

    Raises EvaluationError where the stream does not fit the bundle.
    """
    _check(bundle, stream, answers)
    started = time.perf_counter()
    played, asked = Played(stream.name, len(stream.features)), list[str]()
    disk = _Disk()
    device = _device(bundle, settings, build, disk, lambda: _Listener(played, asked))
    for number, row in enumerate(stream.features):
        at = number / FPS
        if number % FPS == 0:
            device.admit(Tick(at=at, wall_us=STARTED_US + round(at * 1e6), clock="synced"))
            progress(number) if number % TOLD_EVERY == 0 else None
        device.admit(Embedded(at=at, frame=f"{BOOT}-{number}", values=packed(row.astype(np.float32))))
        while asked:
            _ask(device, played, stream, asked.pop(0), bundle.digest, answers)
        while disk.waiting:
            device.admit(disk.waiting.pop(0))
    if len(played.predicted) != played.frames:
        raise EvaluationError(f"{stream.name}: the device judged {len(played.predicted)} of {played.frames} frames")
    if stream.labels is not None:
        played.accuracy, played.harm = _quality(played, stream.labels, bundle.contents.classes)
    played.seconds = round(time.perf_counter() - started, 3)
    return played


def _device(
    bundle: Bundle, settings: EdgeSettings, build: Build, disk: _Disk, listener: Callable[[], _Listener]
) -> Device:
    outputs = Outputs(Tape(BOOT, 1))
    routes = {kind: (*names, "listener") if kind in HEARD else names for kind, names in wiring.ROUTES.items()}
    return Device(
        {**build(settings, bundle, outputs), "listener": listener},
        Doors(wiring.DOORS),
        routes,
        snapshots=disk,
        identity=Identity(device=settings.device, boot=BOOT, bundle=bundle.digest, settings=settings.as_text()),
    )


def _check(bundle: Bundle, stream: FeatureStream, answers: int) -> None:
    wanted, found = bundle.contents.projection.embedding, stream.features.shape[1]
    if wanted != found:
        raise EvaluationError(f"{stream.name} has {found} features a frame, the bundle takes {wanted}")
    if answers and stream.labels is None:
        raise EvaluationError(f"{stream.name} has no array `labels`, so nobody can answer the device's questions")


def _ask(device: Device, played: Played, stream: FeatureStream, sample: str, bundle: str, answers: int) -> None:
    """The person: says what a sample is, as long as there are answers left."""
    frame = _frame(sample)
    if answers and len(played.labels_asked) >= answers:
        return
    played.labels_asked.append(frame)
    if answers and stream.labels is not None and (label := stream.labels[frame]):
        device.admit(
            LabelAssigned(sample=sample, revision=1, verdict="is", label=label, by="evaluate", bundle=bundle)
        )


class _Disk:
    """The snapshots of an evaluation: nothing is written, and all of it is safe at once."""

    def __init__(self) -> None:
        self.waiting: list[SnapshotSaved] = []

    def save(self, snapshot: Snapshot) -> None:
        self.waiting.append(SnapshotSaved(snapshot=snapshot.snapshot))


class _Listener(Actor[Inbox, Never]):
    """Writes down what it hears; says nothing."""

    def __init__(self, played: Played, asked: list[str]) -> None:
        self.played, self.asked = played, asked

    def receive(self, message: Inbox) -> Iterator[Never]:
        played = self.played
        if isinstance(message, Scored):
            played.predicted.append(message.label)
            played.score.append(message.score)
            played.in_drift.append(int(message.in_drift))
        elif isinstance(message, AdaptationDecided):
            played.adaptations.append(_adaptation(message))
        elif isinstance(message, LabelRequested):
            self.asked.append(message.sample)
        else:
            played.events.append(
                {
                    "frame": _frame(message.frame),
                    "kind": KINDS[type(message)],
                    "detector": message.detector,
                    "statistic": message.statistic,
                    "threshold": message.threshold,
                }
            )
        return iter(())


def _adaptation(decided: AdaptationDecided) -> dict[str, Any]:
    """A rejected change moved no sample; one that is taken back names its samples again."""
    samples = decided.samples if decided.outcome != "rejected" else ()
    return {
        "frame": round(decided.at * FPS),
        "kind": decided.kind,
        "outcome": decided.outcome,
        "reason": decided.reason,
        "samples": [{"frame": _frame(sample), "label": decided.label} for sample in samples],
    }


def _frame(identity: str) -> int:
    return int(identity.rsplit("-", 1)[1])


# ---- what labels tell --------------------------------------------------------------------------------------------


def _quality(played: Played, labels: Sequence[str], classes: Collection[str]) -> tuple[dict[str, float], float]:
    """Shares of right predictions, and the share of pseudo-labelled samples whose label is wrong (0 without any).

    Frames whose label is empty do not count.
    """
    stored = [(frame, label) for frame, label in pseudo_labelled(played) if labels[frame]]
    means = meanings(stored, labels, classes)
    right = [means.get(said, said) == label for said, label in zip(played.predicted, labels, strict=True)]
    wrong = [means.get(label, label) != labels[frame] for frame, label in stored]
    counted = [hit for hit, label in zip(right, labels, strict=True) if label]
    last = [hit for hit, label in zip(right[-LAST:], labels[-LAST:], strict=True) if label]
    return {"all": _share(counted), "last_500": _share(last)}, _share(wrong)


def pseudo_labelled(played: Played) -> list[tuple[int, str]]:
    """Frame and label of all samples that the device labelled by itself, in the order in which it did."""
    applied = (one for one in played.adaptations if one["outcome"] == "applied")
    return [(sample["frame"], sample["label"]) for one in applied for sample in one["samples"]]


def meanings(stored: Sequence[tuple[int, str]], labels: Sequence[str], classes: Collection[str]) -> dict[str, str]:
    """What each provisional class stands for: the class that most of its samples really show.

    One that mostly shows what the bundle knows stands for nothing: there was no new class to be made.
    """
    shown: dict[str, Counter[str]] = {}
    for frame, label in stored:
        if label.startswith(PROVISIONAL):
            shown.setdefault(label, Counter())[labels[frame]] += 1
    found = {label: max(sorted(counts), key=counts.__getitem__) for label, counts in shown.items()}
    return {label: meaning for label, meaning in found.items() if meaning not in classes}


def _share(those: Sequence[bool]) -> float:
    return sum(those) / len(those) if those else 0.0


def as_json(bundle: Bundle, settings: EdgeSettings, played: Sequence[Played]) -> str:
    """One object for all streams."""
    tree = {
        "bundle": bundle.digest,
        "settings": json.loads(settings.as_text()),
        "streams": [one.tree() for one in played],
    }
    return json.dumps(tree, ensure_ascii=False, allow_nan=False) + "\n"
