"""What an actor is: something that receives a message and yields messages."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from broker.messages import Message

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)


class Actor(Generic[In, Out]):
    """Base of all actors. State is a plain tree that `broker.codec.pack` can write.

    It holds all that decides what the actor yields next: a recording is played from any state to the same bytes.
    """

    def receive(self, message: In) -> Iterable[Out]:
        """Handles one message and yields what it leads to."""
        raise TypeError(f"{type(self).__name__} does not receive")

    def state(self) -> dict[str, Any]:
        """All that decides what comes next; the runtime copies it at once."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a state that `state` returned, possibly in an earlier version of this code."""

    def restarted(self) -> None:
        """Lets go of what belonged to the last process; called after `restore` when the device starts from disk."""

    @classmethod
    def mail(cls) -> tuple[frozenset[type[Message]], frozenset[type[Message]]]:
        """The kinds this actor receives and the kinds it yields, read from `Actor[Inbox, Outbox]`."""
        for base in getattr(cls, "__orig_bases__", ()):
            if typing.get_origin(base) is Actor:
                inbox, outbox = typing.get_args(base)
                return _kinds(inbox), _kinds(outbox)
        raise TypeError(f"{cls.__name__} does not say Actor[Inbox, Outbox]")


def _kinds(mail: Any) -> frozenset[type[Message]]:
    if mail is typing.Never or mail is None or mail is types.NoneType:
        return frozenset()
    return frozenset(typing.get_args(mail) or (mail,))
