"""A device that lives for long holds what it held before."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import pytest

from benchmarks.soak import Soak, main, too_large

SMALL = {"labels": 80, "room": 30, "quarantine_size": 60, "report_s": 5.0}  # full soon


def grown(directory: Path, warm: int, end: int, cycle: int) -> list[str]:
    """What is larger at the end than after warming up: states, the spool, or what Python holds in all."""
    soak = Soak(directory, cycle=cycle, **SMALL)
    soak.play(warm)
    tracemalloc.start()
    try:
        soak.play(cycle)  # so that all that is replaced in a cycle is known to tracemalloc
        before = soak.sizes() | {"traced, KB": traced_kb()}
        soak.play(end - soak.frames)
        after = soak.sizes() | {"traced, KB": traced_kb()}
    finally:
        tracemalloc.stop()
        soak.close()
    lived = soak.counts()
    assert lived["messages of drifts"] >= end / cycle
    assert lived["of samples"] > 50
    assert lived["of adaptations"] > 3
    assert lived["labels"] > 512, "more than a device remembers"
    assert lived["failures of actors"] == 0
    return too_large(before, after)


def traced_kb() -> float:
    gc.collect()
    return tracemalloc.get_traced_memory()[0] / 1024


def test_a_device_that_lives_on_holds_no_more(tmp_path: Path) -> None:
    assert grown(tmp_path, warm=4000, end=6500, cycle=500) == []


@pytest.mark.slow
def test_a_device_that_lives_on_for_long_holds_no_more(tmp_path: Path) -> None:
    assert grown(tmp_path, warm=10_000, end=30_000, cycle=1000) == []


def test_what_grows_is_named() -> None:
    assert too_large({"a": 10.0, "b": 100.0}, {"a": 12.5, "b": 105.0}) == ["a"]
    assert too_large({"resident memory, MB": 50.0}, {"resident memory, MB": 58.0}) == []


def test_the_table_says_what_was_held(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--marks", "40", "80"])
    said = capsys.readouterr().out
    assert "state of drift_monitor, KB" in said
    assert "failures of actors" in said
