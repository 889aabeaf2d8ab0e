"""What waits for the next transaction is bounded and stays in order."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from broker.connection import Delivery
from ingest.inbox import Arrived, Inbox


def message(number: int, size: int = 1) -> Arrived:
    return Arrived(f"t/{number}", bytes(size), Delivery(session=1, mid=number, qos=1, retain=False))


@given(sizes=st.lists(st.integers(0, 50), max_size=30), most=st.integers(1, 8), most_bytes=st.integers(1, 100))
def test_batches_hold_everything_once_in_order_and_keep_their_bounds(
    sizes: list[int], most: int, most_bytes: int
) -> None:
    inbox = Inbox(room=100, room_bytes=10_000)
    for number, size in enumerate(sizes):
        assert inbox.put(message(number, size))
    taken = []
    while batch := inbox.take(most, most_bytes, 0.0):
        assert len(batch) <= most
        assert sum(len(arrived.payload) for arrived in batch[:-1]) < most_bytes  # only the last may reach beyond
        taken += batch
    assert [arrived.delivery.mid for arrived in taken] == list(range(len(sizes)))


@given(st.lists(st.integers(0, 60), max_size=40))
def test_never_holds_more_than_its_room(sizes: list[int]) -> None:
    inbox = Inbox(room=10, room_bytes=100)
    kept = [number for number, size in enumerate(sizes) if inbox.put(message(number, size))]
    taken = inbox.take(1000, 1 << 20, 0.0)
    assert [arrived.delivery.mid for arrived in taken] == kept
    assert len(taken) <= 10
    assert sum(len(arrived.payload) for arrived in taken) <= 100


def test_has_room_again_after_it_was_emptied() -> None:
    inbox = Inbox(room=1, room_bytes=10)
    assert inbox.put(message(1, 10))
    assert not inbox.put(message(2))
    inbox.take(10, 100, 0.0)
    assert inbox.put(message(3, 10))


def test_takes_what_nobody_sends_again_even_when_full() -> None:
    inbox = Inbox(room=1)
    inbox.put(message(1))
    assert inbox.put(message(2), always=True)
    assert len(inbox) == 2


def test_a_large_message_does_not_wait_for_a_smaller_batch() -> None:
    inbox = Inbox()
    inbox.put(message(1, 500))
    assert len(inbox.take(10, 1, 0.0)) == 1


def test_wakes_who_waits_for_the_first_message() -> None:
    inbox, taken = Inbox(), []
    waiting = threading.Thread(target=lambda: taken.extend(inbox.take(10, 100, 10.0)))
    waiting.start()
    inbox.put(message(1))
    waiting.join(10)
    assert taken == [message(1)]


def test_waits_no_longer_than_it_was_told() -> None:
    assert Inbox().take(10, 100, 0.0) == []
