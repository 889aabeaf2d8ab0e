"""A model is one picture in, one vector out, or it is refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from edge_actors.errors import ModelError
from edge_actors.ports.interpreter import Interpreter

from .learning import FLOAT32, INT8, tiny_model

PICTURE = np.arange(0, 256, 16, dtype=np.uint8).reshape(4, 4, 1)


def test_says_what_it_is_and_what_it_takes() -> None:
    model = Interpreter(tiny_model())
    assert (model.input_shape, model.dimension) == ((4, 4, 1), 16)
    runtime, _, version = model.name.partition("-")
    assert runtime in ("litert", "tflite")
    assert version[0].isdigit()


def test_gives_real_numbers_of_a_quantised_output() -> None:
    found = Interpreter(tiny_model(scale=0.5, zero=16)).embed(PICTURE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (PICTURE.reshape(16).astype(float) - 16) * 0.5)


def test_a_signed_model_sees_the_same_picture() -> None:
    found = Interpreter(tiny_model(kind=INT8, zero=-128)).embed(PICTURE)
    np.testing.assert_allclose(found, PICTURE.reshape(16))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (b"", "cannot load it"),
        (b"not a model at all" * 20, "cannot load it"),
        (tiny_model()[:200], "cannot load it"),
        (tiny_model(outputs=2), "2 outputs"),
        (tiny_model(kind=FLOAT32), "its input is float32"),
        (tiny_model(vector=(1, 4, 4)), "shape 1 x 4 x 4; one vector"),
        (tiny_model(picture=(1, 16), vector=(1, 16)), "shape 1 x 16; a picture"),
        (tiny_model(picture=(1, 4, 2, 2), vector=(1, 16)), "shape 1 x 4 x 2 x 2; a picture"),
        (tiny_model(picture=(2, 4, 2, 1), vector=(1, 16)), "a picture"),
    ],
    ids=["empty", "rubbish", "cut off", "outputs", "float", "map", "flat", "channels", "batch"],
)
def test_anything_else_is_refused_with_the_reason(model: bytes, reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as refused:
        Interpreter(model)
    assert "\n" not in str(refused.value)
