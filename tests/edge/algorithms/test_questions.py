"""People are asked about what is dense and not yet covered, seldom, and never beyond the budget."""

from __future__ import annotations

import numpy as np

from edge_actors.algorithms.questions import PACE, PERIOD_S, Questions
from edge_actors.algorithms.strange_samples import Entry, StrangeSamples

PLACES = [0.0, 0.95, 1.9, 2.85, 3.8, 4.75, 100.0, 102.0, 104.0, 106.0, 108.0, 110.0, 400.0]


def samples() -> StrangeSamples:
    held = StrangeSamples(1, 50)
    for number, place in enumerate(PLACES):
        held.add(Entry(f"s{number}", 0.0, "e", clusterable=True), np.array([place], np.float32), 9.0)
    return held


def test_the_densest_comes_first_then_what_is_dense_elsewhere() -> None:
    held, questions = samples(), Questions(9, 1.0)
    first = questions.densest(held)
    assert first in (2, 3)
    held.entries[first].asked = True
    second = questions.densest(held)
    assert second is not None
    assert 6 <= second <= 11


def test_a_class_of_the_device_s_own_that_nobody_has_named_is_asked_about_first() -> None:
    held, questions = samples(), Questions(9, 1.0)
    held.take([f"s{n}" for n in range(6, 12)], "novel-1")
    row = questions.densest(held)
    assert row is not None
    assert held.entries[row].taken == "novel-1"
    held.entries[row].told = True
    row = questions.densest(held)
    assert row is not None
    assert held.entries[row].taken == ""


def test_nobody_is_asked_twice_about_the_same() -> None:
    held, questions = samples(), Questions(99, 1.0)
    asked = []
    while (row := questions.densest(held)) is not None:
        held.entries[row].asked = True
        asked.append(row)
    assert sorted(asked) == list(range(len(PLACES)))


def test_a_few_samples_are_no_reason_to_ask() -> None:
    held = StrangeSamples(1, 50)
    held.add(Entry("s", 0.0, "e", clusterable=True), np.zeros(1, np.float32), 9.0)
    assert Questions(9, 1.0).densest(held) is None


def test_questions_keep_their_pace_and_the_budget_of_a_month() -> None:
    questions, asked = Questions(3, 1.0), []
    for number in range(PACE * 10):
        if questions.due(float(number), True):
            asked.append(number)
            questions.note(float(number))
    assert asked == [PACE - 1, 2 * PACE - 1, 3 * PACE - 1]
    assert questions.due(PERIOD_S + PACE, False)
    other = Questions(3, 1.0)
    other.restore(questions.state())
    assert other.state() == questions.state()


def test_a_label_is_passed_on_to_the_two_nearest_that_wait() -> None:
    held, questions = samples(), Questions(9, 1.0)
    assert questions.like(held, 3) == [2, 4]
    held.entries[2].told = True
    assert questions.like(held, 3) == [4]
    assert questions.like(held, 12) == []


def test_a_label_is_not_passed_on_to_what_the_memory_may_explain() -> None:
    held, questions = samples(), Questions(9, 1.0)
    held.memory_distances[2] = 1.0  # about as near to the memory as to the sample that was labelled
    assert questions.like(held, 3) == [4]
