"""What begins together is found whatever order it is told in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ingest.knowledge.clusters import Beginning, Cluster, clusters, match

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def began(minute: int, device: str, episode: str = "") -> Beginning:
    return Beginning(NOON + timedelta(minutes=minute), device, episode or f"{device}-{minute}")


def three(_: datetime) -> int:
    return 3


def devices(found: list[Cluster]) -> list[list[str]]:
    return [[one.device for one in cluster] for cluster in found]


def naive(given: list[Beginning], needed: int) -> set[frozenset[Beginning]]:
    """The definition, word for word."""
    windows = [frozenset(b for b in given if a.at <= b.at <= a.at + HOUR) for a in given]
    groups: list[set[Beginning]] = []
    for window in windows:
        if len({b.device for b in window}) < needed:
            continue
        touching = [group for group in groups if group & window]
        groups = [group for group in groups if not group & window]
        groups.append(set(window).union(*touching))
    return {frozenset(group) for group in groups}


beginnings = st.lists(st.builds(began, st.integers(0, 400), st.sampled_from("abcdef")), max_size=24)


def test_one_device_alone_is_no_cluster() -> None:
    assert clusters([began(minute, "a") for minute in range(20)], HOUR, three) == []


def test_three_within_an_hour_are_one_and_grow_while_others_join() -> None:
    given_ = [began(0, "a"), began(30, "b"), began(60, "c"), began(85, "d"), began(200, "e")]
    assert devices(clusters(given_, HOUR, three)) == [["a", "b", "c", "d"]]


def test_two_that_do_not_touch_are_two() -> None:
    given_ = [began(m, d) for m in (0, 300) for d in "abc"]
    assert devices(clusters(given_, HOUR, three)) == [["a", "b", "c"], ["a", "b", "c"]]


def test_how_many_are_needed_follows_the_time() -> None:
    given_ = [began(m, d) for m in (0, 300) for d in "abc"]
    assert len(clusters(given_, HOUR, lambda at: 3 if at < NOON + HOUR else 4)) == 1


@given(beginnings.flatmap(lambda told: st.tuples(st.just(told), st.permutations(told))), st.integers(1, 5))
def test_the_order_of_arrival_does_not_matter_and_twice_is_once(
    told: tuple[list[Beginning], list[Beginning]], needed: int
) -> None:
    first, again = told
    assert clusters(first, HOUR, lambda _: needed) == clusters([*again, *again], HOUR, lambda _: needed)


@given(beginnings, st.integers(1, 5))
def test_finds_what_the_definition_says(told: list[Beginning], needed: int) -> None:
    found = clusters(told, HOUR, lambda _: needed)
    assert {frozenset(cluster) for cluster in found} == naive(told, needed)


@given(beginnings, beginnings)
def test_more_beginnings_never_take_a_member_away(some: list[Beginning], more: list[Beginning]) -> None:
    before = {one for cluster in clusters(some, HOUR, three) for one in cluster}
    after = {one for cluster in clusters([*some, *more], HOUR, three) for one in cluster}
    assert before <= after


# ---- which incident is which ------------------------------------------------------------------------------------


def test_an_incident_that_grew_stays_the_same_one() -> None:
    (found,) = clusters([began(0, "a"), began(1, "b"), began(2, "c")], HOUR, three)
    plan = match([found], [("old", frozenset({("a", "a-0"), ("b", "b-1")}))])
    assert (plan.kept, plan.merged, plan.dissolved) == ({0: "old"}, {}, [])


def test_of_two_that_became_one_the_older_stays() -> None:
    (found,) = clusters([began(0, "a"), began(1, "b"), began(2, "c")], HOUR, three)
    known = [("old", frozenset({("a", "a-0")})), ("new", frozenset({("b", "b-1"), ("c", "c-2")}))]
    plan = match([found], known)
    assert (plan.kept, plan.merged) == ({0: "old"}, {"new": "old"})


def test_one_that_came_apart_stays_where_most_of_it_is() -> None:
    found = clusters([began(m, d) for m in (0, 300) for d in ("a", "b", "c", "d")[: 3 + m // 300]], HOUR, three)
    known = [("old", frozenset(one.name for cluster in found for one in cluster))]
    assert match(found, known).kept == {1: "old"}


def test_one_whose_episodes_lie_elsewhere_now_is_dissolved() -> None:
    assert match([], [("old", frozenset({("a", "a-0")}))]).dissolved == ["old"]
