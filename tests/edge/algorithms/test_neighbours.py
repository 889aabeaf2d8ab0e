"""The memory finds what is nearest, votes, and gives way in a known order."""

from __future__ import annotations

from math import dist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_actors.algorithms.neighbours import UNKNOWN, Memory, Origin

from ..learning import DIMENSION, centre, clouds, memory


def of(rows: list[list[float]], labels: str, k: int, capacity: int = 50) -> Memory:
    return Memory(np.array(rows, np.float32), list(labels), capacity, k)


@given(st.integers(5, 60), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_the_nearest_are_the_nearest_and_distances_are_true(n: int, k: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    rows = (chance.normal(size=(n, DIMENSION)) + 100).astype(np.float32)  # far from the origin the norm trick rounds
    x = (chance.normal(size=DIMENSION) + 100).astype(np.float32)
    vote = Memory(rows, [str(i) for i in range(n)], n, k).vote(x)
    true = sorted((dist(row, x), str(i)) for i, row in enumerate(rows.tolist()))
    assert vote.labels == [label for _, label in true[:k]]
    np.testing.assert_allclose(vote.distances, [distance for distance, _ in true[:k]], rtol=1e-5)


def test_of_equally_many_votes_the_label_with_the_oldest_sample_wins() -> None:
    held = of([[4.0], [1.0], [2.0], [3.0], [9.0]], "bacab", k=4)
    vote = held.vote(np.zeros(1, np.float32))
    assert (vote.labels, vote.label, vote.confidence) == (["a", "c", "a", "b"], "a", 0.5)
    tied = of([[4.0], [1.0], [2.0], [3.0]], "baab", k=4).vote(np.zeros(1, np.float32))
    assert (tied.label, tied.confidence) == ("b", 0.5), "row 0 is the oldest"


def test_a_memory_with_fewer_samples_than_neighbours_knows_nothing() -> None:
    vote = of([[1.0], [2.0]], "ab", k=3).vote(np.zeros(1, np.float32))
    assert (vote.label, vote.confidence, vote.distances, vote.labels, vote.rival) == (UNKNOWN, 0.0, [], [], 0.0)


def test_the_rival_is_the_nearest_sample_of_another_label_wherever_it_is() -> None:
    among = of([[1.0], [2.0], [3.0], [4.0]], "aaba", k=3).vote(np.zeros(1, np.float32))
    beyond = of([[1.0], [2.0], [3.0], [7.0], [8.0]], "aaabb", k=3).vote(np.zeros(1, np.float32))
    none = of([[1.0], [2.0], [3.0]], "aaa", k=3).vote(np.zeros(1, np.float32))
    assert (among.rival, beyond.rival, none.rival) == (3.0, 7.0, 0.0)


def test_what_was_learned_is_no_rival_so_that_margins_stay_comparable() -> None:
    held = of([[1.0], [2.0], [3.0], [7.0], [8.0]], "aaabb", k=3)
    before = held.vote(np.zeros(1, np.float32))
    held.add(np.array([2.5], np.float32), "novel-1", Origin.PSEUDO, "s-1")
    after = held.vote(np.zeros(1, np.float32))
    assert (after.label, after.labels) == ("a", ["a", "a", "novel-1"])
    assert after.rival == before.rival == 7.0
    for number in range(2, 4):
        held.add(np.array([0.1], np.float32), "novel-1", Origin.PSEUDO, f"s-{number}")
    assert held.vote(np.zeros(1, np.float32)).rival == 1.0, "for a new class the bundle's are the rivals"
    empty = Memory(np.zeros((0, 1), np.float32), [], 9, k=1)
    empty.add(np.zeros(1, np.float32), "a", Origin.PERSON, "s-1")
    assert empty.vote(np.zeros(1, np.float32)).rival == 0.0


def test_votes_of_many_are_the_votes_of_each() -> None:
    held = memory(each=7)
    many, _ = clouds("abcd", 20, seed=5, spread=8)
    assert held.votes(many) == [held.vote(x).label for x in many]


def test_a_label_can_vote_under_another_name_and_go_back() -> None:
    held = memory()
    x = centre("a")
    before = held.state()
    held.rename({"a": "apple"})
    assert (held.vote(x).label, held.votes(x[None])) == ("apple", ["apple"])
    assert held.counts() == {"apple": 12, "b": 12, "c": 12}
    held.rename({})
    assert held.vote(x).label == "a"
    assert held.state() == before


def test_two_labels_of_one_name_vote_together() -> None:
    held = of([[1.0], [2.0], [3.0], [3.5], [3.6]], "xybbb", k=5)
    assert held.vote(np.zeros(1, np.float32)).label == "b"
    held.rename({"x": "c", "y": "c", "b": "c"})
    assert held.vote(np.zeros(1, np.float32)).confidence == 1.0


def test_a_removed_sample_no_longer_votes_and_the_rest_keep_their_order() -> None:
    held = of([[1.0], [2.0]], "ab", k=1)
    for number, label in enumerate("cde"):
        held.add(np.array([10.0 + number], np.float32), label, Origin.PERSON, f"s-{number}")
    row = held.find("s-1")
    assert row is not None
    held.remove(row)
    assert (held.find("s-1"), held.labels, held.samples[2:]) == (None, list("abce"), ["s-0", "s-2"])
    assert held.vote(np.array([11.0], np.float32)).distances == [1.0]


# ---- giving way --------------------------------------------------------------------------------------------------


def test_the_oldest_of_the_largest_class_gives_way_and_a_pseudo_one_before_a_persons() -> None:
    held = of([[0.0], [1.0], [2.0]], "aaa", k=1, capacity=8)
    for sample, label, origin in (
        ("p1", "b", Origin.PERSON),
        ("q1", "c", Origin.PSEUDO),
        ("q2", "d", Origin.PSEUDO),
        ("p2", "b", Origin.PERSON),
        ("q3", "d", Origin.PSEUDO),
    ):
        assert held.add(np.zeros(1, np.float32), label, origin, sample)
    gone = []
    for number in range(5):
        before = set(held.samples)
        assert held.add(np.zeros(1, np.float32), "e", Origin.PERSON, f"n{number}")
        gone += before - set(held.samples)
    assert gone[:3] == ["q2", "q1", "q3"], "d is largest, then c and d are equal and c's sample is older"
    assert gone[3:] == ["n0", "n1"], "only then people's, of the largest class e"
    assert not held.add(np.zeros(1, np.float32), "f", Origin.PSEUDO, "late"), "a guess never displaces a person"


ADDED = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([Origin.PERSON, Origin.PSEUDO])), max_size=60)


