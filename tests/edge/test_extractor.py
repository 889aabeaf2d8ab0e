"""One model call a frame, and frames of the wrong size are named, not stretched."""

from __future__ import annotations

import numpy as np
import pytest

from broker.messages import Frame
from edge_actors.algorithms.projection import Projection
from edge_actors.arrays import floats
from edge_actors.errors import FrameSizeError
from edge_actors.extractor import Extractor
from edge_actors.ports.interpreter import Interpreter

from .learning import tiny_model

PICTURES = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), np.uint8)
PROJECTION = Projection.fit(PICTURES.reshape(40, 16).astype(np.float32), 5)


def extractor() -> Extractor:
    return Extractor(Interpreter(tiny_model()), PROJECTION)


def frame(pixels: np.ndarray) -> Frame:
    height, width, channels = pixels.shape
    return Frame(at=1.5, frame="b-7", pixels=pixels.tobytes(), height=height, width=width, channels=channels)


def test_tells_what_the_model_and_the_projection_make_of_a_frame() -> None:
    (told,) = extractor().receive(frame(PICTURES[3]))
    z, residual = PROJECTION.project(PICTURES[3].reshape(16).astype(np.float32))
    np.testing.assert_array_equal(floats(told.values), z)
    assert (told.at, told.frame, told.residual) == (1.5, "b-7", residual)


def test_frames_do_not_leave_traces_in_each_other() -> None:
    actor = extractor()
    first = [next(actor.receive(frame(picture))) for picture in PICTURES]
    again = [next(actor.receive(frame(picture))) for picture in PICTURES]
    assert first == again


def test_calls_the_model_once_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    embed = Interpreter.embed
    monkeypatch.setattr(Interpreter, "embed", lambda self, pixels: calls.append(1) or embed(self, pixels))
    actor = extractor()
    for picture in PICTURES:
        list(actor.receive(frame(picture)))
    assert len(calls) == len(PICTURES)


@pytest.mark.parametrize("shape", [(4, 5, 1), (4, 4, 3), (2, 8, 1)])
def test_a_frame_of_another_size_is_refused_with_both_sizes(shape: tuple[int, int, int]) -> None:
    with pytest.raises(FrameSizeError, match="the model takes 4 x 4 x 1") as refused:
        list(extractor().receive(frame(np.zeros(shape, np.uint8))))
    assert " x ".join(map(str, shape)) in str(refused.value)


def test_a_frame_with_too_few_pixels_is_refused() -> None:
    with pytest.raises(FrameSizeError, match="in 15 bytes"):
        list(extractor().receive(Frame(pixels=bytes(15), height=4, width=4, channels=1)))
