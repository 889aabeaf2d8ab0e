"""What is drawn of a run: a few streams over time, and what the one setting of each detector trades for what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from . import measures, ours, plots, rivals, runs, streams
from .goals import OURS
from .measures import Outcome
from .ours import Way
from .plots import Point
from .pool import Pool
from .streams import Extent, Spec

DRAWN = (
    Spec("unseen-30", ""),
    Spec("unseen-30-dwell", ""),
    Spec("corruption-end", "", "fog"),
    Spec("corruption", "", "noise", 2),
    Spec("control-dwell", "", frames=6000),
)
FRAMES = (500, 5000, 50_000, 200_000, 2_000_000)  # wanted between false alarms: the setting of ours
CURVE = Extent(
    tasks=2, control_frames=6000, repeats=1, priors=1, severities=(2,), corruptions=("noise", "fog", "jpeg")
)
CURVE_GROUPS = (*streams.CONTROLS, "prior", "unseen-30", "corruption")


def draw(pool: Pool, extent: Extent, way: Way, stem: Path, *, with_rivals: bool) -> Iterator[Path]:
    """Makes the pictures beside `stem` and names them one by one."""
    task = streams.tasks(pool, extent)[0]
    settings = runs.tuned(pool.directory, replace(CURVE, seed=extent.seed)) if with_rivals else {}
    for wanted in DRAWN:
        stream = streams.make(pool, replace(wanted, task=task, seed=extent.seed))
        bundle = runs.bundle_of(pool.directory, task)
        series = rivals.distances(bundle, stream.features(pool)).tolist() if with_rivals else []
        alarms = {
            rival.name: rivals.alarms(rival.make(rivals.river(), settings[rival.name]), series)
            for rival in rivals.RIVALS
            if with_rivals
        }
        path = stem.with_name(f"{stem.name}-{stream.spec.name}.png")
        plots.over_time(ours.watched(bundle, pool, stream, way, alarms), path)
        yield path
    path = stem.with_name(f"{stem.name}-trade-off.png")
    title = "iid, dwell 8 and prior shift; unseen p = .3 and corruption of severity 2"
    plots.trade_off(_curves(pool, replace(CURVE, seed=extent.seed), way, with_rivals), title, path)
    yield path


def _curves(pool: Pool, extent: Extent, way: Way, with_rivals: bool) -> dict[str, list[Point]]:
    specs = [
        spec
        for task in streams.tasks(pool, extent)
        for spec in streams.protocol(pool, task, extent)
        if spec.group in CURVE_GROUPS
    ]
    curves = {OURS: [_point(f"{frames:g}", _ours(pool, specs, way, frames)) for frames in FRAMES]}
    if with_rivals:
        for rival in (one for one in rivals.RIVALS if one.every == 1):  # the slow one would take an hour
            curves[rival.name] = [
                _point(f"{setting:g}", runs.watched_by_rival(pool.directory, rival.name, setting, specs))
                for setting in rival.settings[::3]
            ]
    return curves


def _ours(pool: Pool, specs: list[Spec], way: Way, frames: int) -> list[Outcome]:
    chosen = way.called(OURS, policy="none", settings=(("false_alarm_frames", frames),))
    return runs.watched_by_ours(pool.directory, runs.Watch(chosen, CURVE_GROUPS), specs)


def _point(setting: str, outcomes: list[Outcome]) -> Point:
    quiet = [one for one in outcomes if not one.drifts]
    drifting = [one for one in outcomes if one.drifts]
    return Point(setting, measures.false_alarms(quiet), measures.delays(drifting).median)
