"""The memory recognises, learns from people at their word, and from the device within bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import codec
from broker.messages import (
    DriftCleared,
    Float32Array,
    LabelApplied,
    LabelResolved,
    MemoryChanged,
    Neighbours,
    PseudoLabelled,
    PseudoWithdrawn,
    Recentring,
)
from edge_actors.algorithms.calibration import Calibration
from edge_actors.algorithms.neighbours import Memory
from edge_actors.arrays import packed
from edge_actors.errors import OtherBundleError
from edge_actors.knn import REMEMBERED_REVISIONS, Knn
from edge_actors.runtime.states import plain

from .learning import DIMENSION, calibration, centre, clouds, features, memory

NOVEL = clouds("d", 12, seed=8)[0]


def knn(bundle: str = "bundle-1", capacity: int = 200) -> Knn:
    return Knn(memory(capacity=capacity), calibration(), bundle)


def see(actor: Knn, values: np.ndarray) -> Neighbours:
    (told,) = actor.receive(features(values))
    assert isinstance(told, Neighbours)
    return told


def propose(actor: Knn, values: np.ndarray = NOVEL, label: str = "novel-1", first: int = 0) -> MemoryChanged:
    ids = tuple(f"s-{first + number}" for number in range(len(values)))
    proposed = PseudoLabelled(adaptation="e-1", kind="novel-class", label=label, samples=ids, values=packed(values))
    (told,) = actor.receive(proposed)
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


def test_of_a_class_the_samples_that_would_cost_accuracy_are_left_out_and_the_others_stay() -> None:
    actor = knn()
    harmful = calibration().values[:30:3] + np.float32(0.01)  # they lie on the calibration frames of a
    told = propose(actor, np.vstack((NOVEL, harmful)))
    assert (told.applied, told.reason) == (True, "")
    assert told.accuracy_after >= told.accuracy_before - 0.02
    assert told.left_out
    assert set(told.left_out) <= {f"s-{number}" for number in range(len(NOVEL), len(NOVEL) + 10)}
    assert told.memory == 36 + len(NOVEL) + 10 - len(told.left_out)
    assert see(actor, centre("d")).label == "novel-1"
    assert see(actor, centre("a")).label == "a"


def test_a_person_s_word_counts_though_it_would_do_harm_to_pass_it_on() -> None:
    actor = knn()
    harmful = calibration().values[:45:3] + np.float32(0.01)
    (told,) = actor.receive(
        LabelResolved(
            sample="s-0",
            revision=1,
            verdict="is",
            label="delta",
            values=packed(NOVEL[:1]),
            like=tuple(f"t-{number}" for number in range(len(harmful))),
            like_values=packed(harmful),
        )
    )
    assert isinstance(told, LabelApplied)
    assert (told.outcome, told.reason, told.spread) == ("applied", "", ())
    assert actor.memory.find("s-0") is not None
    assert actor.memory.size == 36 + 1


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


# ---- re-centring -------------------------------------------------------------------------------------------------

SHIFT = np.linspace(-8, 8, DIMENSION).astype(np.float32)


def recentre(actor: Knn, shift: np.ndarray = SHIFT, seed: int = 9) -> MemoryChanged:
    window = clouds("abc", 40, seed)[0] + shift
    (told,) = actor.receive(Recentring(adaptation="e-7", episode="e", window=packed(window)))
    assert isinstance(told, MemoryChanged)
    return told


def test_a_displaced_stream_is_recognised_and_still_passed_on_as_it_is() -> None:
    actor = knn()
    told = recentre(actor)
    assert (told.applied, told.adaptation) == (True, "e-7")
    assert told.statistic > told.threshold
    seen = see(actor, centre("b") + SHIFT)
    assert seen.label == "b"
    assert seen.values == packed(centre("b") + SHIFT), "who watches for drift must not be misled"


def test_a_stream_that_is_not_displaced_is_not_re_centred() -> None:
    actor = knn()
    before = codec.pack(actor.state())
    told = recentre(actor, np.zeros(DIMENSION, np.float32))
    assert not told.applied
    assert told.reason
    assert codec.pack(actor.state()) == before


def test_the_map_is_taken_back_when_the_stream_is_back() -> None:
    actor = knn()
    recentre(actor)
    told = [one for row in clouds("abc", 10, seed=11)[0] for one in actor.receive(features(row))]
    (undone,) = (one for one in told if isinstance(one, MemoryChanged))
    assert (undone.undone, undone.adaptation) == (True, "e-7")
    assert actor.recentred.correction is None
    assert told.index(undone) < 20


def test_the_map_is_taken_back_when_the_drift_is_over() -> None:
    actor = knn()
    recentre(actor)
    (undone,) = actor.receive(DriftCleared(episode="e"))
    assert isinstance(undone, MemoryChanged)
    assert undone.undone
    assert list(actor.receive(DriftCleared(episode="e"))) == []


def test_a_label_of_a_displaced_sample_is_put_where_the_memory_expects_it_even_later() -> None:
    actor = knn()
    recentre(actor)
    list(actor.receive(DriftCleared(episode="e")))
    given = LabelResolved(
        sample="s-1", revision=1, verdict="is", label="b", values=packed(centre("b") + SHIFT), episode="e"
    )
    (told,) = actor.receive(given)
    assert isinstance(told, LabelApplied)
    assert told.outcome == "applied"
    row = actor.memory.find("s-1")
    assert row is not None
    assert np.linalg.norm(actor.memory.row(row) - centre("b")) < 3


def test_a_re_centred_state_has_the_same_future() -> None:
    actor, other = knn(), knn()
    recentre(actor)
    for row in clouds("ab", 1, seed=12)[0]:
        list(actor.receive(features(row)))
    other.restore(codec.unpack(codec.pack(plain(actor.state()))))
    for row in clouds("abc", 10, seed=11)[0]:
        assert list(other.receive(features(row))) == list(actor.receive(features(row)))
    assert codec.pack(other.state()) == codec.pack(actor.state())


# ---- what the device takes back, and what a label takes along ----------------------------------------------------


def test_samples_that_the_device_had_put_in_are_taken_out_again_but_not_a_person_s() -> None:
    actor = knn()
    propose(actor)
    say(actor, "is", "pear", "s-3")
    (told,) = actor.receive(PseudoWithdrawn(adaptation="e-1", samples=tuple(f"s-{n}" for n in range(12))))
    assert isinstance(told, MemoryChanged)
    assert told.undone
    assert actor.memory.samples[actor.memory.reference :] == ["s-3"]


def test_a_class_that_grows_has_to_exist_and_a_new_one_must_not() -> None:
    actor = knn()
    grow = PseudoLabelled(
        adaptation="e-2", kind="grow-class", label="novel-1", samples=("g",), values=packed(NOVEL[0])
    )
    (told,) = actor.receive(grow)
    assert isinstance(told, MemoryChanged)
    assert "is not the label of a class" in told.reason
    propose(actor, NOVEL[1:])
    (told,) = actor.receive(grow)
    assert isinstance(told, MemoryChanged)
    assert told.applied


def test_a_class_of_the_device_s_own_has_sixty_samples_at_most() -> None:
    actor = knn()
    propose(actor)
    more = clouds("d", 49, seed=13)[0]
    ids = tuple(f"g-{n}" for n in range(49))
    grow = PseudoLabelled(adaptation="e-2", kind="grow-class", label="novel-1", samples=ids, values=packed(more))
    (told,) = actor.receive(grow)
    assert isinstance(told, MemoryChanged)
    assert told.reason == "the class would have more than 60 samples"


def test_a_class_that_would_take_usual_frames_for_itself_is_not_taken_in() -> None:
    actor = knn()
    before = codec.pack(actor.state())
    usual = NOVEL[:6] + np.float32(0.1)
    proposed = PseudoLabelled(
        adaptation="e-1",
        label="novel-1",
        samples=tuple(f"s-{n}" for n in range(12)),
        values=packed(NOVEL),
        accepted=packed(usual),
        accepted_labels=("a",) * 6,
    )
    (told,) = actor.receive(proposed)
    assert isinstance(told, MemoryChanged)
    assert told.reason == "6 of 6 usual frames would be taken for something else"
    assert codec.pack(actor.state()) == before


def spread(actor: Knn, verdict: str = "is", revision: int = 1, label: str = "pear") -> LabelApplied:
    like = ("n-1", "n-2") if verdict == "is" else ()
    given = LabelResolved(
        sample="s-0",
        revision=revision,
        verdict=verdict,
        label=label,
        values=packed(NOVEL[0]),
        like=like,
        like_values=packed(NOVEL[1 : 1 + len(like)]),
    )
    (told,) = actor.receive(given)
    assert isinstance(told, LabelApplied)
    return told


def test_a_label_also_reaches_samples_nearby_and_a_retraction_takes_them_out_too() -> None:
    actor = knn()
    before = actor.memory.state()
    assert spread(actor).spread == ("n-1", "n-2")
    assert actor.memory.counts()["pear"] == 3
    told = spread(actor, "retract", 2)
    assert (told.outcome, told.withdrawn) == ("applied", ("n-1", "n-2"))
    assert actor.memory.state()["rows"] == before["rows"]


def test_a_revision_takes_its_neighbours_along() -> None:
    actor = knn()
    spread(actor)
    told = spread(actor, revision=2, label="plum")
    assert (told.withdrawn, told.spread) == (("n-1", "n-2"), ("n-1", "n-2"))
    assert actor.memory.counts() == {"a": 12, "b": 12, "c": 12, "plum": 3}


def test_what_a_person_says_of_a_neighbour_itself_outlives_the_retraction() -> None:
    actor = knn()
    spread(actor)
    say(actor, "is", "pear", "n-1")
    assert spread(actor, "retract", 2).withdrawn == ("n-2",)
    assert actor.memory.samples[actor.memory.reference :] == ["n-1"]


def test_what_people_said_before_names_the_class_that_is_made_later() -> None:
    actor = knn()
    say(actor, "is", "pear", "s-2", values=NOVEL[2])
    propose(actor)
    assert see(actor, centre("d")).label == "pear"


@pytest.mark.parametrize("verdict", ["retract", "unknown", "is-not"])
def test_taking_back_what_was_never_there_is_done_at_once(verdict: str) -> None:
    actor = knn()
    before = actor.memory.state()
    assert say(actor, verdict, "pear", "never-seen").outcome == "applied"
    assert actor.memory.state() == before


def test_the_seed_s_guess_needs_a_label_that_exists() -> None:
    actor = knn()
    for label, applied in (("a", True), ("zebra", False)):
        guess = PseudoLabelled(
            adaptation="e-1", kind="pseudo-label", label=label, samples=("g",), values=packed(NOVEL[0])
        )
        (told,) = actor.receive(guess)
        assert isinstance(told, MemoryChanged)
        assert told.applied is applied


def test_a_state_of_the_first_version_still_knows_its_names() -> None:
    actor, other = knn(), knn()
    propose(actor)
    say(actor, "is", "pear", "s-3")
    state = actor.state()
    old = {name: state[name] for name in ("bundle", "memory", "revisions")} | {"naming": state["teaching"]["naming"]}
    other.restore(old)
    assert see(other, centre("d")).label == "pear"
