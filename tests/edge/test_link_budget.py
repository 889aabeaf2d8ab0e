"""A metered link carries what people allow in an hour; what is over it waits, and what is vital does not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import SettingsError
from broker.messages import Tick
from broker.topics import Rank
from edge_actors.link_budget import LinkBudget, QuietHours, budgets
from edge_actors.settings import EdgeSettings

NOON = Tick(wall_us=int(datetime(2026, 11, 23, 12, 0, tzinfo=UTC).timestamp() * 1e6), clock="synced")


class Link:
    """A budget and the time it goes by; sends what is admitted."""

    def __init__(self, text: str) -> None:
        self.now = 0.0
        self.budget = LinkBudget(budgets(text), monotonic=lambda: self.now)

    def send(self, rank: Rank, size: int) -> bool:
        if rank not in self.budget.open(NOON) or not self.budget.admits(rank, size):
            return False
        self.budget.sent(rank, size)
        return True


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Rank)), st.integers(1, 3_000), st.floats(0, 900)), min_size=1, max_size=150
    )
)
def test_no_hour_carries_more_than_its_budget(wanted: list[tuple[Rank, int, float]]) -> None:
    link = Link("10,telemetry=4")
    went: list[tuple[float, Rank, int]] = []
    for rank, size, pause in wanted:
        link.now += pause
        if link.send(rank, size):
            went.append((link.now, rank, size))
    for start, _, _ in went:
        hour = [(rank, size) for at, rank, size in went if start <= at < start + 3600]
        assert sum(size for rank, size in hour if rank == Rank.TELEMETRY) <= 4_000
        if Rank.VITAL not in {rank for rank, _ in hour}:
            assert sum(size for _, size in hour) <= 10_000


def test_vital_bytes_count_for_the_others_and_wait_only_where_they_are_named() -> None:
    link = Link("10")
    assert all(link.send(Rank.VITAL, 6_000) for _ in range(5))
    assert not link.send(Rank.PREDICTION, 10)
    named = Link("10,vital=1")
    assert named.send(Rank.VITAL, 900)
    assert not named.send(Rank.VITAL, 200)
    assert named.send(Rank.PREDICTION, 200)


def test_a_rank_that_waits_lets_none_of_its_own_pass_and_does_not_hold_up_the_others() -> None:
    link = Link("picture=10")
    assert link.send(Rank.PICTURE, 8_000)
    assert not link.send(Rank.PICTURE, 5_000)
    assert not link.send(Rank.PICTURE, 1), "the older one comes first"
    assert link.send(Rank.TELEMETRY, 5_000)
    assert link.budget.holding
    link.now = 3_700.0
    assert link.send(Rank.PICTURE, 5_000)
    assert not link.budget.holding
    assert link.budget.waits == 1


def test_a_record_larger_than_its_budget_goes_when_nothing_of_its_rank_went_for_an_hour() -> None:
    link = Link("picture=10")
    assert link.send(Rank.PICTURE, 50_000)
    assert not link.send(Rank.PICTURE, 50_000)
    link.now = 3_700.0
    assert link.send(Rank.PICTURE, 50_000)


def test_tells_what_went_only_where_something_is_budgeted() -> None:
    assert LinkBudget().metrics() == {}
    link = Link("500")
    link.send(Rank.TELEMETRY, 2_000)
    link.send(Rank.VITAL, 500)
    told = link.budget.metrics()
    assert (told["link_hour_kb"], told["link_hour_telemetry_kb"], told["link_hour_vital_kb"]) == (2.5, 2.0, 0.5)


# ---- quiet hours -----------------------------------------------------------------------------------------------


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's local time is that of Berlin, an hour ahead of UTC in winter and two in summer."""
    if not Path("/usr/share/zoneinfo/Europe/Berlin").exists():
        monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    else:
        monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    os.environ.pop("TZ", None)
    time.tzset()


def at(text: str, clock: str = "synced") -> Tick:
    return Tick(wall_us=int(datetime.fromisoformat(text).timestamp() * 1e6), clock=clock)


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("hours", "moment", "quiet"),
    [
        ("22:00-06:00", "2026-11-23T20:59:59Z", False),
        ("22:00-06:00", "2026-11-23T21:00:00Z", True),
        ("22:00-06:00", "2026-11-24T04:59:59Z", True),
        ("22:00-06:00", "2026-11-24T05:00:00Z", False),
        ("22:00-06:00", "2026-07-01T20:00:00Z", True),
        ("22:00-06:00 UTC", "2026-11-23T21:30:00Z", False),
        ("22:00-06:00 utc", "2026-11-23T22:00:00Z", True),
        ("12:00-13:30 local", "2026-11-23T12:29:00Z", True),
        ("12:00-13:30", "2026-11-23T12:30:00Z", False),
    ],
)
def test_it_is_quiet_by_local_time_unless_utc_is_said(hours: str, moment: str, quiet: bool) -> None:
    made = QuietHours.of(hours)
    assert made is not None
    assert made.now(at(moment.replace("Z", "+00:00"))) is quiet


def test_a_device_that_does_not_know_the_time_is_never_quiet() -> None:
    made = QuietHours.of("00:00-23:59 UTC")
    assert made is not None
    assert made.now(at("2026-11-23T12:00:00+00:00"))
    assert not made.now(at("2026-11-23T12:00:00+00:00", clock="unsynced"))


def test_quiet_hours_let_through_what_they_may() -> None:
    quiet = QuietHours.of("11:00-13:00 UTC")
    assert LinkBudget(quiet=quiet).open(NOON) == (Rank.VITAL,)
    assert LinkBudget(quiet=quiet, quiet_sends="nothing").open(NOON) == ()
    later = Tick(wall_us=NOON.wall_us + int(timedelta(hours=2).total_seconds() * 1e6), clock="synced")
    assert LinkBudget(quiet=quiet, quiet_sends="nothing").open(later) == tuple(Rank)


# ---- settings --------------------------------------------------------------------------------------------------


def test_budgets_are_read_by_rank_and_for_all() -> None:
    assert budgets("") == {}
    assert budgets(" 500, picture=300 ,Telemetry = 0.5") == {"all": 500_000, "picture": 300_000, "telemetry": 500}


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("link_kb_per_hour", "pictures=3", "names 'pictures'; it can name all, prediction"),
        ("link_kb_per_hour", "picture=many", "which is no number of KB"),
        ("link_kb_per_hour", "nan", "which is no number of KB"),
        ("link_kb_per_hour", "inf", "which is no number of KB"),
        ("link_kb_per_hour", "-3", "has to be more than 0"),
        ("quiet_hours", "22-6h", "it has to be like 22:00-06:00"),
        ("quiet_hours", "22:00-22:00", "it has to be like"),
        ("quiet_hours", "22:00-25:00", "it has to be like"),
        ("quiet_hours", "22:00-06:00 CET", "it has to be like"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_sentence(name: str, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        EdgeSettings(bundle=Path("b"), device="d", camera="-", **{name: text})  # type: ignore[arg-type]
