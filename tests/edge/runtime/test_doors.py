"""Every door has a size and says what gives way; what is turned away is counted."""

from __future__ import annotations

import signal
import threading
from collections import Counter

import pytest

from broker.messages import Frame, LabelAssigned, Message, Tick
from edge_actors.runtime.door import Door, Doors
from tests.support import wait_until


def doors() -> Doors:
    return Doors(
        {Tick: Door(room=2, drop_oldest=True), LabelAssigned: Door(room=2), Frame: Door(1, drop_oldest=True)}
    )


def label(number: int) -> LabelAssigned:
    return LabelAssigned(sample=f"s-{number}")


def taken(doors: Doors) -> list[Message]:
    messages = []
    while (message := doors.take(0.0)) is not None:
        messages.append(message)
    return messages


def test_the_newest_wins_where_the_oldest_is_dropped() -> None:
    open_doors = doors()
    assert all(open_doors.post(Frame(frame=f"f-{number}")) for number in range(5))
    assert taken(open_doors) == [Frame(frame="f-4")]
    assert open_doors.turned_away() == {"Tick": 0, "LabelAssigned": 0, "Frame": 4}


def test_a_full_door_refuses_so_that_the_sender_keeps_it() -> None:
    open_doors = doors()
    assert [open_doors.post(label(number)) for number in range(3)] == [True, True, False]
    assert open_doors.take(0.0) == label(0)
    assert open_doors.post(label(3))
    assert taken(open_doors) == [label(1), label(3)]
    assert open_doors.turned_away()["LabelAssigned"] == 1


def test_the_first_door_of_the_table_is_served_first() -> None:
    open_doors = doors()
    for message in (Frame(frame="f"), label(1), Tick(at=1.0), label(2), Tick(at=2.0)):
        open_doors.post(message)
    assert taken(open_doors) == [Tick(at=1.0), Tick(at=2.0), label(1), label(2), Frame(frame="f")]


def test_closed_doors_refuse_but_give_out_what_waits() -> None:
    open_doors = doors()
    open_doors.post(label(1))
    open_doors.close()
    assert open_doors.closed
    assert not open_doors.post(label(2))
    assert not open_doors.post(Frame())
    assert open_doors.take() == label(1)
    assert open_doors.take() is None
    assert open_doors.turned_away() == {"Tick": 0, "LabelAssigned": 1, "Frame": 1}


def test_a_message_without_a_door_is_a_mistake_of_the_sender() -> None:
    with pytest.raises(KeyError):
        doors().post(Message())


def test_taking_waits_for_what_comes_from_another_thread_and_for_the_close() -> None:
    open_doors = doors()
    got: list[Message | None] = []
    taker = threading.Thread(target=lambda: got.extend((open_doors.take(), open_doors.take())))
    taker.start()
    open_doors.post(label(1))
    wait_until(lambda: got or not taker.is_alive() or not open_doors._waiting[LabelAssigned])
    open_doors.close()
    taker.join(10.0)
    assert got == [label(1), None]


def test_the_rim_can_wait_until_its_message_was_taken() -> None:
    open_doors = doors()
    assert open_doors.wait_until_taken(Frame, 0.0)
    open_doors.post(Frame())
    assert not open_doors.wait_until_taken(Frame, 0.0)
    taker = threading.Timer(0.01, open_doors.take)
    taker.start()
    assert open_doors.wait_until_taken(Frame, 10.0)
    taker.join()
    open_doors.post(Frame())
    open_doors.close()
    assert not open_doors.wait_until_taken(Frame, 10.0)


def test_many_threads_lose_nothing_that_was_accepted() -> None:
    open_doors = doors()
    accepted: Counter[str] = Counter()
    got: Counter[str] = Counter()

    def post(thread: int) -> None:
        mine = [LabelAssigned(sample=f"s-{thread}-{number}") for number in range(300)]
        for message in mine:
            if open_doors.post(message):
                accepted_by[thread][message.sample] += 1

    def take() -> None:
        while (message := open_doors.take()) is not None:
            assert isinstance(message, LabelAssigned)
            got[message.sample] += 1

    accepted_by: list[Counter[str]] = [Counter() for _ in range(4)]
    taker = threading.Thread(target=take)
    posters = [threading.Thread(target=post, args=(thread,)) for thread in range(4)]
    for thread in (taker, *posters):
        thread.start()
    for thread in posters:
        thread.join(30.0)
    open_doors.close()
    taker.join(30.0)
    for counted in accepted_by:
        accepted.update(counted)
    assert got == accepted
    assert sum(got.values()) + open_doors.turned_away()["LabelAssigned"] == 1200


def test_a_signal_handler_may_close_the_doors_its_own_thread_waits_at() -> None:
    open_doors = doors()
    before = signal.signal(signal.SIGALRM, lambda *_: open_doors.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        assert open_doors.take(30.0) is None
    finally:
        signal.signal(signal.SIGALRM, before)
    assert open_doors.closed
    with open_doors._changed:  # as if the signal had come in the middle of a call
        open_doors.close()
