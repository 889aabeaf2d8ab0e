"""An episode has one beginning, one end, and a few words between."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from broker import codec
from broker.messages import (
    CameraDoubted,
    DriftCleared,
    DriftContinued,
    DriftDetected,
    Float32Array,
    LabelResolved,
    Message,
    Neighbours,
    SampleQuarantined,
    Scored,
)
from edge_actors.algorithms.cusum import SceneCusum
from edge_actors.algorithms.detector import Observation
from edge_actors.algorithms.ending import Ending
from edge_actors.algorithms.error_rate import ErrorRate
from edge_actors.algorithms.mewma import Places
from edge_actors.algorithms.page_hinkley import PageHinkley
from edge_actors.algorithms.placing import Placing
from edge_actors.algorithms.recovery import usual_shares
from edge_actors.algorithms.scene_gate import SceneGate
from edge_actors.algorithms.scores import ClassScores, Usual
from edge_actors.drift_monitor import COMMISSIONING_SCENES, MOST_SAMPLES_TOLD, DriftMonitor
from edge_actors.runtime.states import plain

from .learning import DIMENSION, kinds, neighbours

STANDARD = (Usual(0.0, 1.0), Usual(0.0, 1.0))
SHARES = usual_shares(np.random.default_rng(0).normal(0, 1, 400).clip(-2.5, 2.5).tolist())


def monitor(commissioning: int = 0, continue_every: int = 50) -> DriftMonitor:
    """One for which the residual of a frame is its score."""
    return DriftMonitor(
        ClassScores(STANDARD, {"a": STANDARD, "b": STANDARD}, Usual(0.0, 1.0)),
        SceneGate(1.0),
        Placing(Places({}, {}, np.eye(DIMENSION, dtype=np.float32))),
        [SceneCusum()],
        Ending(SHARES, DIMENSION),
        commissioning=commissioning,
        continue_every=continue_every,
    )


class Stream:
    """Feeds frames with ever new numbers and keeps what was said."""

    def __init__(self, actor: DriftMonitor) -> None:
        self.actor, self.said, self.number = actor, list[Message](), 0
        self.chance = np.random.default_rng(1)

    def frames(self, n: int, mean: float, label: str = "a", moved: bool = True) -> list[Message]:
        told = []
        for residual in self.chance.normal(mean, 1, n).tolist():
            self.number += 1
            told += list(self.actor.receive(neighbours(self.number, residual, label, moved)))
        self.said += told
        return told


def events(said: Iterable[Message]) -> list[str]:
    return [kind for kind in kinds(said) if kind != "Scored"]


def of_kind(said: Iterable[Message], kind: type) -> list:
    return [message for message in said if type(message) is kind]


def test_scores_every_frame_and_stays_silent_while_nothing_changes() -> None:
    said = Stream(monitor()).frames(5000, 0.0)
    assert kinds(said) == ["Scored"] * 5000
    assert not any(scored.in_drift or scored.episode for scored in said)


def test_a_score_comes_with_all_that_the_quarantine_needs() -> None:
    (scored,) = monitor().receive(neighbours(3, 1.25, "b"))
    shown = neighbours(3, 1.25, "b")
    assert scored == Scored(
        at=shown.at,
        frame="b-3",
        label="b",
        confidence=1.0,
        distances=shown.distances,
        labels=shown.labels,
        values=shown.values,
        score=1.25,
        scene=True,
    )


def test_speaks_once_when_frames_become_strange() -> None:
    stream = Stream(monitor(continue_every=10_000))
    stream.frames(300, 0.0)
    said = stream.frames(100, 1.8)
    (detected,) = of_kind(said, DriftDetected)
    assert events(said) == ["DriftDetected"]
    assert detected.episode == detected.frame
    assert 300 < detected.frames <= 330
    assert (detected.detector, detected.drift_type, detected.threshold) == ("scene-cusum", "residual", 1.0)
    assert 1 < detected.statistic == detected.severity < 2


def test_what_a_doubted_camera_shows_is_scored_and_is_no_evidence() -> None:
    stream = Stream(monitor())
    stream.frames(100, 0.0)
    before = stream.actor.state() | {"blind": True}
    assert list(stream.actor.receive(CameraDoubted(reasons=("black",)))) == []
    said = stream.frames(1000, 5.0)
    assert kinds(said) == ["Scored"] * 1000
    assert not any(scored.scene or scored.in_drift for scored in said)
    assert stream.actor.state() == before
    again = monitor()
    again.restore(plain(before))
    assert kinds(again.receive(neighbours(1, 5.0))) == ["Scored"]
    assert list(stream.actor.receive(CameraDoubted())) == []
    assert "DriftDetected" in kinds(stream.frames(100, 2.0))


def test_frames_of_an_episode_say_so_from_the_one_that_began_it() -> None:
    stream = Stream(monitor())
    said = stream.frames(60, 2.0)
    (detected,) = of_kind(said, DriftDetected)
    for scored in of_kind(said, Scored):
        within = int(scored.frame[2:]) >= int(detected.frame[2:])
        assert (scored.in_drift, scored.episode) == (within, detected.frame if within else "")


def test_the_event_comes_before_the_score_of_its_frame() -> None:
    said = Stream(monitor()).frames(60, 2.0)
    at = kinds(said).index("DriftDetected")
    assert said[at + 1].frame == said[at].frame


def test_goes_on_at_a_limited_rate_and_names_what_was_quarantined_meanwhile() -> None:
    stream = Stream(monitor(continue_every=50))
    (detected,) = of_kind(stream.frames(40, 2.0), DriftDetected)
    for sample, episode in (("s-1", detected.episode), ("s-2", "another"), ("s-3", detected.episode)):
        assert list(stream.actor.receive(SampleQuarantined(sample=sample, episode=episode))) == []
    said = of_kind(stream.frames(100, 2.0), DriftContinued)
    assert [(one.frames, one.samples) for one in said] == [(50, ("s-1", "s-3")), (100, ())]
    assert all(one.episode == detected.episode for one in said)
    assert said[-1].severity <= 10


def test_no_message_grows_without_bound() -> None:
    stream = Stream(monitor(continue_every=50))
    (detected,) = of_kind(stream.frames(40, 2.0), DriftDetected)
    for number in range(2 * MOST_SAMPLES_TOLD):
        list(stream.actor.receive(SampleQuarantined(sample=f"s-{number}", episode=detected.episode)))
    (said,) = of_kind(stream.frames(50, 2.0), DriftContinued)
    assert len(said.samples) == MOST_SAMPLES_TOLD


def test_speaks_once_when_the_stream_is_back_and_is_quiet_afterwards() -> None:
    stream = Stream(monitor(continue_every=10_000))
    stream.frames(200, 0.0)
    (detected,) = of_kind(stream.frames(200, 2.0), DriftDetected)
    said = stream.frames(3000, 0.0)
    (cleared,) = of_kind(said, DriftCleared)
    assert events(said) == ["DriftCleared"]
    assert cleared.episode == detected.episode
    assert cleared.statistic > cleared.threshold
    assert 200 - 30 < cleared.frames < 200 + 30
    assert cleared.reason


def test_a_second_drift_is_another_episode() -> None:
    stream = Stream(monitor(continue_every=10_000))
    for _ in range(2):
        stream.frames(300, 0.0)
        stream.frames(100, 2.0)
    stream.frames(300, 0.0)
    assert events(stream.said) == ["DriftDetected", "DriftCleared"] * 2
    first, second = of_kind(stream.said, DriftDetected)
    assert first.episode != second.episode


def test_a_few_frames_that_look_good_do_not_end_an_episode() -> None:
    stream = Stream(monitor(continue_every=10_000))
    stream.frames(100, 2.0)
    for _ in range(40):
        stream.frames(3, 0.0)
        stream.frames(7, 2.0)
    assert events(stream.said) == ["DriftDetected"]


def test_one_strange_scene_is_no_drift_however_long_it_is_held() -> None:
    stream = Stream(monitor())
    stream.frames(200, 0.0)
    assert events(stream.frames(2000, 2.4, moved=False)) == []


# ---- commissioning -----------------------------------------------------------------------------------------------


def test_in_commissioning_there_is_no_alarm_and_afterwards_its_usual_is_usual() -> None:
    stream = Stream(monitor(commissioning=300))
    assert events(stream.frames(300, 0.9)) == []
    assert events(stream.frames(3000, 0.9)) == [], "this camera shows things so; that is how it is here"
    assert events(stream.frames(100, 2.4))[0] == "DriftDetected"


def test_each_class_has_its_own_usual() -> None:
    stream = Stream(monitor(commissioning=400))
    for _ in range(200):
        stream.frames(1, 1.0, "a")
        stream.frames(1, -1.0, "b")
    offsets = stream.actor.scores.offsets
    assert offsets["a"] == pytest.approx(0.9, abs=0.2)
    assert offsets["b"] == pytest.approx(-0.9, abs=0.2)


def test_a_camera_that_dwells_is_given_more_frames_but_not_for_ever() -> None:
    dwelling = Stream(monitor(commissioning=100))
    for _ in range(COMMISSIONING_SCENES // 3):
        assert not dwelling.actor.settled
        dwelling.frames(8, 0.0, moved=False)
        dwelling.frames(2, 0.0)
    dwelling.frames(1, 0.0, moved=False)
    assert dwelling.actor.settled, "60 scenes ended"
    frozen = Stream(monitor(commissioning=100))
    frozen.frames(399, 0.0, moved=False)
    assert not frozen.actor.settled
    frozen.frames(1, 0.0, moved=False)
    assert frozen.actor.settled


def test_frames_since_commissioning_are_counted() -> None:
    stream = Stream(monitor(commissioning=100))
    stream.frames(100, 0.0)
    (detected,) = of_kind(stream.frames(60, 2.4), DriftDetected)
    assert detected.frames == int(detected.frame[2:]) - 100


# ---- states ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [0, 30, 120, 260, 330, 700])
def test_a_restored_state_has_the_same_future(frames: int) -> None:
    """Stopped before anything, in commissioning, at rest, in drift, in recovery, afterwards."""
    one, other = Stream(monitor(commissioning=100)), Stream(monitor(commissioning=100))
    means = [0.2] * 250 + [2.0] * 60 + [0.0] * 590
    for mean in means[:frames]:
        one.frames(1, mean)
    other.actor.restore(codec.unpack(codec.pack(plain(one.actor.state()))))
    other.number, other.chance = one.number, np.random.default_rng(2)
    one.chance = np.random.default_rng(2)
    for mean in means[frames:]:
        assert one.frames(1, mean) == other.frames(1, mean)
    assert one.actor.state() == other.actor.state()


def test_a_state_of_another_detector_begins_that_one_afresh() -> None:
    stream = Stream(monitor())
    stream.frames(20, 2.0)
    state = plain(stream.actor.state())
    state["detectors"] = {"another": {"whatever": 1}}
    fresh = monitor()
    fresh.restore(state)
    assert fresh.detectors[0].state() == SceneCusum().state()
    assert fresh.frames == 20


def test_a_state_of_an_earlier_version_is_learned_anew_and_stops_nothing() -> None:
    stream = Stream(monitor(commissioning=50))
    stream.frames(60, 0.0)
    state = plain(stream.actor.state())
    del state["placing"]
    fresh = monitor(commissioning=50)
    fresh.restore(state)
    assert (fresh.frames, fresh.settled) == (0, False)


# ---- several detectors -------------------------------------------------------------------------------------------


class Stubborn(SceneCusum):
    """Never raises an alarm, and sees a drift for as long as it is told to."""

    name, sees = "stubborn", True

    def update(self, seen: Observation) -> float:
        super().update(seen)
        return 0.0

    def holds(self) -> bool:
        return self.sees


def test_an_episode_ends_only_when_no_detector_sees_the_drift_any_more() -> None:
    actor, stubborn = monitor(continue_every=10_000), Stubborn()
    actor.detectors.append(stubborn)
    stream = Stream(actor)
    stream.frames(300, 2.0)
    stream.frames(500, 0.0)
    assert events(stream.said) == ["DriftDetected"]
    stubborn.sees = False
    assert events(stream.frames(5, 0.0)) == ["DriftCleared"]


def test_an_event_names_the_detector_that_saw_it_and_goes_on_to() -> None:
    actor = monitor(continue_every=50)
    actor.detectors.insert(0, Stubborn())
    said = Stream(actor).frames(200, 2.0)
    assert {one.detector for one in said if not isinstance(one, Scored)} == {"scene-cusum"}
    assert all(one.statistic > 0 for one in of_kind(said, DriftContinued))


def test_a_restored_episode_goes_on_with_the_detector_that_began_it() -> None:
    actor, other = monitor(), monitor()
    for one in (actor, other):
        one.detectors.insert(0, Stubborn())
    Stream(actor).frames(100, 2.0)
    other.restore(codec.unpack(codec.pack(plain(actor.state()))))
    assert other.detector.name == "scene-cusum"
    assert other.detector in other.detectors


def test_alarms_are_as_rare_in_time_however_long_scenes_last() -> None:
    hasty, dwelling = Stream(monitor(commissioning=300)), Stream(monitor(commissioning=300))
    for _ in range(300):
        hasty.frames(1, 0.0)
    for _ in range(100):
        dwelling.frames(2, 0.0)
        dwelling.frames(4, 0.0, moved=False)
    assert hasty.actor.dwell == pytest.approx(1.0, abs=0.01)
    assert 3 < dwelling.actor.dwell < 5
    assert all(a > b for a, b in zip(thresholds(hasty.actor), thresholds(dwelling.actor), strict=True))
    other = monitor(commissioning=300)
    other.restore(codec.unpack(codec.pack(plain(dwelling.actor.state()))))
    assert thresholds(other) == thresholds(dwelling.actor)


def thresholds(actor: DriftMonitor) -> list[float]:
    (cusum,) = actor.detectors
    assert isinstance(cusum, SceneCusum)
    return [one.threshold for one in cusum.sums]


# ---- detectors with rules of their own ---------------------------------------------------------------------------


def far(number: int, distance: float) -> Neighbours:
    return replace(neighbours(number, 0.0), distances=Float32Array.of([distance] * 5))


def test_the_seeds_detector_ends_its_own_drift_by_its_own_rule() -> None:
    actor = monitor(continue_every=10_000)
    actor.detectors = [PageHinkley()]
    said: list[Message] = []
    for number, distance in enumerate([10.0] * 100 + [20.0] * 30 + [10.0] * 50):
        said += actor.receive(far(number, distance))
    assert events(said) == ["DriftDetected", "DriftCleared"]
    detected, cleared = of_kind(said, DriftDetected)[0], of_kind(said, DriftCleared)[0]
    assert (detected.detector, detected.drift_type, detected.threshold) == ("page-hinkley", "knn-distance", 50.0)
    assert cleared.frame == "b-130", "the first frame that is near again"
    assert cleared.reason == "page-hinkley sees it no more"


def test_several_detectors_keep_one_episode_and_the_last_that_holds_ends_it() -> None:
    actor = monitor(continue_every=10_000)
    actor.detectors.append(PageHinkley())
    stream, said = Stream(actor), list[Message]()
    said += stream.frames(100, 0.0)
    said += stream.frames(60, 2.0)
    for number in range(60):  # scores are usual again, the distances are not
        said += actor.receive(far(1000 + number, 30.0))
    assert events(said) == ["DriftDetected"]
    for number in range(60):
        said += actor.receive(far(2000 + number, 1.0))
    assert events(said) == ["DriftDetected", "DriftCleared"]


def test_labels_that_say_wrong_too_often_are_a_drift_and_right_ones_end_it() -> None:
    actor = monitor(continue_every=10_000)
    actor.detectors = [ErrorRate(0.02)]
    said: list[Message] = []
    for number in range(300):
        sample, wrong = f"s-{number}", 60 <= number < 100
        said += actor.receive(SampleQuarantined(sample=sample, label="a"))
        said += actor.receive(LabelResolved(sample=sample, verdict="is", label="b" if wrong else "a"))
        said += actor.receive(neighbours(number, 0.0))
    assert events(said) == ["DriftDetected", "DriftCleared"]
    (detected,) = of_kind(said, DriftDetected)
    assert detected.drift_type == "error-rate"
    assert 60 < int(detected.frame[2:]) < 100


def test_a_drift_that_lasts_is_told_ever_less_often() -> None:
    stream = Stream(monitor(continue_every=10))
    stream.frames(540, 2.0)
    told = [one.frames for one in of_kind(stream.said, DriftContinued)]
    assert told == [*range(10, 101, 10), 200, 300, 400, 500]


def test_scores_of_a_drift_say_how_far_they_depart_and_others_nothing() -> None:
    stream = Stream(monitor(continue_every=10_000))
    usual = of_kind(stream.frames(300, 0.0), Scored)
    drifting = of_kind(stream.frames(100, 2.4), Scored)
    assert {one.departure for one in usual} == {0.0}
    assert np.median([one.departure for one in drifting if one.in_drift]) > 1.5
    assert {one.departure for one in drifting if not one.in_drift} == {0.0}
