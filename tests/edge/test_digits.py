"""The demo's model on the demo's pictures: the unseen and a degraded sensor are noticed, the control is silent."""

from __future__ import annotations

from functools import cache, partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from broker.messages import AdaptationDecided, DriftCleared, DriftDetected, Frame, Message, Neighbours
from edge_actors import training
from edge_actors.adapter import Adapter
from edge_actors.algorithms.cusum import SceneCusum
from edge_actors.algorithms.ending import Ending
from edge_actors.algorithms.mewma import SceneMewma
from edge_actors.algorithms.placing import Placing
from edge_actors.algorithms.scene_gate import SceneGate
from edge_actors.bundle import Bundle
from edge_actors.bundle.build import build_bundle
from edge_actors.drift_monitor import DriftMonitor
from edge_actors.extractor import Extractor
from edge_actors.knn import Knn
from edge_actors.pictures import Pixels
from edge_actors.policies.cautious import Cautious
from edge_actors.privacy import Showing
from edge_actors.quarantine import Quarantine
from edge_actors.runtime.actor import Actor
from edge_actors.training.digit_pictures import DigitPictures, digit_pictures, jittered

from .learning import deliver

MODEL = Path(training.__file__).parent / "artifacts" / "digits_extractor.tflite"
UNSEEN = "9"
COMMISSIONING = 500


@cache
def pictures() -> DigitPictures:
    return digit_pictures()


@cache
def bundle() -> Bundle:
    found = pictures()
    known = [
        (pixels, label, part)
        for pixels, label, part in zip(found.pixels, found.labels, found.part, strict=True)
        if part == "ref" and label != UNSEEN
    ]
    return build_bundle(known, MODEL.read_bytes(), jitter=lambda p, chance: jittered(p[None], chance)[0])


def device() -> dict[str, Actor]:
    contents = bundle().contents
    usual, dimension = contents.statistics, contents.projection.dimension
    return {
        "extractor": Extractor(bundle().interpreter, contents.projection),
        "knn": Knn(bundle().memory(), contents.calibration, bundle().digest, usual.scene),
        "drift_monitor": DriftMonitor(
            usual.scores(),
            SceneGate(usual.scene),
            Placing(usual.places),
            [SceneCusum(), SceneMewma(usual.places.shares, len(usual.places.whitening))],
            Ending(usual.usual, len(usual.places.whitening)),
            commissioning=COMMISSIONING,
        ),
        "quarantine": Quarantine(
            bundle=bundle().digest,
            places=usual.places,
            k=5,
            usual_distance=usual.nearest,
            showing=Showing("features"),
        ),
        "adapter": Adapter(Cautious(dimension), dimension),
    }


class Camera:
    """Shows random digits of the stream half, never twice in the same way."""

    def __init__(self, seed: int) -> None:
        self.actors, self.chance, self.number = device(), np.random.default_rng(seed), count()
        found = pictures()
        stream = [i for i, part in enumerate(found.part) if part == "stream"]
        self.known = [i for i in stream if found.labels[i] != UNSEEN]
        self.unseen = [i for i in stream if found.labels[i] == UNSEEN]

    def show(self, frames: int, unseen: float = 0.0, sensor: object = None, dwell: int = 1) -> list[Message]:
        said: list[Message] = []
        for i in range(frames):
            if i % dwell == 0:
                picture = self.chance.choice(self.unseen if self.chance.random() < unseen else self.known)
            pixels = jittered(pictures().pixels[picture][None], self.chance)[0]
            if callable(sensor):
                pixels = sensor(pixels, self.chance)
            number = next(self.number)
            frame = Frame(
                at=number / 20, frame=f"b-{number}", pixels=pixels.tobytes(), height=32, width=32, channels=1
            )
            said += deliver(frame, **self.actors)
        return said


def blurred(pixels: Pixels, _chance: np.random.Generator) -> Pixels:
    soft = Image.fromarray(pixels[..., 0]).filter(ImageFilter.GaussianBlur(2.5))
    return np.asarray(soft)[..., None]


def noisy(pixels: Pixels, chance: np.random.Generator) -> Pixels:
    return np.clip(pixels + chance.normal(0, 45, pixels.shape), 0, 255).astype(np.uint8)


def of_kind(said: list[Message], kind: type) -> list:
    return [message for message in said if type(message) is kind]


@pytest.mark.parametrize("dwell", [1, 8])
def test_the_control_is_silent(dwell: int) -> None:
    said = Camera(seed=1).show(3000, dwell=dwell)
    assert of_kind(said, DriftDetected) == []
    assert len(of_kind(said, Neighbours)) == 3000


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_unseen_digit_is_noticed_and_becomes_a_class_of_its_own(seed: int) -> None:
    camera = Camera(seed)
    assert of_kind(camera.show(COMMISSIONING + 100), DriftDetected) == []
    said = camera.show(600, unseen=0.3)
    detected = of_kind(said, DriftDetected)[0]
    assert int(detected.frame[2:]) <= COMMISSIONING + 100 + 200
    decided = of_kind(said, AdaptationDecided)
    assert "applied" in [one.outcome for one in decided]
    assert all(one.label.startswith("novel-") for one in decided if one.outcome == "applied")


@pytest.mark.parametrize("sensor", [blurred, noisy])
def test_a_degraded_sensor_is_noticed_soon_makes_no_class_and_ends_with_the_degradation(sensor: object) -> None:
    camera = Camera(seed=1)
    assert of_kind(camera.show(COMMISSIONING + 100), DriftDetected) == []
    said = camera.show(300, sensor=sensor)
    (detected,) = of_kind(said, DriftDetected)
    assert int(detected.frame[2:]) <= COMMISSIONING + 100 + 50
    assert {one.kind for one in of_kind(said, AdaptationDecided)} == {"recentring"}
    after = camera.show(400)
    (cleared,) = of_kind(after, DriftCleared)
    assert int(cleared.frame[2:]) <= COMMISSIONING + 100 + 300 + 60
    assert of_kind(after, DriftDetected) == []


def test_the_bundle_of_the_demo_knows_its_digits() -> None:
    assert bundle().contents.statistics.accuracy > 0.98
    assert bundle().warnings == ()


def test_the_same_day_twice_gives_the_same_messages() -> None:
    one, other = (Camera(seed=4) for _ in range(2))
    play = partial(Camera.show, frames=700, unseen=0.5)
    assert play(one) == play(other)
