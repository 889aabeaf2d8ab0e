"""What waits on a device can be carried to the server as a file, whatever the device is doing."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker import cli, codec, export, topics
from broker.errors import ExportFileError
from broker.messages import DriftDetected, Header, LogRecord, Message
from edge_actors.errors import SpoolTooNewError
from edge_actors.ports.spool import Spool
from edge_actors.ports.spool_copy import copy_of


@contextmanager
def opened(directory: Path) -> Iterator[Spool]:
    spool = Spool(directory, group_s=0.001, retry_s=0.05)
    try:
        yield spool
    finally:
        spool.close()


def put(spool: Spool, message: Message) -> None:
    header = Header(device="dev1", boot=spool.boot, seq=spool.next_seq)
    record = codec.encode(message, header)
    spool.append(header.seq, topics.rank_of(message), topics.path_of(message), record)


def filled(directory: Path, boots: int = 2, records: int = 50) -> list[str]:
    """A state directory with records of some boots; their ids."""
    directory.mkdir(exist_ok=True)
    made = []
    for _ in range(boots):
        with opened(directory) as spool:
            made.append(spool.boot)
            for number in range(records):
                put(spool, DriftDetected(episode=f"e{number}") if number % 3 else LogRecord(text="x" * 500))
            assert spool.flush()
    return made


def contents(path: Path) -> tuple[export.Export, list[tuple[str, int]]]:
    head, *records = export.read(path)
    assert isinstance(head, export.Export)
    headers = [codec.decode_record(record)[0] for record in records if isinstance(record, bytes)]
    return head, [(header.boot, header.seq) for header in headers]


def names_and_bytes(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("suffix", [".cborseq", ".cborseq.gz", ".cborseq.zst"])
def test_an_export_holds_every_record_in_order_says_whose_it_is_and_changes_nothing(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if suffix.endswith(".zst") and export.zstd() is None:
        pytest.skip("this Python has no zstd")
    state = tmp_path / "state"
    boots = filled(state)
    before = names_and_bytes(state)
    out = tmp_path / f"x{suffix}"
    assert cli.main(["edge", "export", "--state-dir", str(state), "-o", str(out)]) == 0
    assert "100 records of 2 boots" in capsys.readouterr().out
    head, keys = contents(out)
    assert (head.device, head.boot, head.boots, head.records) == ("dev1", boots[1], tuple(boots), 100)
    assert keys == [(boot, seq) for boot in boots for seq in range(1, 51)]
    assert names_and_bytes(state) == before
    assert list(tmp_path.glob(".tinyml*")) == list(tmp_path.glob("*.part")) == []


def test_zstd_is_refused_in_one_sentence_where_python_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(tmp_path / "state")
    monkeypatch.setattr(export, "ZSTD_MODULES", ())
    out = tmp_path / "x.zst"
    assert cli.main(["edge", "export", "--state-dir", str(tmp_path / "state"), "-o", str(out)]) == 2
    assert "this Python has no zstd" in capsys.readouterr().err
    assert not out.exists()
    out.write_bytes(export.ZSTD_MAGIC + b"anything")
    with pytest.raises(ExportFileError, match="packed with zstd"):
        list(export.read(out))


def test_standard_output_gets_the_plain_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "state", boots=1)
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    assert cli.main(["edge", "export", "--state-dir", str(tmp_path / "state"), "-o", "-"]) == 0
    assert isinstance(out.buffer, io.BytesIO)
    (tmp_path / "x").write_bytes(out.buffer.getvalue())
    assert len(contents(tmp_path / "x")[1]) == 50


def test_a_running_device_can_be_exported_and_what_is_read_is_consistent(tmp_path: Path) -> None:
    """The copy is checked as a whole, record by record, while the spool writes, forgets and begins new logs."""
    stop = threading.Event()
    with opened(tmp_path) as spool:
        confirmed = 0

        def work() -> None:
            nonlocal confirmed
            while not stop.is_set():
                for _ in range(20):
                    put(spool, LogRecord(text="x" * 4000))
                spool.flush()
                if spool.next_seq > 400 + confirmed:
                    spool.confirm(spool.boot, [(confirmed + 1, confirmed + 300)])
                    confirmed += 300
                stop.wait(0.002)

        working = threading.Thread(target=work)
        working.start()
        try:
            end = time.monotonic() + 30
            while confirmed < 900 and time.monotonic() < end:
                low = confirmed
                with copy_of(tmp_path, tmp_path) as copy:
                    seqs = [record.seq for record in copy.read()]
                assert not copy.damaged
                assert seqs == list(range(seqs[0], seqs[-1] + 1)) if seqs else True
                assert not seqs or seqs[0] > low
        finally:
            stop.set()
            working.join()
    assert confirmed >= 900


def test_what_was_flushed_before_is_in_the_export_of_a_running_device(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        put(spool, DriftDetected())
        assert spool.flush()
        with copy_of(tmp_path, tmp_path) as copy:
            assert [record.seq for record in copy.read()] == [1]
        assert not (tmp_path / "spool.damaged").exists()


def test_of_a_damaged_spool_what_can_be_saved_is_exported_and_the_spool_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    filled(state, boots=1, records=2000)
    with (state / "spool.db").open("r+b") as handle:
        handle.seek(40 * 4096)
        handle.write(b"\xa5" * 4096 * 4)
    before = names_and_bytes(state)
    out = tmp_path / "x.cborseq"
    assert cli.main(["edge", "export", "--state-dir", str(state), "-o", str(out)]) == 0
    assert "damaged" in capsys.readouterr().err
    head, keys = contents(out)
    assert head.damaged
    assert 1900 < len(keys) < 2000
    assert names_and_bytes(state) == before


def test_nothing_waits_is_an_export_too(tmp_path: Path) -> None:
    filled(tmp_path / "state", records=0, boots=1)
    out = tmp_path / "x.cborseq"
    assert cli.main(["edge", "export", "--state-dir", str(tmp_path / "state"), "-o", str(out), "--device", "d9"]) == 0
    head, keys = contents(out)
    assert (head.device, head.records, keys) == ("d9", 0, [])
    assert head.boot


def test_what_cannot_be_exported_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "empty").mkdir()
    filled(tmp_path / "state", boots=1, records=1)
    expected = {
        (): "say which device is meant",
        ("--device", "dev7"): "there is no such directory",
        ("--state-dir", str(tmp_path / "empty")): "there is no spool",
        ("--state-dir", str(tmp_path / "state"), "-o", str(tmp_path / "gone" / "x")): "no such file or directory",
    }
    for arguments, sentence in expected.items():
        assert cli.main(["edge", "export", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert sentence in line


def test_the_default_name_says_whose_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "state", boots=1, records=1)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["edge", "export", "--state-dir", "state"]) == 0
    (made,) = tmp_path.glob("dev1-*.cborseq.gz")
    assert contents(made)[0].records == 1


def test_a_spool_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    import sqlite3  # noqa: PLC0415  only here

    filled(tmp_path / "state", boots=1, records=1)
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "spool.db")) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(SpoolTooNewError), copy_of(tmp_path / "state", tmp_path):
        pass


# ---- the file --------------------------------------------------------------------------------------------------


def whole(count: int = 5) -> bytes:
    held = io.BytesIO()
    records = [codec.encode(DriftDetected(), Header(device="d", boot="b", seq=n)) for n in range(count)]
    export.write(held, export.Export(device="d", boot="b", records=count), records)
    return held.getvalue()


def test_a_file_cut_short_anywhere_or_changed_anywhere_is_noticed(tmp_path: Path) -> None:
    path, data = tmp_path / "x", whole()
    path.write_bytes(data)
    assert len(list(export.read(path))) == 6
    for cut in range(0, len(data), 5):
        path.write_bytes(data[:cut])
        with pytest.raises(ExportFileError):
            list(export.read(path))
    for at in range(120, len(data), 23):  # the head may say another device; the records may not change
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises(ExportFileError):
            list(export.read(path))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 20,
        b"no export",
        whole() + b"\x01",
        gzip.compress(whole())[:-9],
        gzip.compress(whole())[:60] + b"\x00" * 90,
        codec.pack(["_export", 7]) + codec.pack(["_checkpoint", {}]),
        codec.pack(["_export", {"format": 9}]),
        codec.pack(["_export", {"device": 5}]),
        codec.pack(["_checkpoint", {"records": 0, "digest": b""}]),
    ],
)
def test_what_is_no_export_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ExportFileError):
        list(export.read(tmp_path / "x"))


def test_an_item_larger_than_a_record_may_be_is_refused_before_it_is_built(tmp_path: Path) -> None:
    head = codec.pack(["_export", {"device": "d"}])
    (tmp_path / "x").write_bytes(gzip.compress(head + b"\x5a\x7f\xff\xff\xff" + bytes(1000)))
    with pytest.raises(ExportFileError, match="more than"):
        list(export.read(tmp_path / "x"))


def test_an_export_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportFileError, match="no such file"):
        list(export.read(tmp_path / "none"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("count", [0, 1, 5, 5000])
def test_a_whole_export_is_known_to_be_whole_without_looking_at_its_records(count: int) -> None:
    assert export.verify(io.BytesIO(whole(count))) == len(whole(count))


def test_what_was_cut_short_or_changed_or_goes_on_is_known_not_to_be_whole() -> None:
    data = whole()
    with pytest.raises(ExportFileError):
        export.verify(io.BytesIO(data + b"\x01"))
    for cut in range(0, len(data), 5):
        with pytest.raises(ExportFileError):
            export.verify(io.BytesIO(data[:cut]))
    count = data.rindex(b"records") + len(b"records")  # the one thing that only reading the records tells
    for at in range(120, len(data), 7):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        if at != count:
            with pytest.raises(ExportFileError):
                export.verify(io.BytesIO(damaged))
