"""A device whose routes and mail do not fit does not start, and says everything that is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Never

import pytest

from broker.messages import DeadLetter, Features, Frame, LogRecord, Message, Neighbours, SnapshotRequested, Tick
from edge_actors.errors import WiringError
from edge_actors.runtime.actor import Actor
from edge_actors.runtime.wiring_check import check


class Extractor(Actor[Frame, Features]):
    def receive(self, message: Frame) -> Iterator[Features]:
        yield Features(at=message.at)


class Keeper(Actor[Features | Tick, SnapshotRequested]):
    def receive(self, message: Features | Tick) -> Iterator[SnapshotRequested]:
        yield SnapshotRequested(at=message.at)


class Uplink(Actor[DeadLetter | LogRecord, Never]):
    def receive(self, message: DeadLetter | LogRecord) -> tuple[()]:
        return ()


class Nameless(Actor):  # type: ignore[type-arg]
    pass


DOORS = (Frame, Tick)
ACTORS: dict[str, type[Actor[Any, Any]]] = {"extractor": Extractor, "keeper": Keeper, "uplink": Uplink}
ROUTES: dict[type[Message], tuple[str, ...]] = {
    Frame: ("extractor",),
    Tick: ("keeper",),
    Features: ("keeper",),
    SnapshotRequested: (),
    DeadLetter: ("uplink",),
    LogRecord: ("uplink",),
}


def problems(
    routes: dict[type[Message], tuple[str, ...]] | None = None,
    without: type[Message] | None = None,
    actors: dict[str, type[Actor[Any, Any]]] | None = None,
    doors: tuple[type[Message], ...] = DOORS,
) -> tuple[str, ...]:
    routes = {kind: names for kind, names in (ROUTES | (routes or {})).items() if kind is not without}
    with pytest.raises(WiringError) as raised:
        check(doors, ACTORS | (actors or {}), routes)
    assert str(raised.value) == "the wiring does not hold: " + "; ".join(raised.value.problems)
    return raised.value.problems


def test_accepts_what_fits() -> None:
    check(DOORS, ACTORS, ROUTES)


def test_a_route_to_an_actor_that_is_not_there() -> None:
    assert problems({Frame: ("extractor", "thumbnail")}) == (
        "Frame is routed to thumbnail, and there is no such actor",
    )


def test_a_route_to_an_actor_that_does_not_hear_it() -> None:
    assert problems({Frame: ("extractor", "uplink")}) == ("Frame is routed to uplink, whose Inbox does not name it",)


def test_a_route_that_delivers_twice() -> None:
    assert problems({Frame: ("extractor", "extractor")}) == ("Frame is routed to extractor more than once",)


def test_a_message_that_is_yielded_but_not_routed() -> None:
    assert problems(without=SnapshotRequested) == ("keeper yields SnapshotRequested, which is not routed",)


def test_a_door_that_leads_nowhere() -> None:
    assert problems(doors=(*DOORS, Neighbours)) == ("Neighbours comes in through a door and is not routed",)


def test_a_route_to_nobody() -> None:
    assert problems({Neighbours: ()}, doors=(*DOORS, Neighbours)) == ("Neighbours is routed to nobody",)


def test_a_route_of_what_nobody_sends() -> None:
    assert problems(doors=(Frame,)) == ("Tick is routed, but no door and no actor ever sends it",)


def test_an_inbox_that_waits_for_what_is_routed_past_it() -> None:
    assert problems({Features: ()}) == (
        "Features is routed to nobody",
        "the Inbox of keeper names Features, which is not routed to it",
    )


def test_reports_of_the_runtime_that_nobody_hears() -> None:
    assert problems(without=DeadLetter) == (
        "DeadLetter, which the runtime sends, is not routed",
        "the Inbox of uplink names DeadLetter, which is not routed to it",
    )


def test_an_actor_that_does_not_say_its_mail() -> None:
    with pytest.raises(TypeError, match=r"Nameless does not say Actor\[Inbox, Outbox\]"):
        Nameless.mail()


def test_mail_is_read_from_the_types() -> None:
    assert Keeper.mail() == ({Features, Tick}, {SnapshotRequested})
    assert Uplink.mail() == ({DeadLetter, LogRecord}, set())
    assert Extractor.mail() == ({Frame}, {Features})
