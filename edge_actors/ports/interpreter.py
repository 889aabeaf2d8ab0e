"""The model runtime. The one file that knows LiteRT, and tflite_runtime where LiteRT has no wheel."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats
from ..errors import ModelError

RUNTIMES = {"litert": "ai_edge_litert", "tflite": "tflite_runtime"}  # first choice first
PIXEL_TYPES = {"uint8": 0, "int8": 128}  # what the model takes -> what it takes a black pixel for, below zero


class Interpreter:
    """A feature extractor: one picture in, one vector out. Raises ModelError for a model that is anything else."""

    def __init__(self, model: bytes, threads: int = 1) -> None:
        runtime, module = _runtime()
        self.name = f"{runtime}-{importlib.import_module(module.__package__ or '').__version__}"
        try:
            self._model = module.Interpreter(model_content=model, num_threads=threads)
            self._model.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{self.name} cannot load it: {str(error).splitlines()[0]}") from None
        self._input, self.input_shape = self._one_picture(self._model.get_input_details())
        self._output, self.dimension = self._one_vector(self._model.get_output_details())
        self._embedding = np.empty(self.dimension, np.float32)

    def embed(self, pixels: NDArray[np.uint8]) -> Floats:
        """Pixels (height, width, channels) -> embedding (dimension,), valid until the next call."""
        if self._signed:
            pixels = (pixels ^ 0x80).view(np.int8)
        self._model.set_tensor(self._input, pixels[np.newaxis])
        self._model.invoke()
        np.subtract(self._model.get_tensor(self._output).reshape(-1), self._zero, out=self._embedding)
        np.multiply(self._embedding, self._scale, out=self._embedding)
        return self._embedding

    def _one_picture(self, inputs: list[dict[str, Any]]) -> tuple[int, tuple[int, int, int]]:
        if len(inputs) != 1:
            raise ModelError(f"it has {len(inputs)} inputs; a feature extractor takes one picture")
        shape = tuple(int(size) for size in inputs[0]["shape"])
        if len(shape) != 4 or shape[0] != 1 or shape[3] not in (1, 3):
            raise ModelError(
                f"its input has the shape {_by(shape)}; a picture of 1 x height x width x 1 or 3 is needed"
            )
        kind = np.dtype(inputs[0]["dtype"]).name
        if kind not in PIXEL_TYPES:
            raise ModelError(
                f"its input is {kind}; convert it with quantised input (uint8 or int8), as cameras give it"
            )
        self._signed = kind == "int8"
        return int(inputs[0]["index"]), (shape[1], shape[2], shape[3])

    def _one_vector(self, outputs: list[dict[str, Any]]) -> tuple[int, int]:
        if len(outputs) != 1:
            raise ModelError(f"it has {len(outputs)} outputs; a feature extractor gives one vector")
        shape = tuple(int(size) for size in outputs[0]["shape"])
        dimension = int(np.prod(shape))
        if not shape or dimension != shape[-1] or dimension < 2:
            raise ModelError(
                f"its output has the shape {_by(shape)}; one vector is needed, such as a pooled embedding"
            )
        scale, zero = outputs[0]["quantization"]
        quantised = bool(scale)  # a float model says 0
        self._scale, self._zero = np.float32(scale if quantised else 1.0), np.float32(zero if quantised else 0.0)
        return int(outputs[0]["index"]), dimension


def _runtime() -> tuple[str, Any]:
    for name, package in RUNTIMES.items():
        try:
            return name, importlib.import_module(f"{package}.interpreter")
        except ModuleNotFoundError:
            continue
    raise ModelError("neither ai-edge-litert nor tflite-runtime is installed; try pip install 'tinymlops[edge]'")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "nothing"
