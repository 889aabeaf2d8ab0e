"""The whole of it, small: the device and its rivals watch made-up streams, and a table and pictures come out."""

from __future__ import annotations

import importlib.util
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from math import isinf
from pathlib import Path

import pytest

from benchmarks.drift import curves, measures, ours, runs, streams, table
from benchmarks.drift.goals import FORCED, FROZEN, LABELLED, OURS, Results
from benchmarks.drift.ours import Way
from benchmarks.drift.pool import Pool
from benchmarks.drift.streams import FORCED_AT, Spec

from ..support import missing

FRAMES = 2000  # enough for an onset, a delay and the last frames
NOISE = Spec("corruption", "ash", "noise", 4, frames=FRAMES)
UNSEEN, QUIET, FORCED_ON = (Spec(group, "ash", frames=FRAMES) for group in ("unseen-30", "control-iid", "forced"))
SPECS = (QUIET, FORCED_ON, UNSEEN, NOISE)
WAYS = (OURS, FROZEN, LABELLED[20], FORCED[0])


@pytest.fixture(scope="module")
def results(pool: Pool) -> Results:
    found = []
    for watch in runs.watches(Way("")):
        if watch.way.name in WAYS:
            found += runs.watched_by_ours(pool.directory, watch, [spec for spec in SPECS if watch.wants(spec)])
    return Results(found)


def test_every_way_gets_its_row(results: Results) -> None:
    assert results.ways == list(WAYS)
    assert all(f"\n{way} " in table.as_text(results, "trees") for way in (OURS, FROZEN, LABELLED[20]))
    assert json.loads(table.as_json(results, {}))["goals"]


def test_the_device_is_quiet_without_a_drift_and_sees_a_plain_one(results: Results) -> None:
    assert measures.alarms_of(results.of(OURS, "control-iid"))[0] == 0
    assert not isinf(measures.delays(results.of(FROZEN, "corruption")).median)
    assert not isinf(measures.delays(results.of(FROZEN, "unseen-30")).median)


def test_a_memory_that_does_not_adapt_is_never_changed(results: Results) -> None:
    assert all(outcome.harm == (0, 0) and not outcome.asked for outcome in results.of(FROZEN))


def test_a_forced_alarm_comes_where_nothing_drifts(results: Results) -> None:
    forced = results.of(FORCED[0], streams.FORCED)
    assert [outcome.begins for outcome in forced] == [(FORCED_AT,)]
    assert results.lost(0, streams.FORCED)[0] <= 1


def test_outcomes_of_several_processes_are_those_of_one(pool: Pool, results: Results) -> None:
    with ProcessPoolExecutor(1) as workers:
        job = workers.submit(runs.watched_by_ours, pool.directory, runs.watches(Way(""))[0], [UNSEEN])
    again = job.result()[0]
    first = results.of(OURS, "unseen-30")[0]
    assert replace(again, seconds=0) == replace(first, seconds=0)


def test_a_rival_stops_when_it_has_seen_the_drift(pool: Pool) -> None:
    if importlib.util.find_spec("river") is None:
        missing("river (the extra `bench`)")
    found = runs.watched_by_rival(pool.directory, "river PageHinkley", 12, [NOISE])[0]
    assert not isinf(measures.delay(found))
    assert found.begins[-1] == found.drifts[0][0] + measures.delay(found)


def test_what_happened_can_be_looked_at(pool: Pool, tmp_path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        missing("matplotlib (the extra `bench`)")
    stream = streams.make(pool, UNSEEN)
    seen = ours.watched(runs.bundle_of(pool.directory, "ash"), pool, stream, Way(OURS), {"river ADWIN": [1200]})
    curves.plots.over_time(seen, tmp_path / "time.png")
    points = [curves.plots.Point("5", 1.0, 20), curves.plots.Point("9", 0.0, 40)]
    curves.plots.trade_off({"ours": points}, "trees", tmp_path / "curve.png")
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.glob("*.png"))
    assert len(list(tmp_path.glob("*.png"))) == 2
