"""Whether doors, routes and the actors' mail fit together, found out before the first message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from broker.messages import DeadLetter, LogRecord, Message, SnapshotRequested

from ..errors import WiringError
from .actor import Actor

Kind = type[Message]
ActorClass = type[Actor[Any, Any]]

RAISED: tuple[Kind, ...] = (DeadLetter, LogRecord)  # the runtime itself sends these
ANSWERED: tuple[Kind, ...] = (SnapshotRequested,)  # and hears these


def check(doors: Iterable[Kind], actors: Mapping[str, ActorClass], routes: Mapping[Kind, Sequence[str]]) -> None:
    """Raises WiringError with a sentence for everything that does not fit."""
    problems = list(_problems(tuple(doors), actors, routes))
    if problems:
        raise WiringError(problems)


def _problems(
    doors: Sequence[Kind], actors: Mapping[str, ActorClass], routes: Mapping[Kind, Sequence[str]]
) -> Iterator[str]:
    mail = {name: actor.mail() for name, actor in actors.items()}
    for kind, names in routes.items():
        for name in sorted(set(names)):
            if name not in mail:
                yield f"{kind.__name__} is routed to {name}, and there is no such actor"
            elif kind not in mail[name][0]:
                yield f"{kind.__name__} is routed to {name}, whose Inbox does not name it"
            if names.count(name) > 1:
                yield f"{kind.__name__} is routed to {name} more than once"
        if not names and kind not in ANSWERED:
            yield f"{kind.__name__} is routed to nobody"
    yield from _unrouted(doors, mail, routes)
    sources = {*doors, *RAISED, *(kind for _, outbox in mail.values() for kind in outbox)}
    for kind in routes:
        if kind not in sources:
            yield f"{kind.__name__} is routed, but no door and no actor ever sends it"


def _unrouted(
    doors: Sequence[Kind],
    mail: Mapping[str, tuple[frozenset[Kind], frozenset[Kind]]],
    routes: Mapping[Kind, Sequence[str]],
) -> Iterator[str]:
    for kind in doors:
        if kind not in routes:
            yield f"{kind.__name__} comes in through a door and is not routed"
    for kind in RAISED:
        if kind not in routes:
            yield f"{kind.__name__}, which the runtime sends, is not routed"
    for name, (inbox, outbox) in mail.items():
        for kind in _by_name(outbox - routes.keys()):
            yield f"{name} yields {kind.__name__}, which is not routed"
        for kind in _by_name(inbox):
            if name not in routes.get(kind, ()):
                yield f"the Inbox of {name} names {kind.__name__}, which is not routed to it"


def _by_name(kinds: Iterable[Kind]) -> list[Kind]:
    return sorted(kinds, key=lambda kind: kind.__name__)
