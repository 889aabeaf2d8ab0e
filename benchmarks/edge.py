"""What a frame costs on the device: time and memory added to the bare model call, and the price of a hop.

    python -m benchmarks.edge                      the digits extractor that the repository ships
    python -m benchmarks.edge --images DIR --model FILE.tflite

The bare call, a bare floor (the call, the projection, one brute-force neighbour search) and the whole device (every
hop in CBOR, spool and journal on disk) take the same frames in turn, so a machine that slows down slows down all.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Never

import numpy as np

from broker import codec
from broker.journal import Journal
from broker.messages import DeadLetter, Features, Float32Array, Frame, LogRecord, Message, Neighbours, Tick
from edge_actors import wiring
from edge_actors.bundle import Bundle
from edge_actors.pictures import Pixels
from edge_actors.ports.spool import Spool
from edge_actors.runtime.actor import Actor
from edge_actors.runtime.device import Device, Identity
from edge_actors.runtime.door import Door, Doors
from edge_actors.runtime.recording import Outputs, Recording
from edge_actors.runtime.replay import NoDisk
from edge_actors.settings import EdgeSettings
from platform_api.demo import album as albums

GOAL_ADDED_US, GOAL_MEMORY_MB = 350, 15
ORIGINAL_ADDED_US, ORIGINAL_MEMORY_MB = 3300, 98  # design.md, section 6: measured once, cannot be installed here
FPS = 25


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edge", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--images", type=Path, help="labelled pictures, as for `tinyml demo`")
    parser.add_argument("--model", type=Path, help="their feature extractor")
    parser.add_argument("--frames", type=int, default=1500, help="frames to measure (default 1500)")
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.bundle"
        album = albums.digits() if chosen.images is None else albums.folder(chosen.images, chosen.model)
        album.bundle(album.classes, path, seed=0)
        print(f"{album.name}: model of {len(album.model):,} bytes; {chosen.frames} frames")
        _print_time(Bundle.load(path), album, chosen.frames, Path(directory))
        _print_memory(path, chosen.frames)
    _print_hops()
    return 0


# ---- time ------------------------------------------------------------------------------------------------------

_WARM_UP = 600  # past commissioning


def _print_time(bundle: Bundle, album: albums.Album, frames: int, directory: Path) -> None:
    rng = np.random.default_rng(0)
    device = _device(bundle, directory)
    bare, floor = bundle.interpreter.embed, _floor(bundle)
    taken: dict[str, list[float]] = {"model call": [], "floor": [], "device": []}
    for number, pixels in enumerate(_stream(album, rng, _WARM_UP + frames)):
        if number == _WARM_UP:
            gc.collect()
            gc.freeze()  # as the device's process does
        frame = _frame(number, pixels)
        if number % FPS == 0:
            device.admit(Tick(at=number / FPS, wall_us=1, clock="synced"))
        calls: dict[str, Callable[[], Any]] = {
            "model call": partial(bare, pixels),
            "floor": partial(floor, pixels),
            "device": partial(device.admit, frame),
        }
        for name, call in calls.items():
            started = time.perf_counter_ns()
            call()
            if number >= _WARM_UP:
                taken[name].append((time.perf_counter_ns() - started) / 1000)
    base = statistics.median(taken["model call"])
    print(f"\n{'time per frame, us':34}{'median':>9}{'p95':>9}{'added to the call':>20}")
    for name, what in (
        ("model call", "bare model call, 1 thread"),
        ("floor", "call + projection + search"),
        ("device", "the whole device"),
    ):
        values = sorted(taken[name])
        median = statistics.median(values)
        print(f"{what:34}{median:9.0f}{values[int(0.95 * len(values))]:9.0f}{median - base:20.0f}")
    print(f"{'the original (measured elsewhere)':34}{'':18}{ORIGINAL_ADDED_US:20}")
    added = statistics.median(taken["device"]) - base
    print(f"goal: at most {GOAL_ADDED_US} us added; {'reached' if added <= GOAL_ADDED_US else 'MISSED'}")
    latencies = device.latencies()
    parts = ", ".join(f"{name} {latencies[f'{name}_p50_us']:.0f}" for name in wiring.ACTORS if name in _ON_THE_PATH)
    print(f"median us in each actor of the frame's path, what it yields encoded: {parts}")


_ON_THE_PATH = ("camera_guard", "extractor", "knn", "drift_monitor", "quarantine", "recorder")


def _device(bundle: Bundle, directory: Path) -> Device:
    settings = EdgeSettings(bundle=Path("x.bundle"), device="bench", camera="-", state_dir=directory)
    outputs = Outputs(Spool(directory))
    return Device(
        wiring.build(settings, bundle, outputs),
        Doors(wiring.DOORS),
        wiring.ROUTES,
        snapshots=NoDisk(),
        identity=Identity(device="bench", boot=outputs.boot, bundle=bundle.digest, settings=settings.as_text()),
        recording=Recording(Journal(directory / "journal", 16 << 20), outputs),
    )


def _floor(bundle: Bundle) -> Callable[[Pixels], Any]:
    """The least that gives a prediction: model call, projection, one search."""
    projection, reference = bundle.contents.projection, bundle.contents.reference

    def call(pixels: Pixels) -> Any:
        z = projection.matrix @ bundle.interpreter.embed(pixels) + projection.offset
        distances = ((reference.values - z) ** 2).sum(axis=1)
        return np.argpartition(distances, 5)[:5]

    return call


def _stream(album: albums.Album, rng: np.random.Generator, count: int) -> Iterator[Pixels]:
    views = [album.glance(label, rng) for label in album.classes for _ in range(20)]
    for _ in range(count):
        yield views[int(rng.integers(len(views)))]


def _frame(number: int, pixels: Pixels) -> Frame:
    height, width, channels = pixels.shape
    return Frame(
        at=number / FPS,
        frame=f"00000000-000001-{number}",
        pixels=pixels.tobytes(),
        height=height,
        width=width,
        channels=channels,
    )


# ---- memory ----------------------------------------------------------------------------------------------------


def _print_memory(bundle: Path, frames: int) -> None:
    bare, device = (_memory_in_a_process(what, bundle, frames) for what in ("bare", "device"))
    print(f"\n{'memory, MB resident':34}{'total':>9}{'added':>9}")
    print(f"{'interpreter with the model':34}{bare:9.1f}")
    print(f"{'the device, all threads running':34}{device:9.1f}{device - bare:9.1f}")
    print(f"{'the original (measured elsewhere)':34}{'':9}{ORIGINAL_MEMORY_MB:9}")
    reached = "reached" if device - bare <= GOAL_MEMORY_MB else "MISSED"
    print(f"goal: at most {GOAL_MEMORY_MB} MB added; {reached}")


def _memory_in_a_process(what: str, bundle: Path, frames: int) -> float:
    """The device is shown noise on its standard input, so that it quarantines and reports all the time."""
    argv = [sys.executable, "-m", "benchmarks.memory_of", what, str(bundle), str(frames)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        rng, shape = np.random.default_rng(0), Bundle.load(bundle).input_shape
        for number in range(frames if what == "device" else 0):
            child.stdin.write(codec.encode(_frame(number, rng.integers(0, 256, shape, dtype=np.uint8))))
            child.stdin.flush()
        said = child.stdout.read()
    if child.returncode:
        raise SystemExit(f"the {what} process ended with status {child.returncode}")
    return float(said.split()[-1])


# ---- hops ------------------------------------------------------------------------------------------------------

_RELAYS = 8


class _Relay(Actor[Features | Neighbours, Neighbours]):
    """Passes on what it hears, a few times."""

    def receive(self, message: Message) -> Iterator[Neighbours]:
        left = getattr(message, "confidence", float(_RELAYS))
        if left >= 1.0:
            yield Neighbours(
                frame="00000000-000001-12345",
                label="apple",
                confidence=left - 1,
                distances=_DISTANCES,
                labels=("apple",) * 5,
                values=_VALUES,
            )


class _Ear(Actor[DeadLetter | LogRecord, Never]):
    """Hears what the runtime reports of failures, of which there are none here."""

    def receive(self, message: Message) -> tuple[()]:
        raise AssertionError(message)


_DISTANCES, _VALUES = Float32Array.of(range(5)), Float32Array.of(range(64))


def _print_hops() -> None:
    device = Device(
        {"relay": _Relay, "ear": _Ear},
        Doors({Features: Door(1)}),
        {Features: ("relay",), Neighbours: ("relay",), DeadLetter: ("ear",), LogRecord: ("ear",)},
        snapshots=NoDisk(),
        identity=Identity(),
    )
    bare = _Relay()
    taken: list[float] = []
    called: list[float] = []
    for _ in range(2000):
        started = time.perf_counter_ns()
        device.admit(Features())
        taken.append((time.perf_counter_ns() - started) / 1000 / (_RELAYS + 1))
        started = time.perf_counter_ns()
        waiting: list[Message] = [Features()]
        while waiting:
            waiting.extend(bare.receive(waiting.pop()))
        called.append((time.perf_counter_ns() - started) / 1000 / (_RELAYS + 1))
    hop, call = statistics.median(taken), statistics.median(called)
    print(f"\na hop through the loop with CBOR: {hop:.1f} us, {1e6 / hop:,.0f} messages/s (a message of 430 bytes)")
    print(f"the same as plain calls, nothing encoded: {call:.1f} us; the loop and CBOR cost {hop / call:.1f} x")


if __name__ == "__main__":
    sys.exit(main())
