"""Who gives way in a bounded memory, what age decides, and what a memory can do without."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.messages import Float32Array, Uint8Array
from edge_actors.algorithms.condensing import MOST_LOOKED_AT
from edge_actors.algorithms.neighbours import Memory, Origin
from edge_actors.arrays import Floats

ZERO = np.zeros(1, np.float32)
PERSON, PSEUDO = Origin.PERSON, Origin.PSEUDO


def number(value: float) -> Floats:
    return np.full(1, value, np.float32)


def of(rows: list[float], labels: str, k: int = 1, capacity: int = 50, **rules: object) -> Memory:
    return Memory(np.array(rows, np.float32)[:, None], list(labels), capacity, k, **rules)


# ---- age ---------------------------------------------------------------------------------------------------------


def test_equal_votes_go_to_the_sample_of_the_earliest_time_however_late_it_was_taken_in() -> None:
    held = of([], "", k=2)
    held.add(number(1.0), "late", PERSON, "s-1", at=20.0)
    assert held.add(number(-2.0), "early", PERSON, "s-2", at=10.0)
    assert held.samples == ["s-2", "s-1"]
    assert held.vote(ZERO).label == "early"
    held.add(number(0.5), "latest", PERSON, "s-3", at=10.0)
    assert held.samples == ["s-2", "s-3", "s-1"], "of one time the first taken in is the oldest"


def test_reference_samples_are_older_than_any_other_in_their_order() -> None:
    held = of([3.0, 2.0], "ba", k=2)
    assert held.vote(ZERO).label == "b"
    held.add(number(1.0), "c", PERSON, "s-1", at=-5.0)
    assert held.labels == ["b", "a", "c"]
    assert held.vote(ZERO).label == "a", "among c and a, which are the nearest"


def test_a_state_without_times_keeps_its_order() -> None:
    """Older versions of the device wrote no times."""
    held, other = of([0.0], "a"), of([0.0], "a")
    for one in ("s-2", "s-1"):
        held.add(number(1.0), "b", PERSON, one)
    state = held.state()
    del state["times"], state["fresh"]
    other.restore(state)
    assert other.state() == {**held.state(), "fresh": 0}


# ---- quota -------------------------------------------------------------------------------------------------------


def test_a_class_that_used_up_its_quota_gives_way_to_itself() -> None:
    held = of([0.0, 1.0], "ab", quota=2)
    for at, (label, origin) in enumerate([("a", PSEUDO), ("a", PERSON), ("b", PSEUDO), ("a", PERSON)]):
        assert held.add(number(at), label, origin, f"s-{at}", at)
    assert held.samples == ["", "", "s-1", "s-2", "s-3"], "the guess goes, though there is room"
    assert not held.add(number(9), "a", PSEUDO, "s-4", 9), "a guess does not displace a person's sample"
    assert held.add(number(9), "a", PERSON, "s-5", 9)
    assert held.samples == ["", "", "s-2", "s-3", "s-5"]
    assert held.counts() == {"a": 3, "b": 2}, "the bundle's own are not counted"


def test_a_quota_holds_for_the_name_under_which_samples_vote() -> None:
    held = of([0.0], "a", quota=2)
    held.add(number(1), "novel-1", PSEUDO, "s-1")
    held.add(number(2), "novel-2", PSEUDO, "s-2")
    held.add(number(3), "novel-2", PSEUDO, "s-3")
    held.rename({"novel-1": "pear", "novel-2": "pear"})
    assert held.counts()["pear"] == 3
    assert held.add(number(4), "pear", PERSON, "s-4")
    assert held.samples[1:] == ["s-3", "s-4"], "naming made it too many; the next one puts that in order"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([PERSON, PSEUDO])), max_size=50), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_no_class_exceeds_its_quota_and_a_refusal_changes_nothing(
    added: list[tuple[str, Origin]], quota: int
) -> None:
    held = of([0.0, 1.0], "ab", capacity=9, quota=quota)
    for at, (label, origin) in enumerate(added):
        before = held.state()
        if not held.add(number(at), label, origin, f"s-{at}", at):
            assert held.state() == before
        assert held.size <= 9
        assert max(held.labels[2:].count(one) for one in "abc") <= quota


# ---- condensing --------------------------------------------------------------------------------------------------


def test_guesses_inside_their_class_are_let_go_and_those_at_its_border_stay() -> None:
    held = of([0.0, 1.0, 30.0, 31.0], "aabb", k=1)
    for at, value in enumerate([10.0, 10.5, 11.0, 25.0, 10.2, 5.2]):
        held.add(number(value), "n", PSEUDO, f"s-{at}", at)
    assert held.condense() == 3
    assert held.samples[4:] == ["s-0", "s-3", "s-5"], "the oldest, and two that a and b would have taken"
    assert held.condense() == 0


WORLD = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from("abxyz"), st.sampled_from([PERSON, PSEUDO])), max_size=40
)


@given(WORLD, st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_condensing_keeps_trusted_samples_every_class_and_every_verdict(
    added: list[tuple[int, str, Origin]], k: int
) -> None:
    held = of([0.0, 1.0, 2.0, 30.0, 31.0, 32.0], "aaabbb", k=k)
    for at, (value, label, origin) in enumerate(added):
        held.add(number(value), label, origin, f"s-{at}", at)
    before = list(zip(held.samples, held.labels, held.origins, strict=True))
    values = {one: held.row(row) for row, one in enumerate(held.samples)}
    counts, again = held.counts(), of([0.0, 1.0, 2.0, 30.0, 31.0, 32.0], "aaabbb", k=k)
    again.restore(held.state())
    assert held.condense() == again.condense()
    assert held.state() == again.state(), "the same memory is condensed in the same way"
    gone = [one for one in before if one[0] not in held.samples]
    assert all(origin == PSEUDO for _, _, origin in gone)
    for label, count in counts.items():
        assert held.counts()[label] >= min(count, k), "a class of fewer samples could never win a vote by itself"
    for sample, label, _ in gone:
        assert held.vote(values[sample]).label == label, "what goes is recognised by what stays"


def test_a_full_memory_condenses_before_somebody_has_to_give_way() -> None:
    settled = {"capacity": 16, "k": 1}
    plain, condensing = of([0.0, 30.0], "ab", **settled), of([0.0, 30.0], "ab", condense=True, **settled)
    for held in (plain, condensing):
        held.add(number(29.0), "c", PSEUDO, "border", 0)
        for at in range(1, 15):
            held.add(number(10 + at / 100), "n", PSEUDO, f"s-{at}", at)
    assert plain.size == 16
    assert condensing.samples[2:] == ["border", "s-1", "s-14"], "thirteen alike were one too many"


def test_people_are_never_condensed_away_even_where_the_memory_is_full() -> None:
    held = of([0.0], "a", capacity=12, condense=True)
    for at in range(11):
        held.add(number(1.0), "b", PERSON, f"s-{at}", at)
    assert not held.add(number(1.0), "b", PSEUDO, "late", 99)
    assert held.samples[1:] == [f"s-{at}" for at in range(11)]


def test_condensing_looks_at_a_bounded_number_of_samples() -> None:
    number_of = MOST_LOOKED_AT + 50
    held = of([0.0], "a", capacity=number_of + 1)
    state = held.state()
    state |= {
        "rows": Float32Array.of([5.0] * number_of),
        "labels": ["b"] * number_of,
        "origins": Uint8Array([PSEUDO] * number_of),
        "samples": [f"s-{at}" for at in range(number_of)],
        "times": [0.0] * number_of,
    }
    held.restore(state)
    assert held.condense() == MOST_LOOKED_AT
