"""What a training can be told, and what Keras has weights for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import TrainingError

ALPHAS = {  # the widths that Keras has ImageNet weights for
    "mobilenet-v2": (0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    "mobilenet-v1": (0.25, 0.5, 0.75, 1.0),
}
IMAGENET_SIZES = (96, 128, 160, 192, 224)
IMAGENET, NONE = "imagenet", "none"
EPOCHS, EPOCHS_FROM_SCRATCH = 10, 60


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Raises TrainingError for values that cannot be."""

    backbone: str = "mobilenet-v2"
    alpha: float = 0.5
    size: int = 160
    weights: str = IMAGENET  # or none, or a file
    head_epochs: int = 5
    epochs: int | None = None  # by itself 10, from scratch 60
    held_out: float = 0.3
    batch: int = 32
    mirror: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.alpha not in ALPHAS[self.backbone]:
            known = ", ".join(map(str, ALPHAS[self.backbone]))
            raise TrainingError(f"{self.backbone} has no alpha {self.alpha}; it can be {known}")
        if self.size % 32 or not 32 <= self.size <= 320:
            raise TrainingError(f"--size is {self.size}; it can be 32 to 320 in steps of 32")
        if self.weights == IMAGENET and self.size not in IMAGENET_SIZES:
            known = ", ".join(map(str, IMAGENET_SIZES))
            raise TrainingError(f"ImageNet weights are for pictures of {known} pixels, not {self.size}")
        if self.weights not in (IMAGENET, NONE) and not Path(self.weights).is_file():
            raise TrainingError(
                f"there is no file {self.weights} with weights; --weights can also be imagenet or none"
            )
        if not 0.05 <= self.held_out <= 0.8:
            raise TrainingError(f"--held-out is {self.held_out}; it can be 0.05 to 0.8")
        if min(self.head_epochs, self.seed, self.epochs or 0) < 0 or self.batch < 2:
            raise TrainingError("epochs and seed cannot be negative, and a batch holds at least 2 pictures")

    @property
    def pretrained(self) -> bool:
        return self.weights != NONE

    @property
    def passes(self) -> int:
        """How often the network itself sees the pictures."""
        if self.epochs is not None:
            return self.epochs
        return EPOCHS if self.pretrained else EPOCHS_FROM_SCRATCH
