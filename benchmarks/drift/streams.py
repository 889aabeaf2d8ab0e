"""The streams of the protocol: which view of which picture a device sees at each frame, and when the world changes.

Every stream is made from its name, its task (the class that is left out of the bundle) and a seed alone. Promises,
kept by all of them and tested:

- pictures of streams are never among those of which the bundle is made (they come from another part of the album);
- a picture of the last 500 frames never occurs before;
- the drift begins at a random frame in 800..1199; before it only known classes are shown, clean and evenly;
- "iid": each frame shows another picture than the one before; "dwell 8": each scene is held for Geometric(1/8)
  frames, each of them another view of the same picture.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_actors.arrays import Floats

from .corruptions import KINDS, SEVERITIES
from .pool import Pool

FRAMES, CONTROL_FRAMES = 3000, 20_000
COMMISSIONING = 500
ONSET = (800, 1200)
LAST = 500  # frames over which accuracy counts
LATE_SHARE = 0.3  # of the stream pictures of a class are kept for them
DWELL = 8
PRIOR_SHARE = 0.6  # that a class rises to
GRADUAL_FRAMES, GRADUAL_SHARE = 1000, 0.5  # an unseen class comes slowly
RECURRING_FRAMES, RECURRING_SHARE = 300, 0.5  # on, then off, and so on
STEP_FRAMES = 200  # a gradual corruption grows by one severity
END_FRAMES, END_SEVERITY = 800, 4  # an ending corruption

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Spec:
    """Names one stream. `group` is the row of the table it counts for; `detail` a class or a corruption."""

    group: str
    task: str  # the class that is left out
    detail: str = ""
    severity: int = 0
    repeat: int = 0
    frames: int = FRAMES
    seed: int = 0

    @property
    def name(self) -> str:
        """Unique within the protocol, and fit for a file name."""
        parts = [self.group, self.detail, str(self.severity or ""), f"r{self.repeat}" if self.repeat else ""]
        return "-".join(part for part in parts if part)

    def chance(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(f"{self.task}/{self.name}/{self.frames}".encode())])


@dataclass(frozen=True)
class Stream:
    """What is shown at each frame. `drifts` are the (begin, end) frames of real drifts, ends excluded."""

    spec: Spec
    pictures: Indices  # (n,) rows of the pool's stream pictures
    scenes: Indices  # (n,) counts up with each new scene
    views: Indices  # (n,) view of a clean frame
    labels: NDArray[np.str_]  # (n,) what is really shown
    severities: Indices  # (n,) 0: clean
    drifts: tuple[tuple[int, int], ...] = ()
    changed: int | None = field(default=None)  # the first frame of a benign change

    @property
    def onset(self) -> int | None:
        """The first frame of the first drift."""
        return self.drifts[0][0] if self.drifts else None

    def features(self, pool: Pool) -> Floats:
        """(n, D) embeddings."""
        clean = pool.clean()
        found: Floats = clean[self.views % len(clean), self.pictures]
        for severity in sorted(set(self.severities.tolist()) - {0}):
            rows = np.flatnonzero(self.severities == severity)
            corrupted = pool.corrupted(self.spec.detail, severity)
            found[rows] = corrupted[self.views[rows] % len(corrupted), self.pictures[rows]]
        return found


# ---- which streams there are -----------------------------------------------------------------------------------

UNSEEN = ("unseen-30", "unseen-10", "unseen-30-dwell", "unseen-gradual", "unseen-recurring")
CONTROLS = ("control-iid", "control-dwell")
FORCED = "forced"  # nothing drifts, but an alarm is forced
FORCED_AT = 1300  # the frame of that alarm: after the change of a prior shift too


@dataclass(frozen=True)
class Extent:
    """How much of the protocol is played."""

    tasks: int = 1000  # classes left out, one at a time
    control_frames: int = CONTROL_FRAMES
    repeats: int = 3  # of each unseen stream of a task
    priors: int = 1000  # classes that rise, a task
    severities: tuple[int, ...] = SEVERITIES
    corruptions: tuple[str, ...] = tuple(KINDS)
    seed: int = 0


FULL = Extent()
QUICK = Extent(tasks=3, control_frames=6000, repeats=1, priors=2, severities=(2, 4))


def tasks(pool: Pool, extent: Extent = FULL) -> list[str]:
    """The classes that are left out, spread over the alphabet where not all are."""
    classes = pool.classes
    count = min(extent.tasks, len(classes))
    return [classes[index * len(classes) // count] for index in range(count)]


def protocol(pool: Pool, task: str, extent: Extent = FULL) -> Iterator[Spec]:
    """All streams of a task, in the order of the table."""
    seed, known = extent.seed, [one for one in pool.classes if one != task]
    for group in CONTROLS:
        yield Spec(group, task, frames=extent.control_frames, seed=seed)
    for label in known[: extent.priors]:
        yield Spec("prior", task, label, seed=seed)
    for repeat in range(extent.repeats):
        yield Spec(FORCED, task, repeat=repeat, seed=seed)
    for group in UNSEEN:
        for repeat in range(extent.repeats):
            yield Spec(group, task, repeat=repeat, seed=seed)
    for kind in extent.corruptions:
        for severity in extent.severities:
            yield Spec("corruption", task, kind, severity, seed=seed)
        yield Spec("corruption-gradual", task, kind, seed=seed)
        yield Spec("corruption-end", task, kind, seed=seed)


# ---- making one ------------------------------------------------------------------------------------------------


def make(pool: Pool, spec: Spec) -> Stream:
    """The stream of this name. Raises ValueError for a group that does not exist."""
    chance = spec.chance()
    n = spec.frames
    onset = int(chance.integers(*ONSET))
    share, drifts = _unseen_share(spec.group, n, onset)
    severities, corrupted = _severities(spec, n, onset)
    weights = _weights(pool, spec, n, onset)
    cast = _Cast(pool, spec.task, chance)
    pictures, scenes, views = cast.play(n, share, weights, DWELL if spec.group.endswith("dwell") else 1)
    return Stream(
        spec,
        pictures,
        scenes,
        views,
        pool.stream_labels[pictures],
        severities,
        drifts or corrupted,
        onset if spec.group == "prior" else None,
    )


def _unseen_share(group: str, n: int, onset: int) -> tuple[Floats, tuple[tuple[int, int], ...]]:
    """(n,) how likely a scene shows the unseen class, and when that is a drift."""
    share, since = np.zeros(n, np.float32), np.arange(n) - onset
    if group == "unseen-recurring":
        share[(since >= 0) & (since // RECURRING_FRAMES % 2 == 0)] = RECURRING_SHARE
        begins = range(onset, n, 2 * RECURRING_FRAMES)
        return share, tuple((begin, min(begin + RECURRING_FRAMES, n)) for begin in begins)
    if group == "unseen-gradual":
        share[:] = np.clip(since / GRADUAL_FRAMES, 0, 1) * GRADUAL_SHARE
    elif group.startswith("unseen-"):
        share[since >= 0] = int(group.split("-")[1]) / 100
    elif group not in (*CONTROLS, FORCED, "prior", "corruption", "corruption-gradual", "corruption-end"):
        raise ValueError(f"there is no stream {group!r}")
    return share, ((onset, n),) if group.startswith("unseen-") else ()


def _severities(spec: Spec, n: int, onset: int) -> tuple[Indices, tuple[tuple[int, int], ...]]:
    """(n,) how much each frame is corrupted, and when that is a drift."""
    severities, since = np.zeros(n, np.int64), np.arange(n) - onset
    if spec.group == "corruption":
        severities[since >= 0] = spec.severity
    elif spec.group == "corruption-gradual":
        severities[since >= 0] = np.minimum(1 + since[since >= 0] // STEP_FRAMES, max(SEVERITIES))
    elif spec.group == "corruption-end":
        severities[(since >= 0) & (since < END_FRAMES)] = END_SEVERITY
        return severities, ((onset, onset + END_FRAMES),)
    return severities, ((onset, n),) if severities.any() else ()


def _weights(pool: Pool, spec: Spec, n: int, onset: int) -> NDArray[np.float64]:
    """(n, known classes) how likely a scene of known things shows each."""
    known = [one for one in pool.classes if one != spec.task]
    weights = np.full((n, len(known)), 1 / len(known))
    if spec.group == "prior":
        weights[onset:] = (1 - PRIOR_SHARE) / (len(known) - 1)
        weights[onset:, known.index(spec.detail)] = PRIOR_SHARE
    return weights


class _Cast:
    """The pictures of a stream: some for the last frames only, the others for all before."""

    def __init__(self, pool: Pool, task: str, chance: np.random.Generator) -> None:
        self.chance = chance
        self.views = len(pool.clean())
        self.early: list[Indices] = []
        self.late: list[Indices] = []
        for label in [*(one for one in pool.classes if one != task), task]:  # the unseen one comes last
            shuffled = chance.permutation(np.flatnonzero(pool.stream_labels == label))
            kept = max(2, round(LATE_SHARE * len(shuffled)))
            self.late.append(shuffled[:kept])
            self.early.append(shuffled[kept:])

    def play(
        self, n: int, share: Floats, weights: NDArray[np.float64], dwell: int
    ) -> tuple[Indices, Indices, Indices]:
        """Picture, scene and view of each frame."""
        pictures, scenes, views = (np.empty(n, np.int64) for _ in range(3))
        lengths = self.chance.geometric(1 / dwell, n).tolist()  # more than needed: of each scene
        draws = self.chance.random((n, 3)).tolist()
        reached, shares = np.cumsum(weights, axis=1), share.tolist()
        at, scene, shown = 0, 0, -1
        while at < n:
            late = at >= n - LAST
            border = n if late else n - LAST  # a scene does not reach into the last frames
            length = min(lengths[scene], border - at)
            by_chance, which, what = draws[scene]
            known = min(int(np.searchsorted(reached[at], which, side="right")), len(weights[at]) - 1)
            of = (self.late if late else self.early)[-1 if by_chance < shares[at] else known]
            choice = int(what * len(of))
            if of[choice] == shown:
                choice = (choice + 1) % len(of)  # another one
            shown = int(of[choice])
            pictures[at : at + length], scenes[at : at + length] = shown, scene
            views[at : at + length] = self._views(length)
            at, scene = at + length, scene + 1
        return pictures, scenes, views

    def _views(self, length: int) -> Indices:
        """Views of one picture, none twice in a row."""
        if length == 1:
            return self.chance.integers(self.views, size=1)
        return np.resize(self.chance.permutation(self.views), length)


# ---- for anybody to repeat by hand -----------------------------------------------------------------------------


def reference(pool: Pool, task: str) -> tuple[Floats, NDArray[np.str_]]:
    """Features and labels of which the bundle of a task is made: one view of each reference picture it may know."""
    rows = np.flatnonzero(pool.ref_labels != task)
    return pool["ref-0"][rows], pool.ref_labels[rows]


def write_reference(pool: Pool, task: str, path: Path) -> None:
    """R.npz for `tinyml bundle build --features`."""
    features, labels = reference(pool, task)
    np.savez_compressed(path, features=features, labels=labels)


def write_stream(pool: Pool, stream: Stream, path: Path) -> None:
    """S.npz for `tinyml evaluate`."""
    np.savez_compressed(path, features=stream.features(pool), labels=stream.labels)
