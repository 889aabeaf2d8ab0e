"""The whole device as `wiring` builds it: what a frame costs in calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker.messages import Frame, Tick
from edge_actors import wiring
from edge_actors.adapter import Adapter
from edge_actors.algorithms.neighbours import Memory
from edge_actors.bundle import Bundle
from edge_actors.ports.interpreter import Interpreter
from edge_actors.runtime.device import Device, Identity
from edge_actors.runtime.door import Doors
from edge_actors.runtime.recording import Outputs
from edge_actors.runtime.replay import NoDisk, Tape
from edge_actors.settings import EdgeSettings
from platform_api.demo import album
from platform_api.demo.world import ROLES, Day, World

FRAMES, FPS = 1500, 25


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("bundle") / "digits.bundle"
    digits = album.digits()
    digits.bundle(digits.classes[:-1], path, seed=1)
    return Bundle.load(path)


def counted(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[int]:
    """How often a method is called, from now on."""
    calls, real = [0], getattr(owner, name)

    def count(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, count)
    return calls


def test_a_frame_costs_one_model_call_and_one_neighbour_search(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In calm, in drift and with a quarantine that fills; only a change of the memory searches for itself."""
    tape = Outputs(Tape("00000000-000001", 1))
    settings = EdgeSettings(bundle=Path("x.bundle"), device="one", camera="-", commissioning_frames=200)
    device = Device(
        wiring.build(settings, bundle, tape),
        Doors(wiring.DOORS),
        wiring.ROUTES,
        snapshots=NoDisk(),
        identity=Identity(device="one", boot=tape.boot, bundle=bundle.digest),
    )
    digits = album.digits()
    world = World(digits, ROLES[1], Day(FRAMES / FPS), digits.classes[-1], "blur", seed=3)  # the lens degrades
    models, searches = counted(monkeypatch, Interpreter, "embed"), counted(monkeypatch, Memory, "_nearest")
    decided = counted(monkeypatch, Adapter, "_answered")
    for number in range(FRAMES):
        pixels, _ = world.frame(number / FPS)
        height, width, channels = pixels.shape
        frame = Frame(
            at=number / FPS,
            frame=f"{tape.boot}-{number}",
            pixels=pixels.tobytes(),
            height=height,
            width=width,
            channels=channels,
        )
        before, changes = searches[0], decided[0]
        device.admit(frame)
        assert models[0] == number + 1
        assert searches[0] == before + 1 or decided[0] > changes
    device.admit(Tick(at=FRAMES / FPS, wall_us=1, last=True))
    assert device.failures == 0
    assert tape.records >= 3, "neither drift nor samples nor predictions were reported"
