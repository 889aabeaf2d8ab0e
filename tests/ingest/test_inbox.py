"""What waits for the next transaction is bounded and stays in order."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from ingest.inbox import Arrived, Inbox


def message(number: int, size: int = 1) -> Arrived:
    return Arrived(None, size, session=1, packet_id=number)


@given(sizes=st.lists(st.integers(0, 50), max_size=30), most=st.integers(1, 8), most_bytes=st.integers(1, 100))
def test_batches_hold_everything_once_in_order_and_keep_their_bounds(
    sizes: list[int], most: int, most_bytes: int
) -> None:
    inbox = Inbox(room=100, room_bytes=10_000)
    assert inbox.put([message(number, size) for number, size in enumerate(sizes)])
    taken = []
    while batch := inbox.take(most, most_bytes, 0.0):
        assert len(batch) <= most
        assert sum(arrived.size for arrived in batch[:-1]) < most_bytes  # only the last may reach beyond
        taken += batch
    assert [arrived.packet_id for arrived in taken] == list(range(len(sizes)))


@given(
    chunks=st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=5), max_size=40),
    takes=st.lists(st.integers(0, 8), max_size=40),
)
def test_says_when_it_is_full_and_when_there_is_room_again(chunks: list[list[int]], takes: list[int]) -> None:
    calls: list[str] = []
    inbox = Inbox(room=10, room_bytes=100, on_room=lambda: calls.append("room"))
    held = False
    for chunk, take in zip(chunks, [*takes, *[3] * len(chunks)], strict=False):
        if not held:  # who is told to wait waits: so no more than one chunk is there beyond the room
            held = not inbox.put([message(number, size) for number, size in enumerate(chunk)])
            assert held == inbox.full
            assert len(inbox) < 10 + len(chunk)
        calls.clear()
        inbox.take(take, 1 << 20, 0.0)
        if held and calls:
            assert not inbox.full
            assert len(inbox) <= 5
            held = False
    inbox.take(1000, 1 << 20, 0.0)
    assert not inbox.full, "somebody would wait for ever"


def test_has_room_again_after_it_was_emptied() -> None:
    inbox = Inbox(room=1, room_bytes=10)
    assert not inbox.put([message(1, 10)])
    assert inbox.full
    inbox.take(10, 100, 0.0)
    assert not inbox.full


def test_a_large_message_does_not_wait_for_a_smaller_batch() -> None:
    inbox = Inbox()
    inbox.put([message(1, 500)])
    assert len(inbox.take(10, 1, 0.0)) == 1


def test_wakes_who_waits_for_the_first_message() -> None:
    inbox, taken = Inbox(), []
    waiting = threading.Thread(target=lambda: taken.extend(inbox.take(10, 100, 10.0)))
    waiting.start()
    inbox.put([message(1)])
    waiting.join(10)
    assert taken == [message(1)]


def test_waits_no_longer_than_it_was_told() -> None:
    assert Inbox().take(10, 100, 0.0) == []
