"""A whole device that takes features: bundles of drawn clouds, streams of them, and what it sends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from broker import codec
from broker.messages import Embedded, Header, Message, SnapshotSaved, Tick
from broker.topics import Rank
from edge_actors import wiring
from edge_actors.arrays import Floats, packed
from edge_actors.bundle import Bundle
from edge_actors.bundle.build import BuildOptions, build_features_bundle
from edge_actors.bundle.features import FeatureTable
from edge_actors.ports.snapshots import Snapshot
from edge_actors.runtime.device import Device, Identity
from edge_actors.runtime.door import Doors
from edge_actors.settings import EdgeSettings

NOW_US = 1_800_000_000_000_000
FPS, WIDTH = 20, 24  # frames a second, numbers a frame
M = TypeVar("M", bound=Message)


class Clouds:
    """Classes as clouds of points in `width` dimensions; `shift` moves all of them, as a degraded sensor does."""

    def __init__(self, classes: int, width: int = WIDTH, seed: int = 0, apart: float = 3.0) -> None:
        self.chance = np.random.default_rng(seed)
        self.centres = self.chance.normal(0, apart, (classes, width))
        self.shift = np.zeros(width)

    def draw(self, codes: Iterable[int]) -> Floats:
        """A point (n, width) of each of these classes."""
        centres = self.centres[list(codes)]
        return (centres + self.shift + self.chance.normal(size=centres.shape)).astype(np.float32)

    def table(self, classes: Iterable[int], each: int) -> FeatureTable:
        """Labelled points, `each` of every class, to build a bundle of."""
        codes = [code for code in classes for _ in range(each)]
        return FeatureTable(self.draw(codes), tuple(f"c{code}" for code in codes), ("",) * len(codes))


def bundle_of(table: FeatureTable, **options: Any) -> Bundle:
    return build_features_bundle(table, BuildOptions(**options))


class Sent:
    """The outbox of a device whose link is perfect: keeps what leaves, or only counts it."""

    def __init__(self, keep: bool = True) -> None:
        self.boot, self.next_seq, self.keep = "00000000-000001", 1, keep
        self.records: list[tuple[Header, Message]] = []

    def append(self, seq: int, rank: Rank, path: str, record: bytes) -> None:
        self.next_seq = seq + 1
        if self.keep:
            self.records.append(codec.decode_record(record))

    def of(self, kind: type[M]) -> list[M]:
        return [message for _, message in self.records if isinstance(message, kind)]


class Played:
    """A device that is shown features, with a tick each second."""

    def __init__(self, bundle: Bundle, keep: bool = True, **settings: Any) -> None:
        self.sent, self.saved = Sent(keep), list[str]()
        chosen = EdgeSettings(bundle=Path("x.bundle"), device="one", camera="-", **settings)
        self.device = Device(
            wiring.build(chosen, bundle, self.sent),
            Doors(wiring.DOORS),
            wiring.ROUTES,
            snapshots=self,
            identity=Identity(device="one", boot=self.sent.boot, bundle=bundle.digest),
        )
        self.frames = 0

    def save(self, snapshot: Snapshot) -> None:
        """The disk, which is as fast as it can be."""
        self.saved.append(snapshot.snapshot)

    def admit(self, message: Message) -> None:
        self.device.admit(message)
        while self.saved:
            self.device.admit(SnapshotSaved(at=self.at, snapshot=self.saved.pop(), digest="d", size=1))

    @property
    def at(self) -> float:
        return self.frames / FPS

    def tick(self, wall_us: int = NOW_US, clock: str = "synced", last: bool = False) -> None:
        self.admit(Tick(at=self.at, wall_us=wall_us, clock=clock, last=last))

    def show(self, many: Floats, wall_us: Callable[[float], int] = lambda at: NOW_US + round(at * 1e6)) -> None:
        """Frames at FPS; `wall_us` is what the wall clock says at a message time."""
        for row in many:
            if self.frames % FPS == 0:
                self.tick(wall_us(self.at))
            self.admit(Embedded(at=self.at, frame=f"{self.sent.boot}-{self.frames}", values=packed(row)))
            self.frames += 1

    def actor(self, name: str) -> Any:
        return self.device.actor(name)
