"""Sees a frame; says what the model makes of it. Takes what a model elsewhere made of one as well."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

import numpy as np

from broker.messages import DeadLetter, Embedded, Features, Frame

from .algorithms.projection import LARGEST, Projection
from .arrays import Floats, floats, packed
from .errors import EmbeddingError, FrameSizeError, NoExtractorError
from .ports.interpreter import Interpreter
from .refusals import Refusals
from .runtime.actor import Actor

Inbox = Frame | Embedded
Outbox = Features | DeadLetter


class Extractor(Actor[Inbox, Outbox]):
    """One model call a frame, none where features come in; a bundle without a model takes only those.

    A frame that the model does not take, features that are not numbers of the right count and a sensible size, and a
    frame where there is no model are refused: they become dead letters, and leave no trace in anything.
    """

    def __init__(self, interpreter: Interpreter | None, projection: Projection) -> None:
        self.interpreter, self.projection = interpreter, projection
        self.refusals = Refusals("extractor")

    def receive(self, message: Inbox) -> Iterator[Outbox]:
        try:
            values, residual = self.projection.project(self._embedding(message))
            if not isfinite(residual) or not isfinite(values.dot(values)):
                raise EmbeddingError(
                    "the projection makes something of the features that is too large to be measured"
                )
        except (FrameSizeError, EmbeddingError, NoExtractorError) as error:
            yield from self.refusals.letters(message, error)
            return
        yield Features(at=message.at, frame=message.frame, values=packed(values), residual=residual)

    def state(self) -> dict[str, Any]:
        return {"refusals": self.refusals.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self.refusals.restore(state.get("refusals", {}))  # older versions refused by failing

    def _embedding(self, message: Inbox) -> Floats:
        """Raises FrameSizeError, EmbeddingError, NoExtractorError."""
        embedding = self._embed(message) if isinstance(message, Frame) else floats(message.values)
        if embedding.size != self.projection.embedding:
            raise EmbeddingError(f"{embedding.size} features came, the bundle takes {self.projection.embedding}")
        if not np.abs(embedding).max() <= LARGEST:  # what is no number is not smaller either
            raise EmbeddingError(f"the features hold something that is no number, or larger than {LARGEST:g}")
        return embedding

    def _embed(self, frame: Frame) -> Floats:
        if self.interpreter is None:
            raise NoExtractorError
        shape = (frame.height, frame.width, frame.channels)
        if shape != self.interpreter.input_shape or len(frame.pixels) != shape[0] * shape[1] * shape[2]:
            raise FrameSizeError(shape, len(frame.pixels), self.interpreter.input_shape)
        return self.interpreter.embed(np.frombuffer(frame.pixels, np.uint8).reshape(shape))
