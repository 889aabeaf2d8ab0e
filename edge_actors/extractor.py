"""Sees a frame; says what the model makes of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from broker.messages import Features, Frame

from .algorithms.projection import Projection
from .arrays import packed
from .errors import FrameSizeError
from .ports.interpreter import Interpreter
from .runtime.actor import Actor

Inbox = Frame
Outbox = Features


class Extractor(Actor[Inbox, Outbox]):
    """One model call a frame. Raises FrameSizeError for a frame that the model does not take."""

    def __init__(self, interpreter: Interpreter, projection: Projection) -> None:
        self.interpreter, self.projection = interpreter, projection

    def receive(self, message: Inbox) -> Iterator[Outbox]:
        shape = (message.height, message.width, message.channels)
        if shape != self.interpreter.input_shape or len(message.pixels) != shape[0] * shape[1] * shape[2]:
            raise FrameSizeError(shape, len(message.pixels), self.interpreter.input_shape)
        pixels = np.frombuffer(message.pixels, np.uint8).reshape(shape)
        values, residual = self.projection.project(self.interpreter.embed(pixels))
        yield Features(at=message.at, frame=message.frame, values=packed(values), residual=residual)
