"""The memory recognises, learns from people at their word, and from the device within bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import codec
from broker.messages import Float32Array, LabelApplied, LabelResolved, MemoryChanged, Neighbours, PseudoLabelled
from edge_actors.algorithms.calibration import Calibration
from edge_actors.algorithms.neighbours import Memory
from edge_actors.arrays import packed
from edge_actors.errors import OtherBundleError
from edge_actors.knn import REMEMBERED_REVISIONS, Knn
from edge_actors.runtime.states import plain

from .learning import calibration, centre, clouds, features, memory

NOVEL = clouds("d", 12, seed=8)[0]


def knn(bundle: str = "bundle-1", capacity: int = 200) -> Knn:
    return Knn(memory(capacity=capacity), calibration(), bundle)


def see(actor: Knn, values: np.ndarray) -> Neighbours:
    (told,) = actor.receive(features(values))
    assert isinstance(told, Neighbours)
    return told


def propose(actor: Knn, values: np.ndarray = NOVEL, label: str = "novel-1", first: int = 0) -> MemoryChanged:
    ids = tuple(f"s-{first + number}" for number in range(len(values)))
    (told,) = actor.receive(PseudoLabelled(adaptation="e-1", label=label, samples=ids, values=packed(values)))
    assert isinstance(told, MemoryChanged)
    return told


def say(
    actor: Knn,
    verdict: str,
    label: str = "",
    sample: str = "s-0",
    revision: int = 1,
    values: np.ndarray | None = None,
    reason: str = "",
) -> LabelApplied:
    brought = Float32Array() if values is None else packed(values)
    (told,) = actor.receive(
        LabelResolved(sample=sample, revision=revision, verdict=verdict, label=label, values=brought, reason=reason)
    )
    assert isinstance(told, LabelApplied)
    assert (told.sample, told.revision) == (sample, revision)
    return told


# ---- recognising -------------------------------------------------------------------------------------------------


def test_tells_the_vote_and_passes_on_what_later_actors_need() -> None:
    told = see(knn(), centre("b"))
    assert (told.label, told.confidence, told.frame, told.residual) == ("b", 1.0, "b-0", 1.0)
    assert told.labels == ("b",) * 5
    assert told.distances.numbers() == sorted(told.distances.numbers())
    assert told.rival > told.distances.numbers()[-1]
    assert told.values == packed(centre("b"))


def test_searches_the_memory_once_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    searches = []
    nearest = Memory._nearest
    monkeypatch.setattr(Memory, "_nearest", lambda self, x: searches.append(1) or nearest(self, x))
    actor = knn()
    for label in "abc":
        see(actor, centre(label))
    assert len(searches) == 3


# ---- learning by itself ------------------------------------------------------------------------------------------


def test_a_new_class_is_taken_in_and_recognised() -> None:
    actor = knn()
    told = propose(actor)
    assert (told.applied, told.reason, told.memory) == (True, "", 36 + 12)
    assert told.accuracy_after == told.accuracy_before == 1.0
    assert see(actor, centre("d")).label == "novel-1"
    assert see(actor, centre("a")).label == "a"


def test_a_class_that_would_cost_accuracy_is_taken_back_bit_for_bit() -> None:
    actor = knn()
    before, seen = codec.pack(actor.state()), see(actor, centre("a"))
    told = propose(actor, calibration().values[:60:3] + np.float32(0.01))  # lies on the calibration frames of a
    assert not told.applied
    assert "accuracy on the calibration set would fall from 1.000" in told.reason
    assert told.accuracy_after < told.accuracy_before - 0.02
    assert codec.pack(actor.state()) == before
    assert see(actor, centre("a")) == seen


@pytest.mark.parametrize("label", ["a", "apple", "unknown", ""])
def test_a_guess_never_gets_a_label_that_is_not_provisional(label: str) -> None:
    actor = knn()
    before = actor.state()
    told = propose(actor, label=label)
    assert not told.applied
    assert "is not the label of a new class" in told.reason
    assert actor.state() == before


def test_a_class_that_exists_cannot_be_proposed_again() -> None:
    actor = knn()
    propose(actor)
    assert not propose(actor, first=100).applied


def test_a_memory_full_of_people_s_samples_refuses_a_new_class() -> None:
    actor = knn(capacity=40)
    for number in range(4):
        assert say(actor, "is", "a", f"p-{number}", values=centre("a")).outcome == "applied"
    told = propose(actor)
    assert (told.applied, told.memory) == (False, 40)
    assert "full of samples that may not give way" in told.reason


GUESSES = st.lists(st.tuples(st.sampled_from(["novel-1", "novel-2", "a", "b"]), st.floats(0, 30)), max_size=8)


@given(GUESSES)
@settings(max_examples=40)
def test_whatever_is_proposed_accuracy_holds_and_no_frame_gets_an_existing_label(
    guesses: list[tuple[str, float]],
) -> None:
    actor = knn(capacity=60)
    accuracy = actor.calibration.accuracy(actor.memory)
    for number, (label, away) in enumerate(guesses):
        before = codec.pack(actor.state())
        told = propose(actor, NOVEL + np.float32(away), label, first=100 * number)
        if not told.applied:
            assert codec.pack(actor.state()) == before
        after = actor.calibration.accuracy(actor.memory)
        assert after >= accuracy - 0.02 or not told.applied
        accuracy = after
    added = set(actor.memory.labels[actor.memory.reference :])
    assert added <= {"novel-1", "novel-2"}


# ---- learning from people ----------------------------------------------------------------------------------------


def test_a_person_teaches_a_class_with_single_samples() -> None:
    actor = knn()
    for number, values in enumerate(NOVEL[:5]):
        assert say(actor, "is", "pear", f"s-{number}", values=values).outcome == "applied"
    assert see(actor, centre("d")).label == "pear"


def test_the_same_revision_twice_is_a_duplicate_and_changes_nothing() -> None:
    actor = knn()
    say(actor, "is", "pear", values=NOVEL[0])
    before = actor.state()
    assert say(actor, "is", "pear", values=NOVEL[0]).outcome == "duplicate"
    assert say(actor, "retract", revision=1).outcome == "duplicate"
    assert actor.state() == before


def test_an_older_revision_that_comes_late_is_a_duplicate() -> None:
    actor = knn()
    say(actor, "is", "pear", revision=3, values=NOVEL[0])
    assert say(actor, "is", "plum", revision=2, values=NOVEL[0]).outcome == "duplicate"
    assert actor.memory.labels[-1] == "pear"


def test_a_newer_revision_replaces_what_was_said() -> None:
    actor = knn()
    say(actor, "is", "pear", values=NOVEL[0])
    assert say(actor, "is", "plum", revision=2, values=NOVEL[0]).outcome == "applied"
    assert actor.memory.labels[actor.memory.reference :] == ["plum"]


def test_retracting_takes_the_sample_out_again() -> None:
    actor = knn()
    before = actor.memory.state()
    say(actor, "is", "pear", values=NOVEL[0])
    assert say(actor, "retract", revision=2).outcome == "applied"
    assert actor.memory.state() == before


def test_naming_one_sample_names_its_provisional_class() -> None:
    actor = knn()
    propose(actor)
    assert say(actor, "is", "pear", "s-3").outcome == "applied"
    assert see(actor, centre("d")).label == "pear"
    assert see(actor, centre("d")).labels == ("pear",) * 5
    assert actor.memory.counts()["pear"] == 12


def test_another_voice_keeps_the_name_and_gets_its_own_sample() -> None:
    actor = knn()
    propose(actor)
    say(actor, "is", "pear", "s-3")
    say(actor, "is", "quince", "s-4")
    assert actor.memory.counts() == {"a": 12, "b": 12, "c": 12, "pear": 11, "quince": 1}


def test_retracting_the_naming_sample_gives_the_class_its_provisional_name_back() -> None:
    actor = knn()
    propose(actor)
    say(actor, "is", "pear", "s-3")
    say(actor, "retract", sample="s-3", revision=2)
    assert see(actor, centre("d")).label == "novel-1"
    assert actor.memory.counts()["novel-1"] == 11


def test_a_sample_whose_neighbours_all_sit_in_a_provisional_class_names_it_too() -> None:
    actor = knn()
    propose(actor)
    say(actor, "is", "pear", "other", values=centre("d"))
    assert see(actor, NOVEL[0]).label == "pear"


def test_a_sample_of_a_known_class_names_nothing() -> None:
    actor = knn()
    propose(actor)
    say(actor, "is", "a", "other", values=centre("a"))
    assert see(actor, NOVEL[0]).label == "novel-1"


def test_is_not_takes_out_what_carries_that_label_and_leaves_the_rest() -> None:
    actor = knn()
    propose(actor)
    say(actor, "is", "pear", "s-3")
    assert say(actor, "is-not", "pear", "s-5").outcome == "applied"
    assert actor.memory.find("s-5") is None
    assert say(actor, "is-not", "plum", "s-6").outcome == "applied"
    assert actor.memory.find("s-6") is not None, "nobody said that it is a plum"
    assert say(actor, "is-not", "pear", "never-seen").outcome == "applied"


def test_what_nobody_can_name_does_not_stay_in_the_memory() -> None:
    actor = knn()
    propose(actor)
    assert say(actor, "unknown", sample="s-7").outcome == "applied"
    assert actor.memory.find("s-7") is None
    assert actor.memory.counts()["novel-1"] == 11


@pytest.mark.parametrize(
    ("verdict", "label", "reason"),
    [
        ("maybe", "pear", "'maybe' is not a verdict"),
        ("is", "", "cannot be the name of a class"),
        ("is", "novel-7", "cannot be the name of a class"),
        ("is", "unknown", "cannot be the name of a class"),
    ],
)
def test_what_cannot_be_applied_is_rejected_with_the_reason(verdict: str, label: str, reason: str) -> None:
    actor = knn()
    before = actor.memory.state()
    told = say(actor, verdict, label, values=NOVEL[0])
    assert told.outcome == "rejected"
    assert reason in told.reason
    assert actor.memory.state() == before


def test_a_label_without_features_is_rejected_with_the_reason_it_came_with() -> None:
    told = say(knn(), "is", "pear", reason="its features belong to another bundle")
    assert (told.outcome, told.reason) == ("rejected", "its features belong to another bundle")
    assert "brought none" in say(knn(), "is", "pear").reason


def test_a_label_without_features_is_applied_to_a_sample_that_the_memory_holds() -> None:
    actor = knn()
    propose(actor)
    assert say(actor, "is", "pear", "s-3", reason="gone from the quarantine").outcome == "applied"


def test_a_label_that_would_cost_accuracy_is_rejected_and_nothing_changes() -> None:
    frames = calibration()
    fragile = Calibration(frames.values[:1], frames.residuals[:1], frames.labels[:1])
    actor = Knn(Memory(frames.values[:1] + 1, ["a"], 50, k=1), fragile)
    before = actor.memory.state()
    told = say(actor, "is", "b", values=frames.values[0])
    assert told.outcome == "rejected"
    assert "would fall from 1.000 to 0.000" in told.reason
    assert actor.memory.state() == before


def test_remembers_as_many_revisions_as_can_be_outstanding_and_no_more() -> None:
    actor = knn()
    for number in range(REMEMBERED_REVISIONS + 1):
        say(actor, "is-not", "a", f"s-{number}")
    assert say(actor, "is-not", "a", "s-1").outcome == "duplicate"
    assert say(actor, "is-not", "a", "s-0").outcome == "applied"
    assert len(actor.state()["revisions"]) == REMEMBERED_REVISIONS


# ---- states ------------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["is", "is-not", "unknown", "retract"]),
        st.sampled_from(["a", "pear", "plum"]),
        st.integers(0, 14),
        st.integers(1, 3),
    ),
    max_size=12,
)


@given(STEPS, STEPS)
@settings(max_examples=30)
def test_a_restored_state_has_the_same_future(before: list[tuple], after: list[tuple]) -> None:
    actor, other = knn(), knn()
    propose(actor)
    for verdict, label, number, revision in before:
        say(actor, verdict, label, f"s-{number}", revision, NOVEL[number % 12])
    other.restore(codec.unpack(codec.pack(plain(actor.state()))))
    for verdict, label, number, revision in after:
        arguments = (verdict, label, f"s-{number}", revision, NOVEL[number % 12])
        assert say(other, *arguments) == say(actor, *arguments)
        assert see(other, centre("d")) == see(actor, centre("d"))
    assert codec.pack(other.state()) == codec.pack(actor.state())


def test_a_state_of_another_bundle_is_refused() -> None:
    with pytest.raises(OtherBundleError, match="made with the bundle bundle-1, the device runs bundle-2"):
        knn("bundle-2").restore(knn("bundle-1").state())
