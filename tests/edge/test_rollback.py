"""A person can see what states a device keeps, and make it go on from an earlier one."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker import cli
from broker.messages import Float32Array, SnapshotSaved, Uint8Array
from edge_actors.ports.kept_snapshots import ROLLBACK, chosen, go_back, kept, newest
from edge_actors.ports.snapshots import Snapshot, SnapshotStore
from edge_actors.ports.state_directory import StateDirectory
from edge_actors.snapshot_summary import lost, summary
from tests.support import wait_until

BUNDLE = "d" * 64


def states(**labels: int) -> dict[str, Any]:
    """What the actors of a device keep, as far as it is told of; the revision of each labelled sample."""
    return {
        "knn": {
            "memory": {"rows": Float32Array.of([1.0]), "origins": Uint8Array([1, 2, 2])},
            "revisions": labels,
        },
        "quarantine": {"samples": {"entries": [["s1"], ["s2"]]}},
        "drift_monitor": {"frames": 1200, "episode": "b-1-7", "settled": True},
        "state_manager": {"waiting": {"s1": [1, "applied", ""]}, "covered": {}},
        "uplink": {"at": 90.0, "wall_us": 1_795_000_000_000_000, "clock": "synced"},
    }


def snapshot(number: int, **changes: Any) -> Snapshot:
    made = Snapshot(
        snapshot=f"b-1-s{number}",
        at=100.0 * number,
        boot="b-1",
        bundle=BUNDLE,
        applied=10 * number,
        reason="label",
        states=states(),
    )
    return replace(made, **changes)


def write(directory: Path, *snapshots: Snapshot) -> None:
    answers: list[SnapshotSaved] = []
    store = SnapshotStore(directory / "snapshots", answers.append)
    for one in snapshots:
        store.save(one)
        wait_until(lambda one=one: one.snapshot in [answer.snapshot for answer in answers])  # type: ignore[misc]
    assert store.close()


def latest(directory: Path) -> Snapshot | None:
    store = SnapshotStore(directory / "snapshots", lambda saved: None)
    try:
        return store.latest()
    finally:
        store.close()


def edge(*arguments: str) -> int:
    return cli.main(["edge", *arguments])


def test_the_list_tells_what_each_snapshot_holds_and_which_is_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, snapshot(1), snapshot(2), snapshot(3))
    ruined = tmp_path / "snapshots" / "00000003.snapshot"
    ruined.write_bytes(ruined.read_bytes()[:-1])
    before = {path: path.read_bytes() for path in (tmp_path / "snapshots").iterdir()}
    assert edge("snapshots", "--state-dir", str(tmp_path), "--json") == 0
    first, second, third = json.loads(capsys.readouterr().out)
    assert (first["snapshot"], first["reason"], first["next_start"], first["whole"]) == (
        "b-1-s1",
        "label",
        False,
        True,
    )
    told = {name: second[name] for name in ("from_people", "from_itself", "quarantined", "frames", "episode")}
    assert told == {"from_people": 1, "from_itself": 2, "quarantined": 2, "frames": 1200, "episode": "b-1-7"}
    assert (second["next_start"], second["bundle"], second["waiting_labels"]) == (True, BUNDLE, 1)
    assert (third["whole"], third["next_start"]) == (False, False)
    assert "checksum is wrong" in third["problem"]
    assert edge("snapshots", "--state-dir", str(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[0] for line in lines] == [" ", " ", ">", " "]
    assert "2026-11-18" in lines[1]
    assert "drift since b-1-7" in lines[1]
    assert {path: path.read_bytes() for path in (tmp_path / "snapshots").iterdir()} == before


def test_a_device_without_snapshots_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path)
    assert edge("snapshots", "--state-dir", str(tmp_path)) == 0
    assert capsys.readouterr().out == "there is no snapshot yet\n"
    assert edge("rollback", "--state-dir", str(tmp_path), "1", "--yes") == 2
    assert "no snapshot is whole" in capsys.readouterr().err


def test_the_state_directory_is_found_as_the_device_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / ".local" / "state" / "tinyml" / "dev1"
    write(home, snapshot(1))
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tmp_path / "device.toml"
    config.write_text('device = "dev1"\nbundle = "some.bundle"\n')
    for arguments in (["--device", "dev1"], ["--config", str(config)], ["--state-dir", str(home)]):
        assert edge("snapshots", *arguments) == 0
        assert "b-1-s1" in capsys.readouterr().out
    monkeypatch.setenv("STATE_DIRECTORY", str(home))
    assert edge("snapshots") == 0
    assert "b-1-s1" in capsys.readouterr().out


def test_the_next_start_goes_on_from_the_snapshot_gone_back_to_and_the_others_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = snapshot(1, states=states(s1=1)), snapshot(2, states=states(s1=2, s9=1))
    write(tmp_path, old, new)
    assert edge("rollback", "--state-dir", str(tmp_path), "b-1-s1", "--yes") == 0
    said = capsys.readouterr().out
    assert "2 labels of people" in said
    assert "s1, s9" in said
    back = latest(tmp_path)
    assert back is not None
    assert back.states == old.states
    assert (back.reason, back.snapshot) == (f"{ROLLBACK}b-1-s1", "b-1-s1-back3")
    assert (back.at, back.applied) == (new.at, new.applied), "message time never goes back"
    assert edge("rollback", "--state-dir", str(tmp_path), "2", "--yes") == 0
    again = latest(tmp_path)
    assert again is not None
    assert again.states == new.states


def test_nothing_happens_without_a_yes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, snapshot(1), snapshot(2))
    for terminal, answer in ((False, "y"), (True, ""), (True, "no")):
        monkeypatch.setattr("sys.stdin.isatty", lambda here=terminal: here)
        monkeypatch.setattr("builtins.input", lambda text, said=answer: said if "[y/N]" in text else text)
        assert edge("rollback", "--state-dir", str(tmp_path), "1") == 1
        assert "nothing was changed" in capsys.readouterr().out
    assert latest(tmp_path) == snapshot(2)
    monkeypatch.setattr("builtins.input", lambda text: "y")
    assert edge("rollback", "--state-dir", str(tmp_path), "1") == 0


def test_what_the_device_cannot_go_back_to_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, snapshot(1, bundle="e" * 64), snapshot(2), snapshot(3))
    ruined = tmp_path / "snapshots" / "00000002.snapshot"
    ruined.write_bytes(b"x" * 100)
    for name, sentence in {
        "b-1-s1": "it belongs to the bundle eeeeeeeeeeee, the device runs dddddddddddd",
        "2": "its checksum is wrong",
        "b-1-s8": "there is no such snapshot; there are: b-1-s1, b-1-s3",
    }.items():
        assert edge("rollback", "--state-dir", str(tmp_path), name, "--yes") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert sentence in line
    assert latest(tmp_path) == snapshot(3)


def test_a_running_device_is_not_rolled_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, snapshot(1), snapshot(2))
    running = StateDirectory(tmp_path)
    assert edge("rollback", "--state-dir", str(tmp_path), "1", "--yes") == 2
    assert "another device process is running on it" in capsys.readouterr().err
    running.release()


def test_a_disk_that_refuses_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, snapshot(1), snapshot(2))

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    assert edge("rollback", "--state-dir", str(tmp_path), "1", "--yes") == 2
    monkeypatch.undo()
    assert latest(tmp_path) == snapshot(2)
    assert len(list((tmp_path / "snapshots").iterdir())) == 2


def test_a_snapshot_put_aside_as_damaged_keeps_its_number(tmp_path: Path) -> None:
    write(tmp_path, snapshot(1), snapshot(2))
    directory = tmp_path / "snapshots"
    (directory / "00000002.snapshot").rename(directory / "00000002.damaged")
    held = kept(directory)
    assert newest(held) == snapshot(1)
    go_back(directory, chosen(held, "1", BUNDLE), snapshot(1))
    assert sorted(path.name for path in directory.iterdir()) == [
        "00000001.snapshot",
        "00000002.damaged",
        "00000003.snapshot",
    ]


def test_what_another_version_left_out_counts_as_nothing() -> None:
    bare = snapshot(1, states={"knn": {"memory": 5}, "drift_monitor": {}})
    seen = summary(bare)
    assert (seen.labels, seen.from_people, seen.episode, seen.wall_us) == (0, 0, "", 0)
    assert lost(bare, bare) == []


def test_the_time_of_a_snapshot_is_marked_where_the_clock_was_not_synced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unsynced = states() | {"uplink": {"at": 100.0, "wall_us": 0, "clock": "unsynced"}}
    write(tmp_path, snapshot(1, states=unsynced))
    assert edge("snapshots", "--state-dir", str(tmp_path)) == 0
    assert f"~{time.strftime('%Y-%m', time.gmtime())}" in capsys.readouterr().out
