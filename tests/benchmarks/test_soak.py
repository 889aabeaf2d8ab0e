"""A device that lives for long holds what it held before."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import pytest

from benchmarks.soak import Soak, main, too_large

SMALL = {"room": 30, "quarantine_size": 60, "report_s": 5.0}  # full soon


def lived(soak: Soak, cycles: int) -> None:
    """Everything that can happen did."""
    counts = soak.counts()
    assert counts["messages of drifts"] >= cycles
    assert counts["of samples"] > 50
    assert counts["of adaptations"] > 0
    assert counts["labels"] > 512, "more than a device remembers"
    assert counts["failures of actors"] == 0


def test_a_device_that_lives_on_holds_no_more(tmp_path: Path) -> None:
    soak = Soak(tmp_path, cycle=500, **SMALL)
    soak.play(2500)
    before = soak.sizes()
    soak.play(2000)
    after = soak.sizes()
    soak.close()
    lived(soak, cycles=9)
    assert too_large(before, after) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_device_that_lives_on_for_long_holds_no_more(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        soak = Soak(tmp_path, **SMALL)
        soak.play(13_000)  # by then the tables of samples are full as well
        before = soak.sizes() | {"traced, KB": traced_kb()}
        soak.play(6000)
        after = soak.sizes() | {"traced, KB": traced_kb()}
        soak.close()
    finally:
        tracemalloc.stop()
    lived(soak, cycles=19)
    assert too_large(before, after) == []


def traced_kb() -> float:
    gc.collect()
    return tracemalloc.get_traced_memory()[0] / 1024


def test_what_grows_is_named() -> None:
    assert too_large({"a": 10.0, "b": 100.0}, {"a": 12.5, "b": 105.0}) == ["a"]
    assert too_large({"resident memory, MB": 50.0}, {"resident memory, MB": 58.0}) == []


def test_the_table_says_what_was_held(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--marks", "40", "80"])
    said = capsys.readouterr().out
    assert "state of drift_monitor, KB" in said
    assert "failures of actors" in said
