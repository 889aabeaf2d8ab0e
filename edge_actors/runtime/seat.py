"""An actor's place in the device: the living actor, how to make another, and its last good state."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from broker import codec
from broker.messages import Message

from ..errors import UndeclaredMessageError
from .actor import Actor
from .latency import Latency
from .states import plain

MAX_HOP_BYTES = 16 << 20  # a picture of 2,300 x 2,300; what leaves the device is bounded by the codec's own limit

Factory = Callable[[], Actor[Any, Any]]


def hop(message: Message) -> Message:
    """The message as it is on the other side of CBOR. Raises EncodeError, DecodeError."""
    return codec.decode(codec.encode(message), MAX_HOP_BYTES)


class Seat:
    """Where the actor of one name sits. The steps raise whatever the actor raises; the device catches it."""

    def __init__(self, name: str, factory: Factory) -> None:
        self.name, self._factory = name, factory
        self.latency = Latency()
        self.actor = factory()
        _, self._outbox = type(self.actor).mail()
        self.good = self.state()

    def receive(self, message: Message) -> list[Message]:
        """All that the actor makes of a message, each encoded and decoded once, so that nobody shares memory."""
        started = perf_counter_ns()
        led_to = []
        for yielded in self.actor.receive(message):
            if type(yielded) not in self._outbox:
                raise UndeclaredMessageError(self.name, type(yielded).__name__)
            led_to.append(hop(yielded))
        self.latency.add(perf_counter_ns() - started)
        return led_to

    def state(self) -> dict[str, Any]:
        """A copy of the actor's state."""
        state: dict[str, Any] = plain(self.actor.state())
        return state

    def resume(self, state: dict[str, Any]) -> None:
        """Brings the actor to a state, which is its last good one from now on."""
        self.actor.restore(plain(state))
        self.good = state

    def restarted(self) -> None:
        """Tells the actor that a new process goes on from its state."""
        self.actor.restarted()
        self.good = self.state()

    def rebuild(self) -> None:
        """Puts a fresh actor in the place of one that failed, in its last good state."""
        self.actor = self._factory()
        self.actor.restore(plain(self.good))
