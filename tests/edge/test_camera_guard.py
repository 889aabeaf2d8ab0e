"""A camera that shows nothing of the world is told once, and none of it is drift."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Never, get_args

import numpy as np
import pytest

from broker.messages import (
    CameraDoubted,
    CameraFaulted,
    CameraRecovered,
    DriftDetected,
    Embedded,
    Float32Array,
    Frame,
    Message,
    Scored,
)
from edge_actors import pictures, wiring
from edge_actors.algorithms.camera_faults import BLANK_FRAMES, FROZEN_FRAMES, HOPELESS, WELL_FRAMES, Fault, look_at
from edge_actors.bundle import Bundle
from edge_actors.camera_guard import CameraGuard
from edge_actors.pictures import Pixels
from edge_actors.runtime.actor import Actor
from edge_actors.runtime.device import Device, Identity
from edge_actors.runtime.door import Doors
from edge_actors.runtime.recording import Outputs
from edge_actors.runtime.replay import NoDisk, Tape
from edge_actors.runtime.states import plain
from edge_actors.settings import EdgeSettings
from platform_api.demo import album
from platform_api.demo.world import DEGRADATIONS, ROLES, Day, World

from .learning import kinds

SIDE, FPS = 48, 5
PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "grocery8"
Heard = Scored | DriftDetected | CameraFaulted | CameraRecovered


class Shown:
    """Shows pictures to a guard, five a second, and keeps what it says."""

    def __init__(self, guard: CameraGuard | None = None) -> None:
        self.guard, self.number, self.said = guard or CameraGuard(), 0, list[Message]()
        self.chance = np.random.default_rng(2)

    def show(self, pixels: Pixels, times: int = 1) -> list[Message]:
        told = []
        for _ in range(times):
            self.number += 1
            height, width, channels = pixels.shape
            frame = Frame(
                at=self.number / FPS,
                frame=f"b-{self.number}",
                pixels=pixels.tobytes(),
                height=height,
                width=width,
                channels=channels,
            )
            told += list(self.guard.receive(frame))
        self.said += told
        return told

    def world(self, times: int) -> list[Message]:
        return [said for _ in range(times) for said in self.show(self.noise(128, 40))]

    def blank(self, level: float, times: int) -> list[Message]:
        """A picture of one brightness, with the noise of a sensor."""
        return [said for _ in range(times) for said in self.show(self.noise(level, 3))]

    def noise(self, mean: float, spread: float) -> Pixels:
        return np.clip(self.chance.normal(mean, spread, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def of(said: list[Message], kind: type) -> list[Any]:
    return [message for message in said if type(message) is kind]


def test_a_camera_that_works_is_not_talked_about() -> None:
    assert Shown().world(500) == []


def test_a_picture_that_stays_the_same_is_a_frozen_camera_after_ten_seconds() -> None:
    shown = Shown()
    shown.world(20)
    said = shown.show(shown.noise(128, 40), 200)
    (fault,) = of(said, CameraFaulted)
    assert kinds(said) == ["CameraFaulted", "CameraDoubted"]
    assert (fault.fault, fault.episode) == ("frozen", "b-22"), "the first frame that was like the one before"
    assert 10.0 <= fault.statistic <= 10.2
    assert (fault.threshold, fault.frames) == (10.0, 51)
    assert shown.guard.faults() == {"camera_frozen"}


def test_thirty_equal_pictures_are_needed_however_seldom_they_come() -> None:
    guard, said = CameraGuard(), list[Message]()
    for number in range(FROZEN_FRAMES + 1):
        assert not said
        said += guard.receive(
            Frame(at=60.0 * number, frame=f"b-{number}", pixels=bytes(range(48)), height=4, width=4)
        )
    assert kinds(said) == ["CameraFaulted", "CameraDoubted"]


def test_a_frozen_camera_can_be_left_to_itself_by_setting() -> None:
    shown = Shown(CameraGuard(frozen_s=0.0))
    assert shown.show(shown.noise(128, 40), 300) == []


@pytest.mark.parametrize(("level", "name"), [(0, "black"), (6, "black"), (255, "saturated"), (251, "saturated")])
def test_a_blank_picture_is_doubted_at_once_and_a_fault_a_little_later(level: int, name: str) -> None:
    shown = Shown()
    shown.world(20)
    said = shown.blank(level, BLANK_FRAMES)
    assert said[0] == CameraDoubted(at=21 / FPS, frame="b-21", reasons=(name,))
    (fault,) = said[1:]
    assert isinstance(fault, CameraFaulted)
    assert (fault.fault, fault.frame, fault.episode, fault.frames) == (name, "b-30", "b-21", BLANK_FRAMES)
    assert fault.statistic >= fault.threshold == HOPELESS
    assert shown.guard.faults() == {f"camera_{name}"}


def test_one_black_picture_is_no_fault_and_is_no_evidence_either() -> None:
    shown = Shown()
    shown.world(20)
    shown.blank(0, 1)
    shown.world(50)
    assert [(one.frame, one.reasons) for one in of(shown.said, CameraDoubted)] == [("b-21", ("black",)), ("b-22", ())]
    assert len(shown.said) == 2


def test_a_fault_ends_once_the_world_was_seen_ten_times_in_a_row() -> None:
    shown = Shown()
    shown.world(20)
    shown.blank(0, 40)
    assert not of(shown.world(WELL_FRAMES - 1), CameraRecovered)
    shown.blank(0, 1)
    said = shown.world(WELL_FRAMES)
    (over,) = of(said, CameraRecovered)
    assert (over.fault, over.episode, over.frame) == ("black", "b-21", "b-80")
    assert (over.frames, over.seconds) == (60, pytest.approx(59 / FPS))
    assert of(said, CameraDoubted)[-1].reasons == ()
    assert shown.guard.faults() == frozenset()


def test_a_dead_sensor_is_black_and_frozen_and_each_is_told_once() -> None:
    shown = Shown()
    shown.world(20)
    shown.show(np.zeros((SIDE, SIDE, 3), np.uint8), 500)
    shown.world(20)
    assert [one.fault for one in of(shown.said, CameraFaulted)] == ["black", "frozen"]
    assert sorted(one.fault for one in of(shown.said, CameraRecovered)) == ["black", "frozen"]
    assert of(shown.said, CameraDoubted)[-1].reasons == ()


def test_a_loose_contact_is_not_told_all_day() -> None:
    shown = Shown()
    for _ in range(150):
        shown.blank(0, BLANK_FRAMES)
        shown.world(WELL_FRAMES)
    assert len(of(shown.said, CameraFaulted)) <= 7


def test_after_a_calm_time_a_fault_ends_as_soon_as_the_first_one() -> None:
    fault = Fault(1)
    for bad in ([True] + [False] * WELL_FRAMES) * 3 + [False] * 10_000 + [True] + [False] * (WELL_FRAMES - 1):
        last = fault.update(bad, "b-1", 0.0)
    assert (last, fault.on) == ("", True)
    assert fault.update(False, "b-1", 0.0) == "end"


def test_what_it_saw_goes_on_after_a_restart() -> None:
    shown, again = Shown(), Shown()
    still = shown.noise(128, 40)
    for _ in range(100):
        said = shown.show(still)
        again.guard, restored = CameraGuard(), again.guard.state()
        again.guard.restore(plain(restored))
        assert again.show(still) == said
    assert shown.guard.state() == again.guard.state()
    assert kinds(shown.said) == ["CameraFaulted", "CameraDoubted"]


def test_features_that_stay_the_same_are_a_frozen_camera_too() -> None:
    guard, chance, said = CameraGuard(), np.random.default_rng(0), list[Message]()
    for number in range(100):
        values = chance.normal(size=8) if number < 20 else np.zeros(8)  # dark features are no dark picture
        said += guard.receive(Embedded(at=number / FPS, frame=f"b-{number}", values=Float32Array.of(values)))
    assert kinds(said) == ["CameraFaulted", "CameraDoubted"]
    assert said[0].fault == "frozen"  # type: ignore[attr-defined]


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 1), (32, 32, 1), (96, 96, 3), (224, 224, 3), (480, 641, 3)])
def test_few_bytes_of_every_column_and_colour_stand_for_a_picture(shape: tuple[int, int, int]) -> None:
    _height, width, channels = shape
    for colour in range(channels):
        pixels = np.zeros(shape, np.uint8)
        pixels[:, :, colour] = 255
        look = look_at(pixels.tobytes(), width * channels)
        assert len(look.few) <= 4000
        assert look.bright == pytest.approx(1 / channels, abs=0.01)
    for column in range(0, width, max(1, width // 50)):
        pixels = np.zeros(shape, np.uint8)
        pixels[:, max(0, column - width // 40) : column + width // 40 + 1] = 255
        assert look_at(pixels.tobytes(), width * channels).bright > 0
    assert look_at(b"", 0).dark == 0


# ---- real pictures ---------------------------------------------------------------------------------------------


def shares(pictures: Iterator[Pixels]) -> tuple[float, float]:
    """The largest share of dark and of bright bytes in any of them."""
    looks = [look_at(pixels.tobytes(), pixels.shape[1] * pixels.shape[2]) for pixels in pictures]
    return max(look.dark for look in looks), max(look.bright for look in looks)


def test_white_strokes_on_black_are_a_picture_and_so_are_black_ones_on_white() -> None:
    digits = [picture.pixels() for picture in album.digits().pictures[::5]]
    assert max(shares(iter(digits))) < HOPELESS - 0.2
    assert max(shares(255 - pixels for pixels in digits)) < HOPELESS - 0.2


def test_no_photograph_is_black_or_saturated() -> None:
    if not PHOTOGRAPHS.is_dir():
        pytest.skip("there are no photographs beside the repository")
    paths = sorted((PHOTOGRAPHS / "images").rglob("*.jpg"))[::40]
    assert max(shares(pictures.load(path, 96, 96, 3) for path in paths)) < HOPELESS - 0.2


@pytest.mark.parametrize("degrade", DEGRADATIONS)
def test_the_cameras_of_the_demo_are_never_frozen_or_blank(degrade: str) -> None:
    digits = album.digits()
    for role in ROLES:
        world = World(digits, role, Day(100.0), digits.classes[-1], degrade, seed=1)
        shown = Shown()
        for number in range(300):
            shown.show(world.frame(number / 3)[0])
        assert shown.said == []


# ---- the whole device ------------------------------------------------------------------------------------------


class Listener(Actor[Heard, Never]):
    """Keeps what it hears."""

    def __init__(self, said: list[Message]) -> None:
        self.said = said

    def receive(self, message: Heard) -> tuple[()]:
        self.said.append(message)
        return ()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("bundle") / "digits.bundle"
    digits = album.digits()
    digits.bundle(digits.classes, path, seed=1)
    return Bundle.load(path)


@pytest.mark.parametrize("blank", [0, 255, None])
def test_a_broken_camera_never_looks_like_drift_and_every_frame_is_still_recognised(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, blank: int | None
) -> None:
    tape, said = Outputs(Tape("00000000-000001", 1)), list[Message]()
    settings = EdgeSettings(bundle=Path("x.bundle"), device="one", camera="-", commissioning_frames=200)
    for kind in get_args(Heard):
        monkeypatch.setitem(wiring.ROUTES, kind, (*wiring.ROUTES[kind], "listener"))
    device = Device(
        wiring.build(settings, bundle, tape) | {"listener": lambda: Listener(said)},
        Doors(wiring.DOORS),
        wiring.ROUTES,
        snapshots=NoDisk(),
        identity=Identity(device="one", boot=tape.boot, bundle=bundle.digest),
    )
    digits, frames = album.digits(), 900
    world = World(digits, ROLES[2], Day(frames / FPS), digits.classes[-1], "blur", seed=3)
    still = world.frame(0.0)[0]
    for number in range(frames):
        pixels = world.frame(number / FPS)[0]
        if 400 <= number < 700:
            pixels = still if blank is None else np.full_like(pixels, blank)
        height, width, channels = pixels.shape
        frame = f"{tape.boot}-{number}"
        data = pixels.tobytes()
        device.admit(Frame(at=number / FPS, frame=frame, pixels=data, height=height, width=width, channels=channels))
    assert device.failures == 0
    assert len(of(said, Scored)) == frames
    assert not of(said, DriftDetected)
    if blank is not None:
        assert not any(scored.scene for scored in of(said, Scored)[400:700]), (
            "the doubt came after the first black frame"
        )
    begun, over = of(said, CameraFaulted), of(said, CameraRecovered)
    assert (
        {one.fault for one in begun}
        == {one.fault for one in over}
        == ({"frozen"} if blank is None else {"frozen", "black" if blank == 0 else "saturated"})
    )
