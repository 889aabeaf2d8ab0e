"""Small worlds to learn in: clouds of points, a memory of them, and a model whose embedding is the picture itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tflite

from broker.messages import Features, Float32Array, Message, Neighbours
from edge_actors.algorithms.calibration import Calibration, Statistics, measure
from edge_actors.algorithms.neighbours import Memory
from edge_actors.arrays import Floats, packed
from edge_actors.runtime.actor import Actor
from edge_actors.wiring import ROUTES

DIMENSION = 8
UINT8, INT8, FLOAT32 = tflite.TensorType.UINT8, tflite.TensorType.INT8, tflite.TensorType.FLOAT32


def clouds(labels: str, each: int, seed: int = 0, spread: float = 1.0) -> tuple[Floats, list[str]]:
    """`each` points around a centre of its own for every letter, in the order abcabc..."""
    chance = np.random.default_rng(seed)
    names = list(labels) * each
    noise = chance.normal(0, spread, (len(names), DIMENSION))
    return (np.array([centre(name) for name in names]) + noise).astype(np.float32), names


def centre(label: str) -> Floats:
    """Where the cloud of a letter lies; any two are about 20 apart."""
    return np.random.default_rng(ord(label)).normal(0, 5, DIMENSION).astype(np.float32)


def memory(labels: str = "abc", each: int = 12, capacity: int = 200, k: int = 5) -> Memory:
    values, names = clouds(labels, each, seed=1)
    return Memory(values, names, capacity, k)


def calibration(labels: str = "abc", each: int = 40) -> Calibration:
    values, names = clouds(labels, each, seed=2)
    residuals = np.random.default_rng(3).normal(1.0, 0.2, len(names)).astype(np.float32)
    return Calibration(values, residuals, tuple(names))


def statistics() -> Statistics:
    return measure(memory(), calibration())


def features(values: Floats, number: int = 0, residual: float = 1.0) -> Features:
    return Features(at=number / 20, frame=f"b-{number}", values=packed(values), residual=residual)


def neighbours(number: int, residual: float, label: str = "a", moved: bool = True) -> Neighbours:
    """A frame whose score is its residual where `plain_scores` judge; `moved` makes it a scene of its own."""
    values = np.full(DIMENSION, 100.0 * (1 + number % 5) if moved else 0.0, np.float32)
    return Neighbours(
        at=number / 20,
        frame=f"b-{number}",
        label=label,
        confidence=1.0,
        distances=Float32Array.of([1.0] * 5),
        labels=(label,) * 5,
        values=packed(values),
        residual=residual,
    )


def deliver(message: Message, **actors: Actor[Any, Any]) -> list[Message]:
    """Everything that a message leads to among these actors of the device, in the device's order."""
    waiting, told = deque([message]), []
    while waiting:
        one = waiting.popleft()
        told.append(one)
        for name in ROUTES.get(type(one), ()):
            if name in actors:
                waiting.extend(actors[name].receive(one))
    return told[1:]


def kinds(messages: Iterable[Message]) -> list[str]:
    return [type(message).__name__ for message in messages]


def tiny_model(
    picture: tuple[int, ...] = (1, 4, 4, 1),
    vector: tuple[int, ...] = (1, 16),
    kind: int = UINT8,
    outputs: int = 1,
    scale: float = 1.0,
    zero: int = 0,
) -> bytes:
    """A real TFLite file of 440 bytes: it gives the pixels of its picture in another shape."""
    operation = tflite.OperatorCodeT()
    operation.builtinCode = operation.deprecatedBuiltinCode = tflite.BuiltinOperator.RESHAPE
    graph = tflite.SubGraphT()
    graph.tensors = [_tensor("picture", picture, kind, scale, zero)]
    graph.operators = []
    for number in range(1, outputs + 1):
        graph.tensors.append(_tensor(f"vector{number}", vector, kind, scale, zero))
        graph.operators.append(_reshape(number, vector))
    graph.inputs, graph.outputs = [0], list(range(1, outputs + 1))
    model = tflite.ModelT()
    model.version, model.buffers, model.subgraphs, model.operatorCodes = 3, [tflite.BufferT()], [graph], [operation]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(name: str, shape: tuple[int, ...], kind: int, scale: float, zero: int) -> tflite.TensorT:
    tensor = tflite.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, 0
    tensor.quantization = tflite.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero]
    return tensor


def _reshape(output: int, shape: tuple[int, ...]) -> tflite.OperatorT:
    step = tflite.OperatorT()
    step.opcodeIndex, step.inputs, step.outputs = 0, [0], [output]
    step.builtinOptionsType, step.builtinOptions = tflite.BuiltinOptions.ReshapeOptions, tflite.ReshapeOptionsT()
    step.builtinOptions.newShape = list(shape)
    return step
