"""Months of operation in minutes: what a device holds after 1,000,000 frames is what it held after 10,000.

    python -m benchmarks.soak                          10,000, 100,000 and 1,000,000 frames
    python -m benchmarks.soak --marks 2000 20000

The device is whole: all actors, every hop in CBOR, spool, snapshots and journal on disk. Frames are features, so that
no time goes into a model. Every 1,000 frames something new appears that the bundle does not know, and goes again; the
sensor degrades and recovers; people label samples, take labels back, and label samples that are long gone; the server
is away for a third of the time; and now and then a frame is nonsense.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from broker import codec
from broker.journal import Journal
from broker.messages import Embedded, Float32Array, LabelAssigned, SampleQuarantined, Tick
from broker.topics import Rank
from edge_actors import wiring
from edge_actors.adapter import MOST_STANDING
from edge_actors.algorithms.verdicts import REMEMBERED
from edge_actors.arrays import Floats, packed
from edge_actors.bundle import Bundle
from edge_actors.bundle.build import BuildOptions, build_features_bundle
from edge_actors.bundle.features import FeatureTable
from edge_actors.ports.snapshots import SnapshotStore
from edge_actors.ports.spool import Spool
from edge_actors.runtime.device import Device, Identity
from edge_actors.runtime.door import Doors
from edge_actors.runtime.recording import Outputs, Recording
from edge_actors.runtime.states import plain
from edge_actors.settings import EdgeSettings

FPS, WIDTH, CLASSES = 20, 32, 5
MARKS = (10_000, 100_000, 1_000_000)
CYCLE = 1000  # frames: calm, something new, calm, a degraded sensor, calm
NEW, DEGRADED = (0.2, 0.5), (0.7, 0.8)  # from and to, in cycles
SHARE_NEW = 0.3
AWAY = 3  # every so many cycles the server is away for one
LABELS = 6  # given at once when a cycle begins, beside one each second
NAMES = 8  # that people give
GONE = 600  # samples of an earlier life that somebody spoke of: more than a device remembers the labels of
SPOOL_BYTES, JOURNAL_BYTES = 2 << 20, 2 << 20
COMMISSIONING = 200
GROWN = 1.1  # what is more than that much larger at the end is not flat
SLACK = {  # beside that; 1 where nothing is said
    "resident memory, MB": 4.0,  # allocators are not exact
    "spool on disk, KB": SPOOL_BYTES / 1024,  # it holds what the server has not confirmed
    "samples a label may come for": REMEMBERED,
    "adaptations to take back": MOST_STANDING,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--marks", type=int, nargs="+", default=list(MARKS), help="frames after which to look")
    chosen = parser.parse_args(argv)
    marks = sorted(chosen.marks)
    sizes: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as directory, closing(Soak(Path(directory))) as soak:
        started = time.monotonic()
        for mark in marks:
            soak.play(mark - soak.frames)
            sizes.append({"resident memory, MB": rss_mb(), **soak.sizes()})
            _progress(f"{mark:,} frames, {(time.monotonic() - started) / 60:.1f} min")
        _progress("")
    print(f"{'after frames':34}" + "".join(f"{mark:>14,}" for mark in marks))
    for name in sizes[-1]:
        print(f"{name:34}" + "".join(f"{at[name]:>14,.1f}" for at in sizes))
    print(f"lived through: {', '.join(f'{count:,} {what}' for what, count in soak.counts().items())}")
    grown = too_large(sizes[0], sizes[-1])
    print("flat" if not grown else f"GROWN: {', '.join(grown)}")
    return int(bool(grown))


def too_large(before: dict[str, float], after: dict[str, float]) -> list[str]:
    """What has grown, by name."""
    return [name for name in before if after[name] > GROWN * before[name] + SLACK.get(name, 1.0)]


class Server:
    """The outbox: the spool, a server that confirms, and a person who sees the samples."""

    def __init__(self, spool: Spool) -> None:
        self.spool, self.away = spool, False
        self.seen: deque[tuple[str, bytes]] = deque(maxlen=300)  # samples and their features, some long gone
        self.kinds: Counter[str] = Counter()  # records, by the first part of their topic
        self._from = 1

    @property
    def boot(self) -> str:
        return self.spool.boot

    @property
    def next_seq(self) -> int:
        return self.spool.next_seq

    def append(self, seq: int, rank: Rank, path: str, record: bytes) -> None:
        self.spool.append(seq, rank, path, record)
        self.kinds[path.partition("/")[0]] += 1
        if path.startswith("sample/"):
            _, sample = codec.decode_record(record)
            if isinstance(sample, SampleQuarantined):
                self.seen.append((sample.sample, sample.values))

    def confirm(self) -> None:
        """Says of all records that they are stored, unless it is away."""
        if not self.away and self._from < self.next_seq:
            self.spool.confirm(self.boot, [(self._from, self.next_seq - 1)])
            self._from = self.next_seq


class Soak:
    """A device, the world it sees, and the people behind it; the same seed gives the same life.

    `chosen` are settings of the device.
    """

    def __init__(
        self,
        directory: Path,
        seed: int = 0,
        *,
        cycle: int = CYCLE,
        labels: int = LABELS,
        room: int = 150,
        **chosen: Any,
    ) -> None:
        self.cycle, self.at_once = cycle, labels
        self.chance = np.random.default_rng(seed)
        self.centres = self.chance.normal(0, 3, (CLASSES, WIDTH))
        self.new = self.wear = np.zeros(WIDTH)
        self.frames, self.labels = 0, 0
        self.doors = Doors(wiring.DOORS)
        self.spool = Spool(directory, SPOOL_BYTES)
        self.snapshots = SnapshotStore(directory / "snapshots", self.doors.post)
        self.server = Server(self.spool)
        self.bundle = self._bundle(room)
        outputs = Outputs(self.server)
        settings = EdgeSettings(
            bundle=Path("x.bundle"),
            device="soak",
            camera="-",
            state_dir=directory,
            commissioning_frames=COMMISSIONING,
            snapshot_interval_s=20.0,
            **{"report_s": 10.0, **chosen},  # so that a report has just gone whenever it is looked
        )
        self.recording = Recording(Journal(directory / "journal", JOURNAL_BYTES), outputs)
        self.device = Device(
            wiring.build(settings, self.bundle, outputs),
            self.doors,
            wiring.ROUTES,
            snapshots=self.snapshots,
            identity=Identity(
                device="soak", boot=outputs.boot, bundle=self.bundle.digest, settings=settings.as_text()
            ),
            recording=self.recording,
        )

        self._remember()

    def play(self, frames: int) -> None:
        """Lives through so many frames."""
        for _ in range(frames):
            if self.frames % FPS == 0:
                self._second()
            self.device.admit(
                Embedded(at=self._at, frame=f"{self.server.boot}-{self.frames}", values=packed(self._see()))
            )
            self.frames += 1

    def sizes(self) -> dict[str, float]:
        """KB of every actor's state, and what else is held."""
        self.spool.flush()
        gc.collect()
        states = {name: plain(self.device.actor(name).state()) for name in wiring.ACTORS}
        # These fill for weeks, and are bounded.
        waiting, standing = states["drift_monitor"].pop("verdicts"), states["adapter"].pop("standing")
        states = {f"state of {name}, KB": len(codec.pack(state)) / 1024 for name, state in states.items()}
        states |= {"samples a label may come for": len(waiting), "adaptations to take back": len(standing)}
        blocks = {"objects of Python, thousands": sys.getallocatedblocks() / 1000}
        return states | blocks | {"spool on disk, KB": self.spool.stats().used_bytes / 1024}

    def counts(self) -> dict[str, int]:
        """What it lived through."""
        kinds = self.server.kinds
        return {
            "messages of drifts": kinds["drift"],
            "of samples": kinds["sample"],
            "of adaptations": kinds["adaptation"],
            "labels": self.labels,
            "failures of actors": self.device.failures,
            "records": self.server.next_seq - 1,
        }

    def close(self) -> None:
        self.doors.close()
        self.recording.close()
        self.snapshots.close()
        self.spool.close()

    @property
    def _at(self) -> float:
        return self.frames / FPS

    def _second(self) -> None:
        cycle, place = divmod(self.frames, self.cycle)
        if place == 0:
            self.server.away = cycle % AWAY == AWAY - 1
            self.new, self.wear = self.chance.normal(0, 3, WIDTH), self.chance.normal(0, 0.8, WIDTH)
        self.device.admit(Tick(at=self._at, wall_us=1_800_000_000_000_000 + round(self._at * 1e6), clock="synced"))
        self.server.confirm()
        for _ in range(self.at_once if place == 0 else 1):
            self._label()
        while (waiting := self.doors.take(0)) is not None:  # what the snapshot writer answers
            self.device.admit(waiting)

    def _remember(self) -> None:
        """Labels that wait for a device which was away for long, and has none of the samples any more."""
        for number in range(GONE):
            self.labels += 1
            sample = f"{self.server.boot}-{1_000_000 + number}"  # a name as long as those to come
            self.device.admit(LabelAssigned(sample=sample, revision=self.labels, verdict="retract"))

    def _see(self) -> Floats:
        place = self.frames % self.cycle / self.cycle
        if self.frames % 997 == 996:
            return np.full(WIDTH, np.nan, np.float32)
        centre = self.centres[self.chance.integers(CLASSES)]
        if NEW[0] <= place < NEW[1] and self.chance.random() < SHARE_NEW:
            centre = self.new
        values = centre + self.chance.normal(size=WIDTH) + (self.wear if DEGRADED[0] <= place < DEGRADED[1] else 0)
        found: Floats = values.astype(np.float32)
        return found

    def _label(self) -> None:
        """A person says what a sample is; every fourth time takes an earlier word back."""
        if not self.server.seen:
            return
        self.labels += 1
        sample, values = self.server.seen[int(self.chance.integers(len(self.server.seen)))]
        given = LabelAssigned(
            at=self._at,
            sample=sample,
            revision=self.labels,
            verdict="retract" if self.labels % 4 == 0 else "is",
            label=f"person-{self.labels % NAMES}",
            values=Float32Array(values),
            bundle=self.bundle.digest,
        )
        self.device.admit(given)

    def _bundle(self, room: int) -> Bundle:
        codes = [code for code in range(CLASSES) for _ in range(40)]
        features = (self.centres[codes] + self.chance.normal(size=(len(codes), WIDTH))).astype(np.float32)
        table = FeatureTable(features, tuple(f"class-{code}" for code in codes), ("",) * len(codes))
        return build_features_bundle(table, BuildOptions(room=room))


def rss_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
