"""What is decided about bundles survives a power cut at every step, and always names one that can run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.messages import ModelDesired
from edge_actors.errors import StateDirectoryError
from edge_actors.ports.kept import Kept
from edge_actors.remote.ledger import MOST_STARTS, MOST_TRIES, SETUP, Ledger, Trial

OLD, NEW = "a" * 64, "b" * 64


def ledger(directory: Path) -> Ledger:
    return Ledger(Kept(directory / "models.json"))


def wish(revision: int = 1, digest: str = NEW) -> ModelDesired:
    return ModelDesired(revision=revision, digest=digest, url="file:///x", size=3, sha256="c" * 64)


def test_a_bundle_is_wanted_tried_and_kept(tmp_path: Path) -> None:
    held = ledger(tmp_path)
    assert held.bundle == SETUP
    assert held.wanted(wish())
    assert held.needed() == {NEW}
    assert held.bundle == SETUP
    assert held.tries()
    held.tries_to_run(Trial(digest=NEW), {"agreement": 0.9})
    held = ledger(tmp_path)
    assert held.bundle == NEW
    assert held.begins()
    held.commit("s" * 64, {"trial_frames": 60.0})
    held = ledger(tmp_path)
    assert (held.bundle, held.page.previous, held.page.phase) == (NEW, SETUP, "committed")
    assert held.page.metrics == {"agreement": 0.9, "trial_frames": 60.0}


def test_an_older_wish_or_the_same_is_ignored(tmp_path: Path) -> None:
    held = ledger(tmp_path)
    assert held.wanted(wish(5))
    assert not held.wanted(wish(5))
    assert not held.wanted(wish(4, OLD))


def test_what_was_rolled_back_is_remembered_and_the_one_before_it_runs(tmp_path: Path) -> None:
    held = on_trial(tmp_path)
    held.roll_back("it is slow")
    held = ledger(tmp_path)
    assert (held.bundle, held.page.phase, held.page.reason) == (OLD, "rolled-back", "it is slow")
    assert held.page.refused == {NEW: "it is slow"}


def test_a_bundle_with_which_the_device_does_not_stay_up_goes(tmp_path: Path) -> None:
    on_trial(tmp_path)
    for _ in range(MOST_STARTS):
        held = ledger(tmp_path)
        assert held.begins()
        assert held.bundle == NEW
    held = ledger(tmp_path)
    assert not held.begins()
    assert held.bundle == OLD
    assert "did not stay up with it: 3 starts" in held.page.reason


def test_a_clean_stop_is_not_the_fault_of_the_bundle_on_trial(tmp_path: Path) -> None:
    on_trial(tmp_path)
    for _ in range(2 * MOST_STARTS):
        held = ledger(tmp_path)
        assert held.begins()
        held.ends()
    assert held.bundle == NEW


def test_a_wish_that_takes_the_device_down_is_given_up(tmp_path: Path) -> None:
    held = ledger(tmp_path)
    held.wanted(wish())
    assert [ledger(tmp_path).tries() for _ in range(MOST_TRIES + 1)] == [True] * MOST_TRIES + [False]


def test_what_does_not_load_gives_way_until_the_setup_is_reached(tmp_path: Path) -> None:
    held = on_trial(tmp_path)
    assert held.gives_up("it is damaged")
    assert held.bundle == OLD
    assert held.gives_up("the card is damaged")
    assert held.bundle == SETUP
    assert not held.gives_up("so is this")


def test_a_damaged_ledger_runs_what_the_device_was_set_up_with(tmp_path: Path) -> None:
    on_trial(tmp_path)
    (tmp_path / "models.json").write_bytes(b"{")
    assert ledger(tmp_path).bundle == SETUP


def on_trial(directory: Path) -> Ledger:
    """OLD was kept, NEW is on trial."""
    held = ledger(directory)
    held.wanted(wish(1, OLD))
    held.tries_to_run(Trial(digest=OLD), {})
    held.commit("", {})
    held.wanted(wish(2, NEW))
    held.tries_to_run(Trial(digest=NEW), {})
    return held


STEPS: list[Callable[[Ledger], Any]] = [
    lambda held: held.wanted(wish(1, OLD)),
    lambda held: held.tries(),
    lambda held: held.tries_to_run(Trial(digest=OLD), {}),
    lambda held: held.begins(),
    lambda held: held.commit("", {}),
    lambda held: held.wanted(wish(2, NEW)),
    lambda held: held.tries_to_run(Trial(digest=NEW), {}),
    lambda held: held.begins(),
    lambda held: held.ends(),
    lambda held: held.roll_back("it is slow"),
    lambda held: held.back_to_setup("committed"),
]


@pytest.mark.parametrize("cut", range(len(STEPS)))
@pytest.mark.parametrize("torn", ["fsync", "rename"])
def test_a_power_cut_in_a_step_leaves_the_step_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int, torn: str
) -> None:
    """The write of step `cut` ends in the middle: half a file lies beside, or a whole one that has no name yet."""
    held = ledger(tmp_path)
    for step in STEPS[:cut]:
        step(held)
    before = ledger(tmp_path).page

    def fail(*_: object) -> None:
        raise OSError(5, "the power is gone")

    monkeypatch.setattr("os.fsync" if torn == "fsync" else "pathlib.Path.rename", fail)
    monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)  # nobody tidies up after a power cut
    with pytest.raises(StateDirectoryError):
        STEPS[cut](held)
    monkeypatch.undo()
    after = ledger(tmp_path)
    assert after.page == before
    assert held.page == before, "what is not on the disk is not decided"
    for step in STEPS[cut:]:
        step(after)
    assert after.bundle == SETUP
