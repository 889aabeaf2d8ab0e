"""New classes come of samples that are alike; every decision leaves a record, and no frame gets an existing label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import codec
from broker.messages import (
    AdaptationDecided,
    DriftDetected,
    LabelApplied,
    LabelAssigned,
    MemoryChanged,
    Message,
    Neighbours,
    PseudoLabelled,
    PseudoWithdrawn,
    QuarantineFilled,
    Recentring,
    SampleQuarantined,
)
from edge_actors.adapter import Adapter
from edge_actors.algorithms.cusum import SceneCusum
from edge_actors.algorithms.ending import Ending
from edge_actors.algorithms.mewma import SceneMewma
from edge_actors.algorithms.placing import Placing
from edge_actors.algorithms.scene_gate import SceneGate
from edge_actors.arrays import Floats, floats, packed
from edge_actors.drift_monitor import DriftMonitor
from edge_actors.knn import Knn
from edge_actors.policies.cautious import FIRST_REPRESENTATIVES as MOST_REPRESENTATIVES
from edge_actors.policies.cautious import Cautious
from edge_actors.policies.seed import Seed
from edge_actors.privacy import Showing
from edge_actors.quarantine import Quarantine
from edge_actors.runtime.actor import Actor
from edge_actors.runtime.states import plain

from .learning import DIMENSION, calibration, centre, clouds, deliver, features, memory, statistics

FAR = 15.0  # distance to the memory


def adapter_of() -> Adapter:
    return Adapter(Cautious(DIMENSION), DIMENSION)


def filled(values: Floats, memory_distance: float = FAR, scope: str = "novel", first: int = 0) -> QuarantineFilled:
    return QuarantineFilled(
        at=7.0,
        episode="e",
        scope=scope,
        statistic=0.3,
        threshold=3.0,
        taken=("",) * len(values),
        predicted=("a",) * len(values),
        samples=tuple(f"s-{first + n}" for n in range(len(values))),
        values=packed(values),
        memory_distances=packed(np.full(len(values), memory_distance, np.float32)),
    )


def proposals(said: list[Message]) -> list[PseudoLabelled]:
    return [one for one in said if isinstance(one, PseudoLabelled)]


def test_samples_that_departed_as_the_drift_did_need_not_be_quite_as_near_to_each_other() -> None:
    values, _ = clouds("d", 40, seed=3)
    gaps = np.sort(np.linalg.norm(values[:, None] - values, axis=2), axis=1)[:, 1:6].mean(axis=1)
    near = replace(filled(values), memory_distances=packed((gaps / 0.85).astype(np.float32)))
    assert proposals(list(adapter_of().receive(near))) == []
    departed = replace(near, departures=packed(np.full(40, 3.0, np.float32)))
    assert len(proposals(list(adapter_of().receive(departed)))) == 1


def test_samples_that_are_alike_are_proposed_as_a_class_of_their_own() -> None:
    values, names = clouds("de", 40, seed=3)
    said = list(adapter_of().receive(filled(values)))
    assert [one.label for one in proposals(said)] == ["novel-1", "novel-2"]
    for one in proposals(said):
        rows = [int(sample[2:]) for sample in one.samples]
        assert len(rows) == MOST_REPRESENTATIVES
        assert len({names[row] for row in rows}) == 1
        np.testing.assert_array_equal(floats(one.values, DIMENSION), values[rows])
        assert (one.episode, one.at, one.threshold) == ("e", 7.0, 10.0)
        assert one.statistic >= MOST_REPRESENTATIVES


def test_samples_that_have_nothing_in_common_are_rejected_on_record() -> None:
    scattered = np.random.default_rng(0).uniform(-80, 80, (40, DIMENSION)).astype(np.float32)
    (decided,) = adapter_of().receive(filled(scattered))
    assert isinstance(decided, AdaptationDecided)
    assert (decided.kind, decided.outcome, decided.threshold) == ("novel-class", "rejected", 10.0)
    assert decided.statistic < 10
    assert "no group of the samples" in decided.reason


def test_samples_that_are_near_the_memory_are_rejected() -> None:
    values, _ = clouds("d", 40, seed=3)
    (decided,) = adapter_of().receive(filled(values, memory_distance=2.0))
    assert isinstance(decided, AdaptationDecided)
    assert (decided.outcome, decided.statistic) == ("rejected", 0.0)


def test_where_everything_moved_it_asks_for_re_centring_and_makes_no_class() -> None:
    values, _ = clouds("d", 60, seed=3)
    (asked,) = adapter_of().receive(replace(filled(values, scope="global"), window=packed(values)))
    assert isinstance(asked, Recentring)
    assert (asked.episode, asked.window) == ("e", packed(values))


def test_what_was_made_before_it_was_known_that_everything_moved_is_taken_back_on_record() -> None:
    adapter = adapter_of()
    values = clouds("d", 20, seed=3)[0]
    (proposal,) = proposals(list(adapter.receive(filled(values))))
    list(adapter.receive(MemoryChanged(adaptation=proposal.adaptation, applied=True)))
    withdrawn, asked = adapter.receive(filled(values, scope="global"))
    assert isinstance(withdrawn, PseudoWithdrawn)
    assert isinstance(asked, Recentring)
    assert (withdrawn.adaptation, withdrawn.samples) == (proposal.adaptation, proposal.samples)
    answer = MemoryChanged(adaptation=proposal.adaptation, undone=True, reason=withdrawn.reason)
    (decided,) = adapter.receive(answer)
    assert isinstance(decided, AdaptationDecided)
    assert (decided.kind, decided.outcome, decided.label) == ("novel-class", "rolled-back", "novel-1")
    assert decided.samples == proposal.samples


def test_a_class_grows_by_what_lies_in_the_same_group() -> None:
    adapter = adapter_of()
    values, _ = clouds("d", 50, seed=3)
    told = replace(filled(values), taken=("novel-4",) * 25 + ("",) * 25)
    (proposal,) = proposals(list(adapter.receive(told)))
    assert (proposal.kind, proposal.label) == ("grow-class", "novel-4")
    assert set(proposal.samples) <= {f"s-{n}" for n in range(25, 50)}
    assert len(proposal.samples) > 20


def test_a_class_does_not_grow_beyond_sixty() -> None:
    values, _ = clouds("d", 80, seed=3)
    told = replace(filled(values), taken=("novel-4",) * 55 + ("",) * 25)
    (proposal,) = proposals(list(adapter_of().receive(told)))
    assert len(proposal.samples) == 5


def test_labels_that_reached_samples_nearby_and_left_them_again_are_on_record() -> None:
    label = LabelApplied(at=3.0, sample="s-1", outcome="applied", label="pear", spread=("s-2",), withdrawn=("s-9",))
    back, on = adapter_of().receive(label)
    assert isinstance(back, AdaptationDecided)
    assert isinstance(on, AdaptationDecided)
    assert (back.kind, back.outcome, back.samples) == ("label-spread", "rolled-back", ("s-9",))
    assert (on.kind, on.outcome, on.label, on.samples) == ("label-spread", "applied", "pear", ("s-2",))


def test_without_a_policy_nothing_is_tried() -> None:
    assert list(Adapter(None, DIMENSION).receive(filled(clouds("d", 40, seed=3)[0]))) == []


@pytest.mark.parametrize(("applied", "outcome"), [(True, "applied"), (False, "rejected")])
def test_what_the_memory_made_of_a_proposal_is_recorded(applied: bool, outcome: str) -> None:
    adapter = adapter_of()
    (proposal,) = proposals(list(adapter.receive(filled(clouds("d", 20, seed=3)[0]))))
    answer = MemoryChanged(
        at=7.0,
        adaptation=proposal.adaptation,
        applied=applied,
        reason="" if applied else "it got worse",
        accuracy_before=0.9,
        accuracy_after=0.8,
        memory=50,
    )
    (decided,) = adapter.receive(answer)
    assert isinstance(decided, AdaptationDecided)
    assert (decided.outcome, decided.reason, decided.kind) == (outcome, answer.reason, "novel-class")
    assert (decided.label, decided.samples, decided.episode) == ("novel-1", proposal.samples, "e")
    assert (decided.accuracy_before, decided.accuracy_after, decided.memory) == (0.9, 0.8, 50)
    assert list(adapter.receive(answer)) == [], "one answer, one record"


def test_numbers_of_classes_and_decisions_go_on_after_a_restart() -> None:
    adapter, other = adapter_of(), adapter_of()
    first = proposals(list(adapter.receive(filled(clouds("d", 20, seed=3)[0]))))
    other.restore(adapter.state())
    second = proposals(list(other.receive(filled(clouds("e", 20, seed=3)[0]))))
    assert [one.label for one in first + second] == ["novel-1", "novel-2"]
    assert first[0].adaptation != second[0].adaptation


def test_what_may_be_taken_back_is_still_known_after_a_restart() -> None:
    adapter, other = adapter_of(), adapter_of()
    values = clouds("d", 20, seed=3)[0]
    (proposal,) = proposals(list(adapter.receive(filled(values))))
    list(adapter.receive(MemoryChanged(adaptation=proposal.adaptation, applied=True)))
    other.restore(codec.unpack(codec.pack(plain(adapter.state()))))
    for one in (adapter, other):
        withdrawn, _ = one.receive(filled(values, scope="global"))
        assert isinstance(withdrawn, PseudoWithdrawn)
        assert withdrawn.samples == proposal.samples
    undone = MemoryChanged(adaptation=proposal.adaptation, undone=True)
    assert list(other.receive(undone)) == list(adapter.receive(undone))


def test_the_seed_s_confidence_stands_in_the_record() -> None:
    adapter = Adapter(Seed(DIMENSION, 10.0), DIMENSION)
    (proposal,) = proposals(list(adapter.receive(filled(clouds("d", 12, seed=3)[0]))))
    (decided,) = adapter.receive(MemoryChanged(adaptation=proposal.adaptation, applied=True))
    assert isinstance(decided, AdaptationDecided)
    assert (decided.kind, decided.label) == ("pseudo-label", "a")
    assert decided.reason.startswith("confidence 0.")


# ---- with the other actors ---------------------------------------------------------------------------------------


def device(commissioning: int = 0) -> dict[str, Actor]:
    usual = statistics()
    return {
        "knn": Knn(memory(capacity=300), calibration(), "bundle-1", usual.scene),
        "drift_monitor": DriftMonitor(
            usual.scores(),
            SceneGate(usual.scene),
            Placing(usual.places),
            [SceneCusum(), SceneMewma(usual.places.shares, len(usual.places.whitening))],
            Ending(usual.usual, len(usual.places.whitening)),
            commissioning=commissioning,
        ),
        "quarantine": Quarantine(
            bundle="bundle-1", places=usual.places, k=5, usual_distance=usual.nearest, showing=Showing("features")
        ),
        "adapter": adapter_of(),
    }


def show(actors: dict[str, Actor], labels: str, seed: int, first: int, shift: float = 0.0) -> list[Message]:
    """One frame a letter; `shift` moves every frame, as a degraded sensor would."""
    chance = np.random.default_rng(seed)
    said = []
    for number, letter in enumerate(labels):
        values = centre(letter) + chance.normal(0, 1, DIMENSION).astype(np.float32) * (1 + shift)
        residual = float(chance.normal(2.0 if letter == "d" else 1.0 + shift, 0.2))
        said += deliver(features(values.astype(np.float32), first + number, residual), **actors)
    return said


def of_kind(said: list[Message], kind: type) -> list:
    return [message for message in said if type(message) is kind]


def test_an_unseen_class_is_noticed_kept_learned_named_and_then_it_is_usual() -> None:
    actors = device()
    assert of_kind(show(actors, "abc" * 100, seed=1, first=0), DriftDetected) == []
    said = show(actors, "abdcad" * 60, seed=2, first=1000)
    (detected,) = of_kind(said, DriftDetected)
    assert int(detected.frame[2:]) < 1060
    kept = of_kind(said, SampleQuarantined)
    assert len(kept) > 40
    (decided, *_) = of_kind(said, AdaptationDecided)
    assert (decided.outcome, decided.label) == ("applied", "novel-1")
    knn = actors["knn"]
    assert isinstance(knn, Knn)
    assert knn.memory.vote(centre("d")).label == "novel-1"
    named = deliver(
        LabelAssigned(sample=decided.samples[0], revision=1, verdict="is", label="pear", bundle="bundle-1"), **actors
    )
    (applied,) = of_kind(named, LabelApplied)
    assert applied.outcome == "applied"
    assert knn.memory.vote(centre("d")).label == "pear"
    later = show(actors, "abdcad" * 100, seed=3, first=3000)
    truth = ("abdcad" * 100).replace("d", "p")
    right = [one.label[:1] == true for one, true in zip(of_kind(later, Neighbours), truth, strict=True)]
    assert sum(right) / len(right) > 0.98
    assert of_kind(later, DriftDetected) == []


def test_a_degraded_sensor_is_noticed_and_makes_no_class() -> None:
    actors = device()
    show(actors, "abc" * 100, seed=1, first=0)
    said = show(actors, "abc" * 100, seed=2, first=1000, shift=1.5)
    assert len(of_kind(said, DriftDetected)) == 1
    assert {one.kind for one in of_kind(said, AdaptationDecided)} == {"recentring"}
    assert of_kind(said, PseudoLabelled) == []


@given(st.lists(st.sampled_from(["abc", "abd", "dde", "dd", "ef", "abcdef"]), max_size=5), st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_whatever_comes_no_quarantined_frame_ever_gets_an_existing_label(worlds: list[str], seed: int) -> None:
    actors = device()
    knn = actors["knn"]
    assert isinstance(knn, Knn)
    said = []
    for number, world in enumerate(worlds):
        said += show(actors, world * 25, seed + number, first=1000 * number)
    kept = {one.sample for one in of_kind(said, SampleQuarantined)}
    held = knn.memory
    learned = dict(zip(held.samples[held.reference :], held.labels[held.reference :], strict=True))
    assert set(learned) <= kept, "only quarantined samples are learned"
    assert not set(learned.values()) & set("abc")
    assert held.labels[: held.reference] == memory().labels
    for proposal in of_kind(said, PseudoLabelled):
        assert proposal.label.startswith("novel-")
    answered = of_kind(said, MemoryChanged)
    recorded = of_kind(said, AdaptationDecided)
    assert [one.adaptation for one in answered] == [one.adaptation for one in recorded if one.accuracy_before]
