"""What a person can change about the demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from broker.errors import SettingsError
from broker.settings import setting

PREFIX = "TINYML_DEMO_"
SHORTEST_S = 60.0


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    images: Path | None = setting(
        None, "your own labelled pictures: DIR/<class>/*.jpg, or a labels.csv (file,class,part) in or beside DIR"
    )
    model: Path | None = setting(None, "your own TFLite feature extractor; goes with --images")
    unseen: str = setting("", "the class that appears during the day; default: the last one by name")
    degrade: str = setting("blur", "what happens to the dirty lens", choices=("blur", "noise"))
    seconds: float = setting(0.0, "how long the day takes; 0: two minutes, or longer where the model is slow")
    fps: float = setting(0.0, "pictures a second and camera; 0: 25, or what the model allows on this machine")
    broker: str = setting(
        "auto",
        "auto: Mosquitto where there is one, else the embedded broker",
        choices=("auto", "mosquitto", "embedded"),
    )
    once: bool = setting(False, "end after the table; else everything stays up until Ctrl-C")
    plain: bool = setting(False, "plain lines, also in a terminal")
    keep: Path | None = setting(None, "keep everything the demo writes in this folder; default: a temporary one")
    seed: int = setting(1, "seed of all chance in the demo")

    def __post_init__(self) -> None:
        if (self.images is None) != (self.model is None):
            raise SettingsError("--images and --model go together: pictures need the extractor they are meant for")
        if 0 < self.seconds < SHORTEST_S or self.seconds < 0 or self.fps < 0:
            raise SettingsError(f"the day needs at least {SHORTEST_S:.0f} seconds, and fps cannot be negative")
