"""What happens in front of the three cameras: a day, told as shares of its length."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_actors.pictures import Pixels

from .album import Album

UNSEEN_SHARE = 0.3  # of the frames that show the unseen class once it has appeared
USUAL_S, USUAL_FPS = 120.0, 25.0
CALM = 0.32  # share of the day before the world changes
CALM_FRAMES = 600  # that a device should have seen by then: commissioning and a little more
LOAD = 0.35  # of the processors, for the model calls of all devices


@dataclass(frozen=True)
class Day:
    """When what happens, in seconds since the cameras started."""

    seconds: float

    @property
    def change(self) -> float:
        """The unseen class appears, the lens of another camera goes out of focus."""
        return CALM * self.seconds

    @property
    def outage(self) -> float:
        return 0.54 * self.seconds

    @property
    def outage_s(self) -> float:
        return 20.0

    @property
    def labels(self) -> float:
        """The validator comes to work."""
        return self.outage + self.outage_s + 3.0

    @property
    def cleaned(self) -> float:
        """Somebody cleans the lens; what is seen from here on counts as `after`."""
        return 0.85 * self.seconds

    def clock(self, at: float) -> str:
        """The hour of the day that is being played."""
        minutes = 6 * 60 + int(16 * 60 * min(at / self.seconds, 1.0))
        return f"{minutes // 60:02}:{minutes % 60:02}"


@dataclass(frozen=True)
class Role:
    """One of the three parts that the demo's devices play."""

    device: str
    story: str
    unseen: bool = False
    degraded: bool = False


ROLES = (
    Role("new-thing", "an unseen class appears", unseen=True),
    Role("dirty-lens", "the lens degrades", degraded=True),
    Role("control", "nothing changes"),
)


def pace(call_s: float) -> float:
    """Pictures a second and camera that this machine can take with a model of this speed."""
    return max(1.0, min(USUAL_FPS, LOAD * (os.cpu_count() or 1) / (len(ROLES) * call_s)))


def length(fps: float) -> float:
    """Seconds of a day in which devices see enough frames."""
    return max(USUAL_S, CALM_FRAMES / CALM / fps)


class World:
    """What one camera sees at a time of the day."""

    def __init__(self, album: Album, role: Role, day: Day, unseen: str, degrade: str, seed: int) -> None:
        self.album, self.role, self.day, self.unseen = album, role, day, unseen
        self.known = [label for label in album.classes if label != unseen]
        self._degrade = DEGRADATIONS[degrade]
        self._rng = np.random.default_rng(seed)

    def frame(self, at: float) -> tuple[Pixels, str]:
        """The pixels and what they truly show."""
        label = self.known[int(self._rng.integers(len(self.known)))]
        if self.role.unseen and at >= self.day.change and self._rng.random() < UNSEEN_SHARE:
            label = self.unseen
        pixels = self.album.glance(label, self._rng)
        if self.role.degraded and self.day.change <= at < self.day.cleaned:
            pixels = self._degrade(pixels, self.album.blur, self._rng)
        return pixels, label


def blurred(pixels: Pixels, blur: float, rng: np.random.Generator) -> Pixels:
    """Out of focus, by a little more or less each time; `blur` is a share of the side."""
    from PIL import Image, ImageFilter  # noqa: PLC0415

    grey = pixels.shape[2] == 1
    picture = Image.fromarray(pixels[..., 0] if grey else pixels)
    radius = max(pixels.shape[:2]) * blur * float(rng.uniform(0.9, 1.1))
    seen = np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), dtype=np.uint8)
    return seen[..., np.newaxis] if grey else seen


def noisy(pixels: Pixels, _blur: float, rng: np.random.Generator) -> Pixels:
    """The sensor at night: strong grain."""
    grain = rng.normal(0.0, 45.0, pixels.shape)
    return np.clip(pixels + grain, 0, 255).astype(np.uint8)


DEGRADATIONS: dict[str, Callable[[Pixels, float, np.random.Generator], Pixels]] = {"blur": blurred, "noise": noisy}
