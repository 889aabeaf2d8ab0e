"""Who watches what: every way of watching on every stream it is meant for, in a few processes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

from edge_actors.bundle import Bundle
from edge_actors.bundle.build import build_features_bundle
from edge_actors.bundle.features import FeatureTable

from . import measures, ours, rivals, streams
from .goals import FORCED, FROZEN, LABELLED, OURS, SEED
from .measures import Outcome
from .ours import Way
from .pool import Pool
from .streams import CONTROLS, UNSEEN, Extent, Spec

DRIFTS = (*UNSEEN, "corruption", "corruption-gradual", "corruption-end")
BATCH = 6  # streams that a process takes at a time
TUNED_ON = 1000  # added to the seed: rivals are tuned on other streams than those of the table


@dataclass(frozen=True)
class Watch:
    """A way, and the groups of streams it is meant for; of `corruption` perhaps some severities only."""

    way: Way
    groups: tuple[str, ...]
    severities: tuple[int, ...] = ()
    every: int = 1  # it watches every so many of them only

    def wants(self, spec: Spec) -> bool:
        return spec.group in self.groups and (not self.severities or spec.severity in (0, *self.severities))


def watches(chosen: Way) -> list[Watch]:
    """Ours: `chosen` is the device with the detector and the settings that are to be judged."""
    adapting = ("unseen-30", "corruption")
    found = [
        Watch(chosen.called(OURS), (*CONTROLS, "prior", *adapting), (4,)),
        Watch(chosen.called(FROZEN, policy="none"), (*DRIFTS, "prior", streams.FORCED)),
    ]
    for labels, name in LABELLED.items():
        if labels:
            found.append(Watch(chosen.called(name, labels=labels), adapting[: 1 if labels == 20 else 2], (4,)))
    for labels, name in FORCED.items():
        groups = (streams.FORCED,) if labels else (streams.FORCED, "prior")
        found.append(Watch(chosen.called(name, labels=labels, forced=True), groups))
    seed = Way(SEED, detector="page-hinkley", policy="seed")
    return [*found, Watch(seed, (*CONTROLS, "prior", *DRIFTS), every=3)]


@cache
def _pool(directory: Path) -> Pool:
    return Pool.open(directory)


@cache
def bundle_of(directory: Path, task: str) -> Bundle:
    """The bundle that does not know `task`, as `tinyml bundle build --features` makes it."""
    features, labels = streams.reference(_pool(directory), task)
    return build_features_bundle(FeatureTable(features, tuple(labels.tolist()), ("",) * len(labels)))


def watched_by_ours(directory: Path, watch: Watch, specs: Sequence[Spec]) -> list[Outcome]:
    pool = _pool(directory)
    return [
        ours.outcome(bundle_of(directory, spec.task), pool, streams.make(pool, spec), watch.way) for spec in specs
    ]


def watched_by_rival(directory: Path, name: str, setting: float, specs: Sequence[Spec]) -> list[Outcome]:
    """A stream with a drift is watched until the drift is seen, or missed."""
    pool, found = _pool(directory), []
    rival = next(one for one in rivals.RIVALS if one.name == name)
    for spec in specs:
        stream, started = streams.make(pool, spec), time.perf_counter()
        series = rivals.distances(bundle_of(directory, spec.task), stream.features(pool)).tolist()
        if stream.onset is not None:
            series = series[: stream.onset + measures.GRADUAL_HORIZON]
        detector = rival.make(rivals.river(), setting)
        begins = rivals.alarms(detector, series, stream.onset)
        ends = [frame + 1 for frame in begins]  # it says that something changed, not how long that lasts
        taken = time.perf_counter() - started
        found.append(Outcome(name, spec, spec.frames, stream.drifts, tuple(begins), tuple(ends), seconds=taken))
    return found


def quiet_series(directory: Path, task: str, extent: Extent, frames: int) -> list[float]:
    """The distances of an iid stream for tuning."""
    pool = _pool(directory)
    spec = Spec("control-iid", task, frames=frames, seed=extent.seed + TUNED_ON)
    found: list[float] = rivals.distances(
        bundle_of(directory, task), streams.make(pool, spec).features(pool)
    ).tolist()
    return found


def tuned(directory: Path, extent: Extent) -> dict[str, float]:
    """Rival -> its setting. A slow one is tuned on fewer and shorter streams."""
    pool, found = _pool(directory), {}
    for rival in rivals.RIVALS:
        some = streams.tasks(pool, extent)[:: rival.every]
        frames = extent.control_frames // (2 if rival.every > 1 else 1)
        found[rival.name] = rivals.tuned(rival, [quiet_series(directory, task, extent, frames) for task in some])
    return found


def run(
    directory: Path,
    extent: Extent,
    chosen: Way,
    *,
    tried: Mapping[str, float],
    done: Sequence[Outcome],
    processes: int,
) -> Iterator[Outcome]:
    """Every outcome of the protocol that is not `done`, as they come; progress goes to standard error.

    `tried` are the settings of rivals, as tuned.
    """
    known = {(one.way, one.spec) for one in done}
    pool = _pool(directory)
    specs = [spec for task in streams.tasks(pool, extent) for spec in streams.protocol(pool, task, extent)]
    with ProcessPoolExecutor(processes, initializer=os.nice, initargs=(5,)) as workers:
        jobs = [
            (workers.submit(watched_by_ours, directory, watch, batch), len(batch))
            for watch in watches(chosen)
            for batch in _batches(_left(watch.way.name, known, [s for s in specs if watch.wants(s)][:: watch.every]))
        ]
        jobs += [
            (workers.submit(watched_by_rival, directory, rival.name, tried[rival.name], batch), len(batch))
            for rival in rivals.RIVALS
            if rival.name in tried
            for batch in _batches(
                _left(rival.name, known, [s for s in specs if s.group != streams.FORCED][:: rival.every])
            )
        ]
        yield from _collected(jobs)


def rank(outcome: Outcome) -> int:
    """The order of ways in the tables."""
    names = [watch.way.name for watch in watches(Way(""))] + [rival.name for rival in rivals.RIVALS]
    return names.index(outcome.way)


def _left(way: str, known: set[tuple[str, Spec]], specs: Sequence[Spec]) -> list[Spec]:
    return [spec for spec in specs if (way, spec) not in known]


def _batches(specs: Sequence[Spec]) -> Iterator[list[Spec]]:
    rest = iter(specs)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _collected(jobs: Sequence[tuple[Future[list[Outcome]], int]]) -> Iterator[Outcome]:
    started, done, total = time.monotonic(), 0, sum(count for _, count in jobs)
    counts = dict(jobs)
    for job in as_completed(counts):
        yield from job.result()
        done += counts[job]
        left = (time.monotonic() - started) / done * (total - done)
        print(f"\r{done} of {total} streams watched, {left / 60:.1f} min to go ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
