"""Strange frames are kept once, told with as much of the picture as people allow, and asked about in time."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from broker import codec, topics
from broker.messages import (
    AdaptationDecided,
    CameraDoubted,
    DriftCleared,
    DriftDetected,
    Float32Array,
    Frame,
    LabelAssigned,
    LabelRequested,
    LabelResolved,
    Message,
    QuarantineFilled,
    SampleQuarantined,
    Scored,
)
from edge_actors.algorithms.mewma import Places
from edge_actors.algorithms.scope import AGAIN
from edge_actors.algorithms.scope import FIRST_FRAMES as JUDGED_FRAMES
from edge_actors.arrays import floats, packed
from edge_actors.privacy import Showing
from edge_actors.quarantine import ENOUGH, ENOUGH_MORE, Quarantine
from edge_actors.runtime.states import plain

from .learning import DIMENSION, kinds

EPISODE = "0123abcd-000001-100"
K = 5


def quarantine(
    privacy: str = "thumbnail",
    limit: int = 200,
    age_s: float = 1e6,
    moved: bool = False,
    budget: int = 0,
    judges: bool = True,
) -> Quarantine:
    """`moved`: it finds that its frames lie elsewhere than those of their class usually do; else nothing like it."""
    whitening = np.eye(DIMENSION, dtype=np.float32) * (1.0 if moved else 0.0)
    return Quarantine(
        bundle="bundle-1",
        places=Places({"a": np.zeros(DIMENSION, np.float32)}, {"a": 1.0}, whitening),
        k=K,
        usual_distance=1.0,
        showing=Showing(privacy),
        limit=limit,
        age_s=age_s,
        label_budget=budget,
        judges=judges,
    )


def begun(**options: object) -> Quarantine:
    actor = quarantine(**options)  # type: ignore[arg-type]
    list(actor.receive(DriftDetected(episode=EPISODE)))
    return actor


def scored(number: int, score: float = 2.0, place: float | None = None, **other: object) -> Scored:
    """A frame of the episode that shows something of its own, unless told otherwise."""
    values = np.zeros(DIMENSION, np.float32)
    values[0] = 10.0 * number if place is None else place
    said = Scored(
        at=float(number),
        frame=f"0123abcd-000001-{number}",
        label="a",
        confidence=0.6,
        distances=Float32Array.of([30.0, 31.0, 32.0, 33.0, 34.0]),
        labels=("a", "a", "a", "b", "b"),
        values=packed(values),
        score=score,
        scene=True,
        in_drift=True,
        episode=EPISODE,
    )
    return replace(said, **other)  # type: ignore[arg-type]


def picture(number: int, side: int = 120) -> Frame:
    pixels = np.full((side, side, 3), 90, np.uint8).tobytes()
    return Frame(frame=f"0123abcd-000001-{number}", pixels=pixels, height=side, width=side)


def feed(actor: Quarantine, *messages: Message) -> list[Message]:
    return [told for message in messages for told in actor.receive(message)]  # type: ignore[arg-type]


# ---- what is kept ------------------------------------------------------------------------------------------------


def test_keeps_a_strange_frame_of_a_drift_and_tells_all_about_it() -> None:
    actor = begun()
    (told,) = feed(actor, picture(101), scored(101))
    assert isinstance(told, SampleQuarantined)
    assert told.sample == "0123abcd-000001-101"
    assert (told.episode, told.bundle, told.label, told.confidence, told.score) == (
        EPISODE,
        "bundle-1",
        "a",
        0.6,
        2.0,
    )
    assert (told.neighbours, told.distances) == (scored(101).labels, scored(101).distances)
    assert told.values == scored(101).values
    assert topics.path_of(told) == "sample/0123abcd-000001-101"


def test_keeps_nothing_outside_a_drift_and_nothing_usual() -> None:
    actor = begun()
    assert feed(actor, scored(1, in_drift=False), scored(2, score=1.0)) == []
    assert len(actor.samples) == 0


def test_keeps_nothing_while_the_camera_is_doubted() -> None:
    actor = begun()
    assert feed(actor, CameraDoubted(reasons=("black",)), scored(1), scored(2)) == []
    assert kinds(feed(actor, CameraDoubted(), scored(3))) == ["SampleQuarantined"]


def test_keeps_one_frame_a_scene_though_not_always_the_first() -> None:
    actor = begun()
    said = feed(
        actor,
        scored(1, score=0.2),
        scored(2, scene=False),
        scored(3, scene=False),
        scored(4, scene=True),
        scored(5, scene=False),
    )
    assert [one.sample[-1] for one in said if isinstance(one, SampleQuarantined)] == ["2", "4"]


def test_keeps_nothing_that_it_already_has() -> None:
    actor = begun()
    assert len(feed(actor, scored(1, place=0.0), scored(2, place=0.85), scored(3, place=0.95))) == 2


@given(st.lists(st.tuples(st.floats(0, 8, width=32), st.floats(-1, 2.5), st.booleans()), max_size=60))
@settings(max_examples=40)
def test_kept_samples_are_strange_unlike_each_other_and_few(frames: list[tuple[float, float, bool]]) -> None:
    actor = begun(limit=4)
    for number, (place, score, scene) in enumerate(frames):
        feed(actor, scored(number, score, place, scene=scene))
    places = sorted(actor.samples.values[:, 0].tolist())
    assert len(places) <= 4
    assert all(b - a > 0.9 for a, b in pairwise(places))
    assert all(frames[int(entry.sample.rsplit("-")[-1])][1] > 1 for entry in actor.samples.entries)


def test_an_episode_adds_no_more_than_the_limit_and_the_next_one_replaces_the_oldest() -> None:
    actor = begun(limit=3)
    assert kinds(feed(actor, *map(scored, range(10)))) == ["SampleQuarantined"] * 3
    feed(actor, DriftCleared(episode=EPISODE), DriftDetected(episode="later"))
    feed(actor, *(scored(number, episode="later") for number in (20, 21)))
    assert [entry.sample.rsplit("-")[-1] for entry in actor.samples.entries] == ["2", "20", "21"]


def test_samples_that_grew_old_are_given_up() -> None:
    actor = begun(age_s=50.0)
    feed(actor, scored(1), scored(2), scored(60))
    assert [entry.sample.rsplit("-")[-1] for entry in actor.samples.entries] == ["60"]


# ---- what leaves of the picture ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("privacy", "size"), [("thumbnail", (96, 96)), ("picture", (120, 120))])
def test_the_picture_leaves_as_people_allow(privacy: str, size: tuple[int, int]) -> None:
    (told,) = feed(begun(privacy=privacy), picture(101), scored(101))
    assert isinstance(told, SampleQuarantined)
    assert Image.open(BytesIO(told.picture)).size == size
    assert (told.picture_type, told.width, told.height) == ("image/jpeg", 120, 120)


def test_with_privacy_features_nothing_of_the_picture_leaves() -> None:
    (told,) = feed(begun(privacy="features"), picture(101), scored(101))
    assert isinstance(told, SampleQuarantined)
    assert (told.picture, told.picture_type, told.width, told.height) == (b"", "", 0, 0)


def test_the_picture_of_another_frame_is_never_sent() -> None:
    (told,) = feed(begun(), picture(100), scored(101))
    assert isinstance(told, SampleQuarantined)
    assert told.picture == b""


# ---- when the adapter is asked -----------------------------------------------------------------------------------


def strange_and_usual(first: int, n: int, every: int = 2) -> list[Scored]:
    """One frame in `every` shows something new, the others are usual."""
    return [scored(first + i, score=2.0 if i % every == 0 else -0.5) for i in range(n)]


def asked(said: list[Message]) -> list[QuarantineFilled]:
    return [one for one in said if isinstance(one, QuarantineFilled)]


def test_asks_once_enough_samples_wait_and_the_drift_is_judged() -> None:
    actor = begun()
    said = feed(actor, *strange_and_usual(0, JUDGED_FRAMES - 1))
    assert asked(said) == [], "more than 40 wait, but it is not known yet what moved"
    (filled,) = asked(feed(actor, scored(500, score=-0.5)))
    assert (filled.scope, filled.episode, len(filled.samples)) == ("novel", EPISODE, 50)
    assert filled.statistic < filled.threshold
    assert floats(filled.values, DIMENSION).shape == (50, DIMENSION)
    assert set(floats(filled.memory_distances).tolist()) == {32.0}
    assert filled.predicted == ("a",) * 50
    assert set(filled.taken) == {""}


def test_asks_again_after_every_ten_more() -> None:
    actor = begun()
    feed(actor, *strange_and_usual(0, JUDGED_FRAMES))
    said = feed(actor, *map(scored, range(200, 200 + 2 * ENOUGH_MORE)))
    assert [len(one.samples) for one in asked(said)] == [60, 70]


def test_samples_that_became_a_class_are_told_as_such_and_more_of_it_is_asked_about() -> None:
    actor = begun()
    (filled,) = asked(feed(actor, *strange_and_usual(0, JUDGED_FRAMES)))
    feed(
        actor, AdaptationDecided(kind="novel-class", outcome="applied", label="novel-1", samples=filled.samples[:45])
    )
    (again,) = asked(feed(actor, *map(scored, range(200, 200 + ENOUGH_MORE))))
    assert again.taken == ("novel-1",) * 45 + ("",) * 15


def test_frames_taken_for_a_class_of_the_device_s_own_are_kept_though_they_are_usual_by_now() -> None:
    actor = begun()
    ours = scored(1, score=0.0, label="novel-1", labels=("a", *("novel-1",) * 4), rival=40.0)
    assert kinds(feed(actor, ours)) == ["SampleQuarantined"]
    assert actor.samples.memory_distances.tolist() == [30.0], "its own class is no memory to be far from"
    only = scored(2, score=0.0, label="novel-1", labels=("novel-1",) * 5, rival=40.0)
    feed(actor, only)
    assert actor.samples.memory_distances.tolist() == [30.0, 40.0]


def test_samples_of_a_class_that_was_not_taken_go_on_waiting() -> None:
    actor = begun()
    (filled,) = asked(feed(actor, *strange_and_usual(0, JUDGED_FRAMES)))
    feed(actor, AdaptationDecided(kind="novel-class", outcome="rejected", samples=filled.samples))
    (again,) = asked(feed(actor, *map(scored, range(200, 200 + ENOUGH_MORE))))
    assert len(again.samples) == 60


def test_no_class_is_made_again_of_samples_that_were_taken_back() -> None:
    actor = begun()
    (filled,) = asked(feed(actor, *strange_and_usual(0, JUDGED_FRAMES)))
    for outcome in ("applied", "rolled-back"):
        feed(actor, AdaptationDecided(kind="novel-class", outcome=outcome, label="novel-1", samples=filled.samples))
    assert actor.samples.pool() == []


def test_where_everything_moved_it_says_so_and_no_sample_ever_waits_for_a_class() -> None:
    actor = begun(moved=True)
    said = feed(actor, *map(scored, range(1, JUDGED_FRAMES + 1)))
    (filled,) = asked(said)
    assert (filled.scope, filled.samples) == ("global", ())
    assert filled.statistic > filled.threshold
    assert floats(filled.window, DIMENSION).shape == (JUDGED_FRAMES, DIMENSION)
    assert kinds(said).count("SampleQuarantined") > ENOUGH, "people still get to see them"
    assert actor.samples.pool() == []


def test_a_global_drift_is_looked_at_again_ever_more_seldom_while_nothing_helps() -> None:
    actor = begun(moved=True)
    looked = []
    for number in range(1, 1001):
        for filled in asked(feed(actor, scored(number))):
            looked.append(number)
            feed(actor, AdaptationDecided(kind="recentring", outcome="rejected", samples=filled.samples))
    assert looked == [JUDGED_FRAMES + sum(AGAIN * 2 ** (1 + n) for n in range(m)) for m in range(len(looked))]
    assert len(looked) == 4


def test_what_began_as_something_new_may_become_a_drift_of_everything() -> None:
    actor = begun(moved=True)
    told = asked(feed(actor, *(scored(n, 2.0 * (n % 2), place=0.0) for n in range(JUDGED_FRAMES))))
    assert [one.scope for one in told] == []
    assert actor.moved.scope == "novel"
    told = asked(feed(actor, *map(scored, range(1000, 1400))))
    assert told[-1].scope == "global"


def test_a_camera_that_dwells_is_judged_later() -> None:
    actor = begun(moved=True)
    said = feed(actor, *(scored(n, scene=n % 8 == 0) for n in range(1, 330)))
    (filled, *_) = asked(said)
    assert filled.at == 320


def test_samples_of_an_episode_that_ended_before_it_was_judged_are_for_people_only() -> None:
    actor = begun()
    feed(actor, *strange_and_usual(0, JUDGED_FRAMES - 1), DriftCleared(episode=EPISODE))
    assert len(actor.samples) == 50
    assert actor.samples.waiting() == []


# ---- labels ------------------------------------------------------------------------------------------------------


def label(sample: str, verdict: str = "is", **other: object) -> LabelAssigned:
    said = LabelAssigned(at=9.0, sample=sample, revision=4, verdict=verdict, label="pear", by="ann")
    return replace(said, **other)  # type: ignore[arg-type]


def resolved(actor: Quarantine, given: LabelAssigned) -> LabelResolved:
    (told,) = feed(actor, given)
    assert isinstance(told, LabelResolved)
    return told


def test_a_label_gets_the_features_of_its_sample() -> None:
    actor = begun()
    feed(actor, scored(1))
    told = resolved(actor, label("0123abcd-000001-1"))
    assert told.values == scored(1).values
    assert (told.at, told.revision, told.verdict, told.label, told.by, told.reason) == (
        9.0,
        4,
        "is",
        "pear",
        "ann",
        "",
    )


def test_a_labelled_sample_waits_for_a_class_no_longer() -> None:
    actor = begun()
    (filled,) = asked(feed(actor, *strange_and_usual(0, JUDGED_FRAMES)))
    for verdict, sample in zip(("is", "is-not", "unknown", "retract"), filled.samples, strict=False):
        resolved(actor, label(sample, verdict))
    waiting = {actor.samples.entries[row].sample for row in actor.samples.waiting()}
    assert waiting == set(filled.samples[4:])
    pool = {actor.samples.entries[row].sample for row in actor.samples.pool()}
    assert pool == {filled.samples[0], *filled.samples[4:]}, "what a person named may still give its name to others"


def test_a_label_also_speaks_of_the_two_nearest_samples() -> None:
    actor = begun()
    feed(actor, *strange_and_usual(0, JUDGED_FRAMES))
    feed(actor, *(scored(500 + n, place=5000.0 + 0.95 * n) for n in range(5)))
    told = resolved(actor, label("0123abcd-000001-502"))
    assert told.like == ("0123abcd-000001-501", "0123abcd-000001-503")
    assert floats(told.like_values, DIMENSION)[:, 0].tolist() == pytest.approx([5000.95, 5002.85], abs=1e-3)
    assert told.episode == EPISODE
    assert resolved(actor, label("0123abcd-000001-504", "is-not")).like == ()


# ---- questions ---------------------------------------------------------------------------------------------------


def requests(said: list[Message]) -> list[LabelRequested]:
    return [one for one in said if isinstance(one, LabelRequested)]


def test_asks_people_at_a_pace_and_within_the_budget_about_samples_they_can_see() -> None:
    actor = begun(budget=6)
    said = feed(actor, *strange_and_usual(0, 300))
    told = requests(said)
    assert [one.asked for one in told] == [1, 2, 3, 4, 5, 6]
    assert {one.budget for one in told} == {6}
    shown = {one.sample for one in said if isinstance(one, SampleQuarantined)}
    assert {one.sample for one in told} <= shown
    assert len({one.sample for one in told}) == 6
    assert [one.reason for one in told].count("random") == 1
    frames = [round(one.at) for one in told]
    assert all(b - a >= 10 for a, b in pairwise(frames))


def test_the_budget_is_there_again_after_a_month() -> None:
    actor = begun(budget=1)
    assert len(requests(feed(actor, *strange_and_usual(0, 200)))) == 1
    month = 31 * 86_400.0
    later = [replace(one, at=one.at + month) for one in strange_and_usual(1000, 40)]
    assert len(requests(feed(actor, *later))) == 1


def test_with_a_budget_of_nothing_nobody_is_asked() -> None:
    assert requests(feed(begun(), *strange_and_usual(0, 300))) == []


def test_where_everything_moved_people_are_asked_only_after_re_centring_and_about_what_is_unsure() -> None:
    actor = begun(moved=True, budget=9)
    assert requests(feed(actor, *map(scored, range(1, 200)))) == []
    feed(actor, AdaptationDecided(kind="recentring", outcome="applied"))
    assert requests(feed(actor, *(scored(n, confidence=0.8) for n in range(200, 250)))) == []
    (told, *_) = requests(feed(actor, scored(260, confidence=0.6)))
    assert told.reason == "unsure"
    feed(actor, AdaptationDecided(kind="recentring", outcome="rolled-back"))
    assert requests(feed(actor, *(scored(n, confidence=0.6) for n in range(300, 350)))) == []


def test_features_that_came_with_a_label_serve_when_the_sample_is_gone() -> None:
    brought = Float32Array.of(range(DIMENSION))
    told = resolved(quarantine(), label("gone-1", values=brought, bundle="bundle-1"))
    assert (told.values, told.reason) == (brought, "")


@pytest.mark.parametrize(
    ("values", "bundle", "reason"),
    [
        ([], "bundle-1", "no longer in quarantine, and the label brought no features"),
        ([1.0] * DIMENSION, "bundle-0", "belong to the bundle bundle-0, the device runs bundle-1"),
        ([1.0] * (DIMENSION - 1), "bundle-1", f"are not {DIMENSION} finite numbers"),
        ([float("nan")] * DIMENSION, "bundle-1", f"are not {DIMENSION} finite numbers"),
    ],
)
def test_a_label_whose_features_cannot_be_used_says_why(values: list[float], bundle: str, reason: str) -> None:
    told = resolved(quarantine(), label("gone-1", values=Float32Array.of(values), bundle=bundle))
    assert told.values == b""
    assert reason in told.reason


def test_after_something_new_was_learned_unsure_frames_are_still_asked_about_for_a_while() -> None:
    actor = begun(budget=50)
    feed(actor, *strange_and_usual(0, 60))
    feed(actor, *strange_and_usual(60, JUDGED_FRAMES), DriftCleared(episode=EPISODE))
    calm = [scored(1000 + n, score=0.0, in_drift=False, episode="", confidence=0.6) for n in range(1200)]
    said = feed(actor, *calm)
    told = requests(said)
    assert {one.reason for one in told} == {"unsure"}
    assert {one.sample for one in told} <= {one.sample for one in said if isinstance(one, SampleQuarantined)}
    assert told[-1].at < 2000 + 10, "a thousand scenes"
    sure = [replace(one, confidence=1.0) for one in calm]
    assert feed(begun(budget=50), DriftCleared(episode=EPISODE), *sure) == []


def test_one_that_does_not_judge_takes_all_that_is_strange_for_new() -> None:
    actor = quarantine(moved=True, judges=False)
    list(actor.receive(DriftDetected(episode=EPISODE)))
    (filled, *_) = asked(feed(actor, *map(scored, range(1, ENOUGH + 1))))
    assert (filled.scope, len(filled.samples)) == ("novel", ENOUGH)


# ---- states ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [0, 40, JUDGED_FRAMES - 1, JUDGED_FRAMES + 5])
def test_a_restored_state_has_the_same_future(stop: int) -> None:
    frames = [replace(one, scene=n % 3 < 2) for n, one in enumerate(strange_and_usual(0, 150))]
    actor, other = begun(limit=60, budget=5), quarantine(limit=60, budget=5)
    feed(actor, *frames[:stop])
    other.restore(codec.unpack(codec.pack(plain(actor.state()))))
    assert feed(other, *frames[stop:]) == feed(actor, *frames[stop:])
    assert codec.pack(other.state()) == codec.pack(actor.state())
    given = label(frames[0].frame)
    assert resolved(other, given) == resolved(actor, given)


def test_the_last_picture_is_not_part_of_the_state() -> None:
    actor = begun()
    before = len(codec.pack(actor.state()))
    feed(actor, picture(1))
    assert len(codec.pack(actor.state())) == before


def test_a_state_of_the_first_version_is_a_fresh_start() -> None:
    actor = quarantine()
    actor.restore({"samples": {}, "episode": "e", "scope": "", "kept_scene": False, "added": 0, "since_asked": 0})
    assert len(actor.samples) == 0
