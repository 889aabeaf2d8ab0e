"""`tinyml evaluate`: plays recorded features through a device and writes down all that it says."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .bundle import Bundle
from .bundle.features import FeatureStream, read_stream
from .errors import EvaluationError
from .evaluation import Played, as_json, play
from .settings import EdgeSettings

ABOUT = """Plays recorded streams through the device as it is: the same actors and settings, a fresh state for each
stream.

A stream is a NumPy archive with the arrays
  features   frames x D, uint8 or float32, as the bundle's extractor would give them
  labels     what each frame really shows (optional, strings)
Labels only score what the device said and, with --labels N, answer the first N questions that it asks; without
--labels its decisions do not depend on them. A bundle of features is made by `tinyml bundle build --features`."""

JSON = """OUT is one JSON object: bundle (digest), settings, streams. Per stream
  stream, frames, seconds
  predicted, score, in_drift    of each frame: label, standardised score, 0 or 1
  events        frame; kind begin, continue or end; detector, statistic, threshold
  adaptations   frame; kind; outcome applied, rolled-back or rejected; reason; samples (frame and label of each)
  labels_asked  frames
and where the stream has labels
  accuracy      all, last_500: shares of frames recognised
  harm          share of the samples which the device labelled by itself whose label is wrong
Frames count from 0; the frame of an end is no longer in drift."""

OTHERWISE_TOLD_S = 20.0  # where there is no terminal


def main(argv: Sequence[str]) -> int:
    arguments = _parser().parse_args(argv)
    settings = _settings(arguments)
    _check_place(arguments.json)
    bundle = Bundle.load(arguments.bundle)
    for warning in bundle.warnings:
        print(f"note: {warning}", file=sys.stderr)
    streams = [read_stream(path) for path in arguments.stream]
    played = []
    for stream in streams:
        shown = Progress(stream)
        played.append(play(bundle, stream, settings, answers=arguments.labels, progress=shown.tell))
        shown.end()
        print(_summary(played[-1]))
    _write(arguments.json, as_json(bundle, settings, played))
    print(f"written: {arguments.json}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinyml evaluate",
        description=ABOUT,
        epilog=JSON,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual = EdgeSettings(bundle=Path(), device="evaluation", camera="-")
    add: Any = parser.add_argument
    add("--bundle", type=Path, required=True, metavar="X.bundle", help="the bundle that the device runs")
    add("--stream", type=Path, required=True, nargs="+", metavar="S.npz", help="streams to play, one after another")
    add("--json", type=Path, required=True, metavar="OUT", help="file to write")
    add(
        "--detector",
        metavar="NAME",
        help=f"what watches for drift, one or several with commas; default {usual.detectors}",
    )
    add(
        "--policy",
        metavar="NAME",
        help=f"what the device makes of strange samples: cautious, seed or none; default {usual.policy}",
    )
    add("--labels", type=int, default=0, metavar="N", help="answer so many of the device's questions; default 0")
    add(
        "--commissioning",
        type=int,
        default=usual.commissioning_frames,
        metavar="FRAMES",
        help=f"frames in which the device learns what is usual; default {usual.commissioning_frames}",
    )
    return parser


def _settings(arguments: argparse.Namespace) -> EdgeSettings:
    """Raises SettingsError, EvaluationError."""
    if arguments.labels < 0:
        raise EvaluationError("--labels has to be 0 or more")
    chosen = {
        "detectors": arguments.detector,
        "policy": arguments.policy,
        "label_budget": arguments.labels or None,
        "commissioning_frames": arguments.commissioning,
    }
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    return EdgeSettings(bundle=arguments.bundle, device="evaluation", camera="-", **given)


def _check_place(path: Path) -> None:
    """An evaluation that takes minutes should not find out at its end that it cannot write."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise EvaluationError(f"{path} cannot be written: there is no such folder, or it is one itself")


def _write(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise EvaluationError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from None


class Progress:
    """One line that is written over; where nobody watches, one now and then."""

    def __init__(self, stream: FeatureStream) -> None:
        self.name, self.frames = stream.name, len(stream.features)
        self.alone = not sys.stderr.isatty()
        self.started = self.told = time.monotonic()

    def tell(self, frame: int) -> None:
        now = time.monotonic()
        if self.alone and now - self.told < OTHERWISE_TOLD_S:
            return
        self.told = now
        left = (now - self.started) * (self.frames - frame) / frame if frame else math.nan
        rest = "" if math.isnan(left) else f", {left:.0f} s left"
        self._print(f"{self.name}: {frame:,} of {self.frames:,} frames{rest}")

    def end(self) -> None:
        if not self.alone:
            self._print("")

    def _print(self, text: str) -> None:
        print(text if self.alone else f"\r\x1b[K{text}", end="\n" if self.alone else "", file=sys.stderr, flush=True)


def _summary(played: Played) -> str:
    begins = [event["frame"] for event in played.events if event["kind"] == "begin"]
    applied = sum(one["outcome"] == "applied" for one in played.adaptations)
    parts = [
        f"{played.stream}: {played.frames:,} frames in {played.seconds:.1f} s",
        f"drift at {', '.join(map(str, begins[:5]))}{' ...' if len(begins) > 5 else ''}" if begins else "no drift",
        f"{sum(played.in_drift):,} frames in drift",
        f"{applied} adaptations applied",
        f"{len(played.labels_asked)} labels asked",
    ]
    if played.accuracy is not None:
        parts.append(f"accuracy {played.accuracy['all']:.1%}, last 500 {played.accuracy['last_500']:.1%}")
    return "; ".join(parts)
