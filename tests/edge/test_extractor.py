"""One model call a frame, and frames of the wrong size are named, not stretched."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from broker.messages import DeadLetter, Embedded, Frame
from edge_actors.algorithms.projection import Projection
from edge_actors.arrays import floats, packed
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


def refused(message: Frame | Embedded) -> DeadLetter:
    (letter,) = extractor().receive(message)
    assert isinstance(letter, DeadLetter)
    assert (letter.at, letter.where, letter.kind) == (message.at, "extractor", type(message).__name__)
    return letter


@pytest.mark.parametrize("shape", [(4, 5, 1), (4, 4, 3), (2, 8, 1)])
def test_a_frame_of_another_size_is_refused_with_both_sizes(shape: tuple[int, int, int]) -> None:
    letter = refused(frame(np.full(shape, 77, np.uint8)))
    assert letter.reason.startswith("FrameSizeError: ")
    assert "the model takes 4 x 4 x 1" in letter.reason
    assert " x ".join(map(str, shape)) in letter.reason
    assert b"MMMM" not in letter.payload, "a picture never leaves with a failure"


def test_a_frame_with_too_few_pixels_is_refused() -> None:
    assert "in 15 bytes" in refused(Frame(pixels=bytes(15), height=4, width=4, channels=1)).reason


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e30])
def test_features_that_are_no_numbers_are_refused(wrong: float) -> None:
    values = np.ones(16, np.float32)
    values[3] = wrong
    assert "no number, or larger than" in refused(Embedded(at=2.0, frame="b-1", values=packed(values))).reason


def test_features_of_another_number_are_refused() -> None:
    assert "15 features came" in refused(Embedded(values=packed(np.ones(15, np.float32)))).reason
    assert "0 features came" in refused(Embedded()).reason


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_features_that_leave_the_projection_without_a_length_are_refused() -> None:
    tiny = Projection.fit(PICTURES.reshape(40, 16).astype(np.float32) * 1e-20, 5)
    (letter,) = Extractor(None, tiny).receive(Embedded(values=packed(np.full(16, 1e11, np.float32))))
    assert isinstance(letter, DeadLetter)
    assert "too large to be measured" in letter.reason


def test_a_bundle_of_features_refuses_pictures() -> None:
    (letter,) = Extractor(None, PROJECTION).receive(frame(PICTURES[0]))
    assert isinstance(letter, DeadLetter)
    assert "takes features" in letter.reason


def test_what_is_wrong_with_every_frame_is_told_ever_more_seldom_and_counted() -> None:
    actor = extractor()
    told = {}
    for second in range(4 * 3600):
        for letter in actor.receive(Frame(at=float(second), frame=f"b-{second}")):
            told[second] = letter.reason
    assert list(told)[:5] == [0, 60, 180, 420, 900], "after one minute, two, four, eight"
    assert all(later - sooner <= 3600 for sooner, later in pairwise(told))
    assert "(and 59 before it, since the last letter)" in told[60]
    assert len(told) <= 10
    (other,) = actor.receive(Embedded(at=4 * 3600.0))
    assert "EmbeddingError" in other.reason, "another kind of error is told at once"
    (again,) = actor.receive(Frame(at=9 * 3600.0))
    assert "before it" not in again.reason, "it was well for hours in between"


def test_a_rebuilt_extractor_does_not_tell_again() -> None:
    actor, rebuilt = extractor(), extractor()
    list(actor.receive(Frame(at=1.0)))
    rebuilt.restore(actor.state())
    assert list(rebuilt.receive(Frame(at=2.0))) == []
    assert rebuilt.state()["refusals"]["FrameSizeError"][3] == 1.0
