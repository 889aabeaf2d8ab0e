"""Message time goes on over restarts and never jumps; ticks tie it to the wall clock."""

from __future__ import annotations

import pytest

from broker.messages import Tick
from edge_actors import clock
from edge_actors.clock import MessageClock, Ticker, clock_quality
from edge_actors.runtime.door import Door, Doors
from tests.support import wait_until


def doors() -> Doors:
    return Doors({Tick: Door(room=4, drop_oldest=True)})


def test_message_time_goes_on_from_where_the_last_run_stopped() -> None:
    monotonic = 5000.0
    time = MessageClock(86_400.0, monotonic=lambda: monotonic)
    assert time.now() == 86_400.0
    monotonic += 2.5
    assert time.now() == 86_402.5


def test_the_first_tick_waits_at_the_door_before_anything_else_starts() -> None:
    waiting = doors()
    ticker = Ticker(
        waiting, MessageClock(7.0, lambda: 0.0), lambda: "synced", interval_s=60, wall_ns=lambda: 1_234_999
    )
    ticker.start()
    assert waiting.take(0.0) == Tick(at=7.0, wall_us=1234, clock="synced")
    ticker.stop()
    assert waiting.take(0.0) == Tick(at=7.0, wall_us=1234, clock="synced", last=True)


def test_ticks_until_it_is_stopped() -> None:
    waiting = doors()
    ticker = Ticker(waiting, MessageClock(), lambda: "unsynced", interval_s=0.001)
    ticker.start()
    wait_until(lambda: waiting.turned_away()["Tick"] > 5)
    ticker.stop()
    ticks = [waiting.take(0.0) for _ in range(4)]
    assert [tick.last for tick in ticks if isinstance(tick, Tick)] == [False, False, False, True]
    assert waiting.take(0.0) is None


def test_a_time_from_before_the_clock_was_set_is_never_called_synced() -> None:
    """NTP sets the clock between any two things that a tick does."""
    wall_s, synced = 1_000, False

    def ntp_sets_the_clock() -> None:
        nonlocal wall_s, synced
        wall_s, synced = 1_790_000_000, True

    def quality() -> str:
        said = "synced" if synced else "unsynced"
        ntp_sets_the_clock()
        return said

    def wall_ns() -> int:
        read = wall_s * 10**9
        ntp_sets_the_clock()
        return read

    tick = Ticker(doors(), MessageClock(), quality, wall_ns=wall_ns).tick()
    assert (tick.wall_us, tick.clock) == (1_790_000_000_000_000, "unsynced")


@pytest.mark.parametrize("setting", ["synced", "unsynced"])
def test_the_clock_is_as_good_as_it_is_set_to_be(setting: str) -> None:
    assert clock_quality(setting)() == setting


def test_the_clock_is_synced_when_systemd_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    assert clock_quality()() in ("synced", "unsynced")
    monkeypatch.setattr(clock, "SYNCED_BY_SYSTEMD", str(tmp_path))
    assert clock_quality()() == "synced"