@given(ADDED, st.integers(3, 12))
@settings(max_examples=60)
def test_references_stay_people_outlast_guesses_and_the_bound_holds(
    added: list[tuple[str, Origin]], capacity: int
) -> None:
    held = of([[0.0], [1.0], [2.0]], "aab", k=1, capacity=capacity)
    for number, (label, origin) in enumerate(added):
        before = list(zip(held.samples, held.origins, held.labels, strict=True))
        taken = held.add(np.full(1, number, np.float32), label, origin, f"s-{number}")
        gone = [(o, word) for sample, o, word in before if sample not in held.samples]
        assert held.size <= capacity
        assert held.labels[:3] == list("aab")
        if not taken:
            assert len(before) == capacity
            assert held.size == capacity
        if gone:
            ((who, word),) = gone
            assert who >= origin
            same = [one for _, o, one in before if o == who]
            assert who == Origin.PSEUDO or Origin.PSEUDO not in [o for _, o, _ in before]
            sizes = {one: [w for _, _, w in before].count(one) for one in same}
            assert sizes[word] == max(sizes.values())


@given(ADDED)
@settings(max_examples=30)
def test_a_state_brings_everything_back_bit_for_bit(added: list[tuple[str, Origin]]) -> None:
    held, other = memory(capacity=50), memory(capacity=50)
    for number, (label, origin) in enumerate(added):
        held.add(centre(label) + np.float32(0.001 * number), label, origin, f"s-{number}")
    held.rename({"d": "dog"})
    other.restore(held.state())
    assert other.state() == held.state()
    x = centre("d")
    assert other.vote(x) == held.vote(x)


def test_a_restored_state_forgets_what_came_after_it() -> None:
    held = memory()
    before, vote = held.state(), held.vote(centre("d"))
    held.add(centre("d"), "d", Origin.PERSON, "s-1")
    held.restore(before)
    assert held.state() == before
    assert held.vote(centre("d")) == vote


def test_the_state_of_a_full_memory_stays_within_its_budget() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 256)).astype(np.float32)
    held = Memory(np.zeros((0, 256), np.float32), [], 200, 5)
    for number, row in enumerate(rows):
        held.add(row, f"class-{number % 8}", Origin.PERSON, f"0123abcd-000001-{number}")
    from broker import codec  # noqa: PLC0415

    assert len(codec.pack(held.state())) <= 215_000


@pytest.mark.parametrize("sample", ["", "nobody"])
def test_reference_samples_cannot_be_found_by_an_id(sample: str) -> None:
    assert memory().find(sample) is None
