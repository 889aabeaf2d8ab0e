"""What a simulated device has to say: real messages in an order in which a device would send them."""

from __future__ import annotations

import io
import math
from collections import deque
from collections.abc import Sequence
from random import Random

import numpy as np
from PIL import Image

from broker.messages import (
    AdaptationDecided,
    DriftCleared,
    DriftContinued,
    DriftDetected,
    Float32Array,
    LabelRequested,
    Message,
    Predictions,
    SampleQuarantined,
    SnapshotTaken,
    Telemetry,
)

FEATURES, K = 64, 5  # as a bundle's projection and memory have them
CLASSES = ("apple", "banana", "kiwi", "lemon", "pear")
READINGS = ("fps", "rss_mb", "cpu_percent", "temperature_c", "disk_free_mb", "spool_records", "knn_p95_us", "drops")
POOL = 32  # pictures, features and readings are drawn from so many of each
REMEMBERED = 64  # samples of an episode that may still be asked about
# How often a device says what, in drift and out of it; what cannot be said then is replaced by telemetry.
CALM = (("telemetry", 45), ("predictions", 45), ("snapshot", 4), ("begin", 6))
DRIFTING = (
    *(("telemetry", 20), ("predictions", 20), ("continue", 20), ("sample", 24)),
    *(("ask", 5), ("adapt", 4), ("snapshot", 2), ("end", 5)),
)


class Pool:
    """Pictures and numbers that are made once for the whole fleet; what differs from record to record is little."""

    def __init__(self, seed: int, batch: int) -> None:
        chance = np.random.default_rng(seed)
        self.pictures = [_thumbnail(chance) for _ in range(POOL)]
        self.features = [_floats(chance.normal(0.0, 1.0, FEATURES)) for _ in range(POOL)]
        self.distances = [_floats(np.sort(chance.gamma(4.0, 0.5, K))) for _ in range(POOL)]
        self.quantiles = [_floats(np.sort(chance.random(5))) for _ in range(POOL)]
        self.readings = [_floats(chance.gamma(9.0, 10.0, (batch, len(READINGS)))) for _ in range(POOL)]
        self.ages = _floats(np.arange(batch - 1, -1, -1, dtype=float))


