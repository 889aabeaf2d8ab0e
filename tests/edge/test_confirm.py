"""A stopped device forgets what a receipt says is stored, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker import cli, receipt
from broker.errors import ReceiptError
from broker.messages import Stored
from edge_actors.ports.spool_copy import copy_of
from edge_actors.ports.state_directory import StateDirectory
from tests.edge.test_export import filled, opened


def waiting(state: Path) -> list[tuple[str, int]]:
    with copy_of(state, state.parent) as copy:
        return [(record.boot, record.seq) for record in copy.read()]


def confirm(state: Path, *stored: tuple[str, Stored]) -> int:
    file = state.parent / "some.receipt"
    file.write_bytes(receipt.to_bytes(stored))
    return cli.main(["edge", "confirm", str(file), "--state-dir", str(state)])


def test_what_is_stored_is_forgotten_and_the_rest_still_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    first, second = filled(state)
    stored = Stored(boot=first, ranges=((1, 10), (20, 50)))
    assert confirm(state, ("dev1", stored), ("dev1", Stored(boot=second, ranges=((50, 99),)))) == 0
    assert "42 records are stored and were forgotten; 58 still wait" in capsys.readouterr().out
    expected = [(first, seq) for seq in range(11, 20)] + [(second, seq) for seq in range(1, 50)]
    assert waiting(state) == expected
    assert confirm(state, ("dev1", stored)) == 0
    assert waiting(state) == expected
    with opened(state) as spool:  # and the spool goes on as ever
        assert spool.stats().records == 58
        assert spool.faults() == frozenset()


def test_a_receipt_of_another_device_or_boot_makes_it_forget_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (boot,) = filled(state, boots=1)
    everything = ((0, 1 << 50),)
    assert confirm(state, ("dev2", Stored(boot=boot, ranges=everything))) == 0
    assert confirm(state, ("dev1", Stored(boot="ffffffff-000001", ranges=everything))) == 0
    assert len(waiting(state)) == 50


def test_a_device_that_runs_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    (boot,) = filled(state, boots=1)
    running = StateDirectory(state)
    try:
        assert confirm(state, ("dev1", Stored(boot=boot, ranges=((1, 50),)))) == 2
    finally:
        running.release()
    assert "tinyml edge: " in capsys.readouterr().err
    assert len(waiting(state)) == 50


def test_a_receipt_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    path, told = tmp_path / "r", [("dev1", Stored(boot="0a1b2c3d-000001", ranges=((1, 9), (12, 13))))]
    data = receipt.to_bytes(told)
    path.write_bytes(data)
    assert receipt.read(path) == told
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        with pytest.raises(ReceiptError):
            receipt.read(path)
    for at in range(data.index(b"Stored"), len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ReceiptError):
            receipt.read(path)
    with pytest.raises(ReceiptError, match="no such file"):
        receipt.read(tmp_path / "none")
