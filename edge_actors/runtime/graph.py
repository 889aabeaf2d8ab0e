"""The wiring as a Mermaid flowchart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .wiring_check import ANSWERED, RAISED, ActorClass, Kind, check

RUNTIME = "runtime"


def mermaid(doors: Iterable[Kind], actors: Mapping[str, ActorClass], routes: Mapping[Kind, Sequence[str]]) -> str:
    """Doors, actors and the messages between them. Raises WiringError when they do not fit."""
    doors = tuple(doors)
    check(doors, actors, routes)
    lines = [
        "flowchart LR",
        "    subgraph rim",
        *(f"        {_door(kind)}([{kind.__name__}])" for kind in doors),
        "    end",
        *(f"    {name}[{name}]" for name in actors),
        f"    {RUNTIME}{{{{{RUNTIME}}}}}",
    ]
    lines += [f"    {_door(kind)} --> {name}" for kind in doors for name in routes[kind]]
    labels: dict[tuple[str, str], list[str]] = defaultdict(list)
    for sender, receiver, kind in _hops(actors, routes):
        labels[sender, receiver].append(kind)
    lines += [f"    {sender} -- {'<br/>'.join(kinds)} --> {receiver}" for (sender, receiver), kinds in labels.items()]
    lines += ["    classDef rim fill:#eef,stroke:#66c", f"    class {','.join(map(_door, doors))} rim"]
    return "\n".join(lines) + "\n"


def _hops(actors: Mapping[str, ActorClass], routes: Mapping[Kind, Sequence[str]]) -> Iterator[tuple[str, str, str]]:
    senders = [*((name, actor.mail()[1]) for name, actor in actors.items()), (RUNTIME, frozenset(RAISED))]
    for sender, outbox in senders:
        for kind, receivers in routes.items():  # in the order of the table, so that the drawing stays as it is
            if kind in outbox:
                for receiver in (*receivers, RUNTIME) if kind in ANSWERED else receivers:
                    yield sender, receiver, kind.__name__


def _door(kind: Kind) -> str:
    return f"door_{kind.__name__}"
