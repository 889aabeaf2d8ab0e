"""What was recognised leaves as one summary a window."""

from __future__ import annotations

import numpy as np

from broker import codec
from broker.messages import Float32Array, Predictions, Scored, Tick
from edge_actors.recorder import MAX_FRAMES, Recorder
from edge_actors.runtime.states import plain


def scored(number: int, label: str = "cat", at: float = 1.0) -> Scored:
    share = number / 100
    return Scored(
        at=at,
        frame=f"f-{number}",
        label=label,
        confidence=share,
        distances=Float32Array.of([share, 3 * share]),
        score=-share,
    )


def feed(recorder: Recorder, *messages: Scored | Tick) -> list[Predictions]:
    return [said for message in messages for said in recorder.receive(message)]


def test_speaks_once_a_window_and_counts_each_label() -> None:
    recorder = Recorder(window_s=60.0)
    frames = [scored(n, "dog" if n % 3 else "cat", at=100.0 + n) for n in range(30)]
    assert feed(recorder, Tick(at=100.0), *frames, Tick(at=159.9)) == []
    (said,) = feed(recorder, Tick(at=160.0))
    assert (said.at, said.seconds, said.frames) == (160.0, 60.0, 30)
    assert dict(zip(said.labels, said.counts, strict=True)) == {"cat": 10, "dog": 20}
    assert (said.each_frame, said.each_label) == ((), ())
    assert feed(recorder, Tick(at=220.0)) == [], "a window without frames is not worth a message"


def test_gives_the_quantiles_of_confidence_distance_and_score() -> None:
    recorder = Recorder()
    (said,) = feed(recorder, *[scored(n) for n in range(101)], Tick(at=61.0))
    wanted = [0.05, 0.25, 0.5, 0.75, 0.95]
    np.testing.assert_allclose(said.confidence.numbers(), wanted, rtol=1e-6)
    np.testing.assert_allclose(said.distance.numbers(), [2 * q for q in wanted], rtol=1e-6)
    np.testing.assert_allclose(said.score.numbers(), [-q for q in reversed(wanted)], rtol=1e-6)


def test_reports_each_frame_where_it_is_set_to() -> None:
    recorder = Recorder(each=True)
    (said,) = feed(recorder, scored(1, "dog"), scored(2, "cat"), scored(3, "dog"), Tick(at=99.0))
    labels = [said.labels[index] for index in said.each_label]
    assert list(zip(said.each_frame, labels, strict=True)) == [("f-1", "dog"), ("f-2", "cat"), ("f-3", "dog")]


def test_the_last_tick_ends_the_window() -> None:
    recorder = Recorder()
    (said,) = feed(recorder, Tick(at=5.0), scored(1, at=6.0), Tick(at=7.0, last=True))
    assert (said.frames, said.seconds) == (1, 2.0)


def test_a_window_ends_early_rather_than_grow_without_bound() -> None:
    recorder = Recorder(window_s=1e9, each=True)
    said = feed(recorder, *[scored(n) for n in range(MAX_FRAMES + 10)])
    assert [window.frames for window in said] == [MAX_FRAMES]
    assert len(recorder.frames) == 10


def test_goes_on_with_message_time_that_began_long_ago() -> None:
    recorder = Recorder(window_s=60.0)
    assert feed(recorder, Tick(at=1e6), scored(1, at=1e6 + 1), Tick(at=1e6 + 59)) == []
    (said,) = feed(recorder, Tick(at=1e6 + 60))
    assert (said.frames, said.seconds) == (1, 60.0)


def test_goes_on_from_its_state_as_if_nothing_had_happened() -> None:
    whole, first, second = Recorder(each=True), Recorder(each=True), Recorder(each=True)
    frames = [scored(n, "dog" if n % 3 else "cat", at=float(n)) for n in range(40)]
    feed(first, *frames[:25])
    second.restore(codec.unpack(codec.pack(plain(first.state()))))
    assert feed(second, *frames[25:], Tick(at=60.0)) == feed(whole, *frames, Tick(at=60.0)) != []


def test_does_not_report_a_window_again_after_a_restart_or_from_an_old_state() -> None:
    recorder = Recorder(window_s=60.0)
    feed(recorder, scored(1, at=10.0))
    state = plain(recorder.state())
    assert len(feed(recorder, Tick(at=70.0))) == 1
    recorder.restore(state)
    assert feed(recorder, Tick(at=300.0), Tick(at=360.0)) == [], "an old state, after a failure"
    recorder.restore(state)
    recorder.restarted()
    assert feed(recorder, Tick(at=20.0), Tick(at=90.0)) == []
