"""Messages of which nothing can be made become dead letters, and no more of these than a person can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from broker import codec
from broker.messages import DeadLetter, Embedded, Frame

from .errors import EdgeError
from .runtime.supervision import MAX_PAYLOAD, reason_of, without_pixels

SHORTEST_S, LONGEST_S = 60.0, 3600.0  # between two letters about the same kind of error


class Refusals:
    """What a camera gets wrong once it gets wrong with every picture: that is neither a failure of an actor nor worth
    a letter each time.

    Of each kind of error the first message becomes a letter at once; the next after a minute, two, four, up to an
    hour, and says how many there were. After an hour without any it begins anew.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._kinds: dict[str, list[float]] = {}  # name of the error -> told last, pause, refused last, untold

    def letters(self, message: Frame | Embedded, error: EdgeError) -> Iterator[DeadLetter]:
        """The dead letter of a refused message, where one is due."""
        held = self._kinds.get(type(error).__name__)
        if held is None or message.at - held[2] > LONGEST_S:
            held = self._kinds[type(error).__name__] = [message.at, SHORTEST_S / 2, message.at, 0.0]
        elif message.at - held[0] < held[1]:
            held[2:] = message.at, held[3] + 1
            return
        untold, held[:] = held[3], [message.at, min(2 * held[1], LONGEST_S), message.at, 0.0]
        reason = reason_of(error)
        yield DeadLetter(
            at=message.at,
            where=self.where,
            kind=type(message).__name__,
            reason=f"{reason} (and {untold:,.0f} before it, since the last letter)" if untold else reason,
            payload=codec.encode(without_pixels(message))[:MAX_PAYLOAD],
        )

    def state(self) -> dict[str, Any]:
        return {name: list(held) for name, held in self._kinds.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._kinds = {name: list(held) for name, held in state.items()}
