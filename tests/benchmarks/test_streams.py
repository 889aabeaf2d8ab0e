"""The streams keep what the protocol promises of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.drift import streams
from benchmarks.drift.pool import Pool
from benchmarks.drift.streams import LAST, Spec, Stream, make
from edge_actors.bundle.features import read_stream, read_table

ALL = [
    Spec("control-iid", "elm", frames=4000),
    Spec("control-dwell", "elm", frames=4000),
    Spec("prior", "elm", "ash"),
    *(Spec(group, "elm") for group in streams.UNSEEN),
    Spec("corruption", "elm", "fog", 4),
    Spec("corruption-gradual", "elm", "fog"),
    Spec("corruption-end", "elm", "fog"),
    Spec("forced", "elm"),
]


def every(spec: Spec) -> str:
    return spec.name


def lengths(stream: Stream) -> np.ndarray:
    return np.bincount(stream.scenes)


@pytest.mark.parametrize("spec", ALL, ids=every)
def test_a_picture_of_the_last_frames_never_occurs_before(pool: Pool, spec: Spec) -> None:
    shown = make(pool, spec).pictures
    assert not set(shown[-LAST:].tolist()) & set(shown[:-LAST].tolist())


@pytest.mark.parametrize("spec", ALL, ids=every)
def test_the_same_name_gives_the_same_stream_and_another_seed_another_one(pool: Pool, spec: Spec) -> None:
    again = make(pool, Spec(**vars(spec)))
    other = make(pool, Spec(**{**vars(spec), "seed": 1}))
    assert (make(pool, spec).pictures == again.pictures).all()
    assert (other.pictures != again.pictures).any()


@pytest.mark.parametrize("spec", ALL, ids=every)
def test_before_the_onset_only_known_things_are_shown_and_clean(pool: Pool, spec: Spec) -> None:
    stream = make(pool, spec)
    onset = stream.onset if stream.onset is not None else len(stream.labels)
    assert "elm" not in stream.labels[:onset]
    assert not stream.severities[:onset].any()
    if stream.onset is not None:
        assert streams.ONSET[0] <= stream.onset < streams.ONSET[1]


@pytest.mark.parametrize("spec", ALL, ids=every)
def test_features_are_those_of_the_pictures_that_are_shown(pool: Pool, spec: Spec) -> None:
    stream = make(pool, spec)
    features = stream.features(pool)
    clean = stream.severities == 0
    assert features.shape == (spec.frames, pool.clean().shape[2])
    assert (features[clean] == pool.clean()[stream.views[clean], stream.pictures[clean]]).all()
    if not clean.all():
        assert (features[~clean] != pool.clean()[stream.views[~clean], stream.pictures[~clean]]).any(axis=1).all()


def test_no_two_frames_of_an_iid_stream_in_a_row_show_the_same_picture(pool: Pool) -> None:
    stream = make(pool, Spec("control-iid", "elm", frames=4000))
    assert (np.diff(stream.pictures) != 0).all()


def test_scenes_are_held_for_eight_frames_on_average_in_fresh_views(pool: Pool) -> None:
    stream = make(pool, Spec("control-dwell", "elm", frames=20_000))
    held = lengths(stream)
    assert held.mean() == pytest.approx(8, rel=0.1)
    assert held.std() == pytest.approx(np.sqrt(8 * 7), rel=0.15)
    same = np.diff(stream.scenes) == 0
    assert (np.diff(stream.pictures)[same] == 0).all()
    assert (np.diff(stream.views)[same] != 0).mean() > 0.99


def test_known_classes_are_shown_evenly(pool: Pool) -> None:
    labels = make(pool, Spec("control-iid", "elm", frames=20_000)).labels
    assert {label: pytest.approx(1 / 3, abs=0.02) for label in ("ash", "beech", "cedar")} == {
        str(label): float((labels == label).mean()) for label in np.unique(labels)
    }


@pytest.mark.parametrize(("group", "share"), [("unseen-30", 0.3), ("unseen-10", 0.1), ("unseen-30-dwell", 0.3)])
def test_the_unseen_class_has_its_share_of_the_frames_from_the_onset_on(pool: Pool, group: str, share: float) -> None:
    stream = make(pool, Spec(group, "elm", frames=20_000))
    assert (stream.labels[stream.onset :] == "elm").mean() == pytest.approx(share, abs=0.04)


def test_a_recurring_class_comes_and_goes(pool: Pool) -> None:
    stream = make(pool, Spec("unseen-recurring", "elm"))
    drifting = np.zeros(3000, bool)
    for begin, end in stream.drifts:
        drifting[begin:end] = True
        assert (stream.labels[begin:end] == "elm").mean() == pytest.approx(0.5, abs=0.12)
    assert "elm" not in stream.labels[~drifting]
    assert {end - begin for begin, end in stream.drifts[:-1]} == {300}


def test_a_gradual_class_grows_to_half_of_the_frames(pool: Pool) -> None:
    stream = make(pool, Spec("unseen-gradual", "elm", frames=20_000))
    unseen = stream.labels == "elm"
    onset = stream.onset
    assert onset is not None
    assert unseen[onset : onset + 100].mean() < 0.15
    assert unseen[onset + 1000 :].mean() == pytest.approx(0.5, abs=0.02)


def test_a_class_that_rises_has_sixty_percent_and_nothing_is_unknown(pool: Pool) -> None:
    stream = make(pool, Spec("prior", "elm", "ash", frames=20_000))
    assert stream.drifts == ()
    assert (stream.labels[stream.changed :] == "ash").mean() == pytest.approx(0.6, abs=0.02)
    assert "elm" not in stream.labels


def test_corruptions_begin_grow_and_end_when_they_should(pool: Pool) -> None:
    lasting = make(pool, Spec("corruption", "elm", "noise", 2))
    growing = make(pool, Spec("corruption-gradual", "elm", "noise"))
    ending = make(pool, Spec("corruption-end", "elm", "noise"))
    assert set(lasting.severities[lasting.onset :].tolist()) == {2}
    assert growing.severities[growing.onset :: 200].tolist()[:6] == [1, 2, 3, 4, 5, 5]
    begin, end = ending.drifts[0]
    assert end - begin == 800
    assert set(ending.severities[begin:end].tolist()) == {4}
    assert not ending.severities[end:].any()


def test_the_protocol_names_every_stream_once_and_every_class_rises_once(pool: Pool) -> None:
    specs = list(streams.protocol(pool, "elm"))
    assert len({spec.name for spec in specs}) == len(specs)
    assert [spec.detail for spec in specs if spec.group == "prior"] == ["ash", "beech", "cedar"]
    assert {spec.severity for spec in specs if spec.group == "corruption"} == {1, 2, 3, 4, 5}
    assert streams.tasks(pool) == ["ash", "beech", "cedar", "elm"]
    assert len(streams.tasks(pool, streams.QUICK)) == 3


def test_an_unknown_stream_is_an_error(pool: Pool) -> None:
    with pytest.raises(ValueError, match="no stream"):
        make(pool, Spec("sunset", "elm"))


def test_a_stream_is_written_as_the_device_reads_it(pool: Pool, tmp_path: Path) -> None:
    stream = make(pool, Spec("unseen-30", "elm"))
    streams.write_stream(pool, stream, tmp_path / "S.npz")
    streams.write_reference(pool, "elm", tmp_path / "R.npz")
    read, table = read_stream(tmp_path / "S.npz"), read_table(tmp_path / "R.npz")
    assert (read.features == stream.features(pool)).all()
    assert list(read.labels or ()) == stream.labels.tolist()
    assert set(table.labels) == {"ash", "beech", "cedar"}
