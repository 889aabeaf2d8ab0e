"""Pictures of what happened: score and alarms over time, and what a setting trades for what."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isinf
from pathlib import Path
from typing import Any

import numpy as np

from .streams import COMMISSIONING, Stream

NEEDED = "matplotlib is needed for the plots: .venv/bin/pip install 'tinymlops[bench]', or --without-plots"
MARKS = {"applied": ("^", "tab:green"), "rolled-back": ("v", "tab:red"), "rejected": ("x", "tab:grey")}
SMOOTHED = 25  # frames


@dataclass(frozen=True)
class Watched:
    """A stream as it was watched."""

    stream: Stream
    scores: Sequence[float]  # (n,) standardised
    in_drift: Sequence[int]  # (n,) of 0/1
    begins: Sequence[int]
    ends: Sequence[int]
    adaptations: Sequence[tuple[int, str]]  # frame, outcome
    rivals: Mapping[str, Sequence[int]]  # name -> alarms


def pyplot() -> Any:
    """Matplotlib without a screen. Leaves with a sentence where it is not installed."""
    try:
        matplotlib = importlib.import_module("matplotlib")
    except ModuleNotFoundError:
        raise SystemExit(NEEDED) from None
    matplotlib.use("Agg")
    return importlib.import_module("matplotlib.pyplot")


def over_time(watched: Watched, path: Path) -> None:
    """Score, real drift, what was said, adaptations, and the alarms of rivals below."""
    plt = pyplot()
    stream, frames = watched.stream, np.arange(len(watched.scores))
    lanes = {"tinymlops": list(watched.begins), **watched.rivals}
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(9, 4.2), sharex=True, height_ratios=(3, 0.35 * len(lanes) + 0.4), layout="constrained"
    )
    scores = np.asarray(watched.scores, float)
    smooth = np.convolve(scores, np.ones(SMOOTHED) / SMOOTHED, mode="same")
    top.plot(frames, scores, ".", markersize=1.2, color="0.7", label="score of a frame")
    top.plot(frames, smooth, color="tab:blue", linewidth=1.2, label=f"mean of {SMOOTHED} frames")
    for begin, end in stream.drifts:
        top.axvspan(begin, end, color="tab:orange", alpha=0.15, linewidth=0)
    if stream.changed is not None:
        top.axvline(stream.changed, color="tab:olive", linestyle="--", linewidth=1)
    top.axvspan(0, COMMISSIONING, color="0.93", linewidth=0)
    top.fill_between(
        frames,
        0,
        0.05,
        where=np.asarray(watched.in_drift, bool),
        transform=top.get_xaxis_transform(),
        color="tab:red",
    )
    for outcome, (marker, colour) in MARKS.items():
        at = [frame for frame, what in watched.adaptations if what == outcome]
        if at:
            top.plot(at, [0.93] * len(at), marker, color=colour, transform=top.get_xaxis_transform(), label=outcome)
    top.set_ylabel("standardised score")
    top.set_title(f"{stream.spec.name}, {stream.spec.task} left out", fontsize=10)
    top.legend(loc="lower left", fontsize=7, ncols=5)
    for lane, alarms in enumerate(lanes.values()):
        late = [frame for frame in alarms if frame >= COMMISSIONING]
        bottom.plot(late, [lane] * len(late), "|", markersize=11, color="tab:red" if lane == 0 else "0.3")
    bottom.set_yticks(range(len(lanes)), list(lanes), fontsize=8)
    bottom.set_ylim(len(lanes) - 0.5, -0.5)
    bottom.set_xlabel("frame (grey: commissioning; orange: real drift; red bar: said to be in drift)")
    figure.savefig(path, dpi=80)
    plt.close(figure)


@dataclass(frozen=True)
class Point:
    """One setting of a detector: what it costs and what it gains."""

    setting: str
    false_alarms: float  # per 10,000 frames
    delay: float  # median; inf: most were missed


def trade_off(curves: Mapping[str, Sequence[Point]], title: str, path: Path) -> None:
    """False alarms against delay, a curve a detector, by turning the one setting that it has."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(6.5, 4), layout="constrained")
    least = 0.02
    for name, points in curves.items():
        kept = [point for point in points if not isinf(point.delay)]
        axis.plot(
            [max(point.false_alarms, least) for point in kept], [point.delay for point in kept], "o-", label=name
        )
        for point in kept:
            at = (max(point.false_alarms, least), point.delay)
            axis.annotate(point.setting, at, fontsize=6, textcoords="offset points", xytext=(4, 3))
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(f"false alarms per 10,000 frames (none is shown as {least})")
    axis.set_ylabel("median delay, frames")
    axis.set_title(title, fontsize=10)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=80)
    plt.close(figure)
