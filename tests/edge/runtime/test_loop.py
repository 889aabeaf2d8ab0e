"""One message is let in and delivered with all it leads to before the next; every hop is CBOR."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Never

import pytest

from broker.messages import (
    DeadLetter,
    Features,
    Frame,
    LabelAssigned,
    LogRecord,
    Message,
    Neighbours,
    Predictions,
    Scored,
    Tick,
    Vitals,
)
from edge_actors.errors import RunawayError
from edge_actors.runtime.actor import Actor
from edge_actors.runtime.door import Door
from edge_actors.runtime.seat import Factory
from tests.edge.runtime.scripted import BOOT, Rig, device_of, frame

Heard = list[tuple[str, Message]]


class Splitter(Actor[Frame, Features | Neighbours]):
    def __init__(self, heard: Heard) -> None:
        self.heard = heard

    def receive(self, message: Frame) -> Iterator[Features | Neighbours]:
        self.heard.append(("splitter", message))
        yield Features(at=message.at, frame="first")
        yield Neighbours(at=message.at, frame="second")


class Scorer(Actor[Features | Neighbours, Scored]):
    def __init__(self, heard: Heard) -> None:
        self.heard = heard

    def receive(self, message: Features | Neighbours) -> Iterator[Scored]:
        self.heard.append(("scorer", message))
        yield Scored(at=message.at, frame=message.frame)


class Listener(Actor[Frame | Neighbours | Scored | LogRecord | DeadLetter, Never]):
    def __init__(self, heard: Heard) -> None:
        self.heard = heard

    def receive(self, message: Frame | Neighbours | Scored | LogRecord | DeadLetter) -> tuple[()]:
        self.heard.append(("listener", message))
        return ()


ROUTES: dict[type[Message], tuple[str, ...]] = {
    Frame: ("listener", "splitter"),
    Features: ("scorer",),
    Neighbours: ("scorer", "listener"),
    Scored: ("listener",),
    LogRecord: ("listener",),
    DeadLetter: ("listener",),
}


def heard_of(message: Frame) -> Heard:
    heard: Heard = []
    actors: dict[str, Factory] = {
        "splitter": lambda: Splitter(heard),
        "scorer": lambda: Scorer(heard),
        "listener": lambda: Listener(heard),
    }
    device_of(actors, ROUTES, {Frame: Door(room=1, tells_time=True)}).admit(message)
    return heard


def test_delivers_what_a_message_leads_to_first_in_first_out_in_the_order_of_the_routes() -> None:
    heard = [(name, type(message).__name__, getattr(message, "frame", "")) for name, message in heard_of(frame("f"))]
    assert heard == [
        ("listener", "Frame", "f"),
        ("splitter", "Frame", "f"),
        ("scorer", "Features", "first"),
        ("scorer", "Neighbours", "second"),
        ("listener", "Neighbours", "second"),
        ("listener", "Scored", "first"),
        ("listener", "Scored", "second"),
    ]


def test_receivers_share_one_decoded_message_and_nobody_shares_memory_with_the_sender() -> None:
    posted = frame("f", size=300)
    (_, first), (_, second), *rest = heard_of(posted)
    assert first is second
    assert first == posted
    assert first is not posted
    assert isinstance(first, Frame)
    assert first.pixels is not posted.pixels
    shared = [message for _, message in rest if isinstance(message, Neighbours)]
    assert shared[0] is shared[1]


class Echo(Actor[Frame | LogRecord | DeadLetter, LogRecord]):
    def receive(self, message: Frame | LogRecord | DeadLetter) -> Iterator[LogRecord]:
        yield LogRecord(at=message.at)


def test_actors_that_answer_each_other_for_ever_end_the_process_with_a_reason() -> None:
    routes = {Frame: ("echo",), LogRecord: ("echo",), DeadLetter: ("echo",)}
    device = device_of({"echo": Echo}, routes, {Frame: Door(room=1)})
    with pytest.raises(RunawayError, match="one Frame led to more than 10000 messages") as raised:
        device.admit(frame())
    assert raised.value.kind == "Frame"


def test_message_time_never_goes_back() -> None:
    rig = Rig()
    rig.admit(Tick(at=10.0), frame("late", at=9.5), frame("next", at=10.25))
    assert [said.at for said in rig.sent.of(Predictions)] == [10.0, 10.25]
    assert rig.device.now == 10.25


def test_what_comes_from_outside_gets_the_present_time_whatever_it_says() -> None:
    rig = Rig()
    rig.admit(Tick(at=10.0), LabelAssigned(at=1e12, sample="s", label="cat"), LabelAssigned(sample="t", label="dog"))
    assert [said.at for said in rig.sent.of(LogRecord)] == [10.0, 10.0]
    assert rig.device.now == 10.0


def test_what_the_rim_gets_wrong_becomes_a_dead_letter_and_moves_no_time() -> None:
    rig = Rig()
    rig.admit(Tick(at=10.0), Vitals(at=11.0, metrics={"fps": math.inf}), frame("next", at=10.5))
    (letter,) = rig.sent.of(DeadLetter)
    assert (letter.where, letter.kind, letter.at) == ("door", "Vitals", 10.0)
    assert "a finite number expected" in letter.reason
    assert [said.at for said in rig.sent.of(Predictions)] == [10.5]


def test_runs_until_the_doors_are_closed_and_takes_what_waits_there() -> None:
    rig = Rig()
    doors = rig.device.doors
    for number in range(3):
        doors.post(Tick(at=float(number)))
    doors.post(frame("waits", at=3.0))
    runner = threading.Thread(target=rig.device.run)
    rig.device.stop()
    runner.start()
    runner.join(10.0)
    assert not runner.is_alive()
    assert [said.labels for said in rig.sent.of(Predictions)] == [("waits",)]
    assert rig.device.applied == 4


def test_leaves_a_last_snapshot_of_everything_when_it_stops() -> None:
    rig = Rig()
    rig.admit(Tick(at=5.0), frame(at=6.0), frame(at=7.0))
    rig.device.stop()
    rig.device.run()
    (last,) = rig.saved.snapshots
    assert (last.snapshot, last.at, last.boot, last.applied) == (f"{BOOT}-stop", 7.0, BOOT, 3)
    assert last.states["counter"]["seen"] == 2


def test_goes_on_from_a_snapshot() -> None:
    first, second = Rig(), Rig()
    first.admit(Tick(at=5.0), frame(at=6.0), frame(at=7.0))
    first.device.stop()
    first.device.run()
    second.device.start_from(first.saved.snapshots[0])
    second.admit(frame(at=1.0), frame(at=8.0))
    assert (second.device.now, second.device.applied) == (8.0, 5)
    assert [said.at for said in second.sent.of(Predictions)] == [7.0, 8.0]
    assert second.sent.of(Predictions)[0].seconds == pytest.approx((1 + 2 + 3) / 7)


def test_what_another_bundle_learned_is_not_taken_over_but_time_goes_on() -> None:
    first, second = Rig(), Rig()
    first.admit(Tick(at=5.0), frame(at=6.0))
    first.device.stop()
    first.device.run()
    second.device.start_from(replace(first.saved.snapshots[0], bundle="c" * 64))
    second.admit(frame(at=1.0))
    (said,) = second.sent.of(Predictions)
    assert (said.at, said.seconds) == (6.0, 1 / 7)


def test_tells_how_long_each_actor_takes_and_a_whole_frame() -> None:
    rig = Rig()
    assert rig.device.latencies() == {}
    rig.admit(frame("one"), frame("two"))
    latencies = rig.device.latencies()
    assert {name.removesuffix("_p95_us") for name in latencies if name.endswith("_p95_us")} == {
        "counter",
        "teller",
        "sender",
        "frame",
    }
    assert 0 < latencies["counter_p50_us"] <= latencies["counter_p95_us"] < latencies["frame_p95_us"]
