"""The window of records on their way: bounded, and what is not confirmed in time is sent again."""

from __future__ import annotations

from broker.topics import Rank
from edge_actors.in_flight import InFlight
from edge_actors.ports.record import Record

BOOT = "0badcafe-000001"


def record(seq: int, size: int = 100, boot: str = BOOT) -> Record:
    return Record(boot, seq, Rank.VITAL, "drift", b"x" * size)


def test_says_how_much_may_still_be_sent() -> None:
    window = InFlight(records=5, max_bytes=1000)
    for seq in (1, 2, 3):
        window.sent(record(seq), now=0.0)
    assert window.free == (2, 700)
    window.confirmed(BOOT, [(2, 3), (9, 9)])
    assert window.free == (4, 900)
    assert (BOOT, 1) in window
    assert (BOOT, 2) not in window


def test_confirmations_of_another_boot_free_nothing() -> None:
    window = InFlight()
    window.sent(record(1), now=0.0)
    window.confirmed("0badcafe-000002", [(1, 1)])
    assert len(window) == 1


def test_waits_longer_each_time_nothing_is_confirmed_and_starts_anew_with_a_confirmation() -> None:
    window = InFlight(first_s=10.0, longest_s=120.0)
    now, waits = 0.0, []
    for _ in range(6):
        window.sent(record(1), now)
        waited = 0.0
        while not window.expire(now + waited):
            waited += 1.0
        waits.append(waited)
        now += waited
    assert waits == [10.0, 20.0, 40.0, 80.0, 120.0, 120.0]
    window.confirmed(BOOT, [(7, 7)])
    assert window.timeout_s == 10.0


def test_knows_what_it_sends_again() -> None:
    window = InFlight(first_s=10.0)
    assert not window.sent(record(1), now=0.0)
    assert not window.sent(record(2), now=5.0)
    assert window.expire(now=10.0) == 1
    assert window.sent(record(1), now=10.0)
    window.forget()
    assert window.free == InFlight().free
    assert window.sent(record(2), now=11.0)
    window.confirmed(BOOT, [(1, 2)])
    assert not window.sent(record(2), now=12.0)


def test_leaves_alone_what_cannot_be_sent_until_everything_is_forgotten() -> None:
    window = InFlight()
    window.park(record(4))
    assert (BOOT, 4) in window
    assert (len(window), window.parked) == (0, 1)
    window.forget()
    assert (BOOT, 4) not in window
