"""Sees a frame; says what the model makes of it. Takes what a model elsewhere made of one as well."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from broker.messages import Embedded, Features, Frame

from .algorithms.projection import Projection
from .arrays import Floats, floats, packed
from .errors import EmbeddingError, FrameSizeError, NoExtractorError
from .ports.interpreter import Interpreter
from .runtime.actor import Actor

Inbox = Frame | Embedded
Outbox = Features


class Extractor(Actor[Inbox, Outbox]):
    """One model call a frame, none where features come in; a bundle without a model takes only those.

    Raises FrameSizeError for a frame that the model does not take, EmbeddingError for features that are not finite
    numbers of the right count, NoExtractorError for a frame where there is no model.
    """

    def __init__(self, interpreter: Interpreter | None, projection: Projection) -> None:
        self.interpreter, self.projection = interpreter, projection

    def receive(self, message: Inbox) -> Iterator[Outbox]:
        embedding = self._embed(message) if isinstance(message, Frame) else floats(message.values)
        if embedding.size != self.projection.embedding:
            raise EmbeddingError(f"{embedding.size} features came, the bundle takes {self.projection.embedding}")
        if not np.isfinite(embedding).all():
            raise EmbeddingError("the features hold something that is no finite number")
        values, residual = self.projection.project(embedding)
        yield Features(at=message.at, frame=message.frame, values=packed(values), residual=residual)

    def _embed(self, frame: Frame) -> Floats:
        if self.interpreter is None:
            raise NoExtractorError
        shape = (frame.height, frame.width, frame.channels)
        if shape != self.interpreter.input_shape or len(frame.pixels) != shape[0] * shape[1] * shape[2]:
            raise FrameSizeError(shape, len(frame.pixels), self.interpreter.input_shape)
        return self.interpreter.embed(np.frombuffer(frame.pixels, np.uint8).reshape(shape))