class Life:
    """One device's story: it is calm, drifts, keeps samples, asks, adapts, and is calm again."""

    def __init__(self, pool: Pool, chance: Random, bundle: str, thumbnails: float) -> None:
        self.pool, self.chance, self.bundle, self.thumbnails = pool, chance, bundle, thumbnails
        self.frames = 0
        self.episode = ""
        self._began = 0  # the frame at which the episode did
        self._kept: deque[str] = deque(maxlen=REMEMBERED)  # samples of the episode that nobody was asked about
        self._fresh: list[str] = []  # samples since the last word on the episode
        self._asked = self._adaptations = self._snapshots = 0

    def next(self, boot: str, at: float) -> Message:
        """The next thing it says, at this message time."""
        self.frames += self.chance.randrange(1, 200)
        words, weights = zip(*(DRIFTING if self.episode else CALM), strict=True)
        (word,) = self.chance.choices(words, weights)
        if (word == "ask" and not self._kept) or (word == "adapt" and not self._kept):
            word = "telemetry"
        message: Message = getattr(self, f"_{word}")(f"{boot}-{self.frames:010}", at)
        return message

    def saved(self, at: float, reason: str) -> SnapshotTaken:
        """A snapshot of the state, which a label or an adaptation asked for."""
        self._snapshots += 1
        size = self.chance.randrange(180_000, 215_000)
        return SnapshotTaken(at=at, snapshot=f"n{self._snapshots}", reason=reason, digest=f"{size:064x}", size=size)

    def _some(self, pool: Sequence[Float32Array]) -> Float32Array:
        return pool[self.chance.randrange(POOL)]

    def _telemetry(self, _frame: str, at: float) -> Telemetry:
        return Telemetry(at=at, names=READINGS, ages=self.pool.ages, values=self._some(self.pool.readings))

    def _predictions(self, _frame: str, at: float) -> Predictions:
        counts = tuple(self.chance.randrange(400) for _ in CLASSES)
        return Predictions(
            at=at,
            seconds=60.0,
            frames=sum(counts),
            labels=CLASSES,
            counts=counts,
            confidence=self._some(self.pool.quantiles),
            distance=self._some(self.pool.quantiles),
            score=self._some(self.pool.quantiles),
        )

    def _snapshot(self, _frame: str, at: float) -> SnapshotTaken:
        return self.saved(at, "interval")

    def _begin(self, frame: str, at: float) -> DriftDetected:
        self.episode, self._began = frame, self.frames
        statistic = self.chance.uniform(8.0, 14.0)
        return DriftDetected(
            at=at,
            episode=frame,
            frame=frame,
            detector="cusum",
            drift_type="knn-distance",
            statistic=statistic,
            threshold=8.0,
            severity=min(10.0, statistic / 8.0),
            frames=self.frames,
        )

    def _continue(self, frame: str, at: float) -> DriftContinued:
        statistic = self.chance.uniform(8.0, 60.0)
        fresh, self._fresh = tuple(self._fresh), []
        return DriftContinued(
            at=at,
            episode=self.episode,
            frame=frame,
            detector="cusum",
            statistic=statistic,
            threshold=8.0,
            severity=min(10.0, statistic / 8.0),
            frames=self.frames - self._began,
            samples=fresh,
        )

    def _end(self, frame: str, at: float) -> DriftCleared:
        episode, self.episode = self.episode, ""
        self._kept.clear()
        self._fresh.clear()
        return DriftCleared(
            at=at,
            episode=episode,
            frame=frame,
            detector="cusum",
            statistic=self.chance.uniform(0.0, 2.0),
            threshold=8.0,
            frames=self.frames - self._began,
            reason="in distribution again",
        )

    def _sample(self, frame: str, at: float) -> SampleQuarantined:
        self._kept.append(frame)
        self._fresh.append(frame)
        picture = self.chance.choice(self.pool.pictures) if self.chance.random() < self.thumbnails else b""
        label = self.chance.choice(CLASSES)
        return SampleQuarantined(
            at=at,
            sample=frame,
            episode=self.episode,
            bundle=self.bundle,
            label=label,
            confidence=self.chance.choice((0.4, 0.6, 0.8, 1.0)),
            score=1.0 + self.chance.expovariate(1.0),
            values=self._some(self.pool.features),
            neighbours=(label,) * K,
            distances=self._some(self.pool.distances),
            picture=picture,
            picture_type="image/jpeg" if picture else "",
            width=96 if picture else 0,
            height=96 if picture else 0,
        )

    def _ask(self, _frame: str, at: float) -> LabelRequested:
        self._asked = self._asked % 50 + 1
        sample = self._kept.popleft()
        return LabelRequested(
            at=at, sample=sample, episode=self.episode, reason="dense", asked=self._asked, budget=50
        )

    def _adapt(self, _frame: str, at: float) -> AdaptationDecided:
        self._adaptations += 1
        before, kept = 0.9 + 0.08 * self.chance.random(), self.chance.random() < 0.7
        return AdaptationDecided(
            at=at,
            adaptation=f"a{self._adaptations}",
            episode=self.episode,
            kind="novel-class",
            outcome="applied" if kept else "rolled-back",
            reason="the calibration set is recognised as before" if kept else "the calibration set suffered",
            label=f"class-{self._adaptations}",
            samples=tuple(self._kept),
            statistic=self.chance.uniform(1.0, 4.0),
            threshold=1.0,
            accuracy_before=before,
            accuracy_after=before + (0.0 if kept else -0.1),
            memory=200 + self._adaptations,
        )


def _floats(numbers: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Float32Array:
    assert math.prod(numbers.shape)
    return Float32Array(numbers.astype("<f4").tobytes())


def _thumbnail(chance: np.random.Generator) -> bytes:
    """A JPEG as a device makes it: something smooth, a little noise."""
    coarse = Image.fromarray(chance.integers(0, 255, (6, 6, 3), np.uint8)).resize((96, 96))
    noisy = np.clip(np.asarray(coarse, np.int16) + chance.integers(-8, 8, (96, 96, 3)), 0, 255)
    file = io.BytesIO()
    Image.fromarray(noisy.astype(np.uint8)).save(file, "JPEG", quality=70)
    return file.getvalue()
