"""`tinyml decode` prints whatever a person can get hold of, and says in one sentence what it cannot read."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import cbor2
import pytest

from broker import codec, journal
from broker.decode import EMPTY, main
from broker.describe import describe, moment, plain
from broker.messages import KINDS, DeadLetter, Float32Array, Message, SampleQuarantined, Stored, Telemetry, Tick
from tests.contract.golden import HEADER, encoded, sample

TICK = codec.encode(Tick(at=1.5, wall_us=1_700_000_000_000_000, clock="synced"))
Run = tuple[int, str, str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def decode(*arguments: str, stdin: bytes = b"") -> Run:
        stream = io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin)))  # type: ignore[arg-type]
        monkeypatch.setattr(sys, "stdin", stream)
        status = main(arguments)
        said = capsys.readouterr()
        return status, said.out, said.err

    return decode


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_is_printed_with_all_its_fields(kind: type[Message], run) -> None:  # type: ignore[no-untyped-def]
    status, out, err = run(stdin=encoded(kind))
    assert (status, err) == (0, "")
    assert f": {kind.__name__}\n" in out
    for name in kind.__dataclass_fields__:  # type: ignore[attr-defined]
        assert f"\n  {name} " in out


def test_a_file_of_records_is_printed_one_after_the_other(tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "x.cborseq").write_bytes(codec.encode(Stored(boot="b", ranges=((1, 4), (7, 7))), HEADER) + TICK)
    status, out, _ = run(str(tmp_path / "x.cborseq"))
    assert status == 0
    assert out.splitlines() == [
        "x.cborseq, offset 0: Stored",
        "  from porch-1, boot 5f3a9c01-000007, record 42, 2026-11-06T21:20:00.123Z (clock synced), "
        "message time 3723.5 s, schema 1",
        "  boot    b",
        "  ranges  2: 1-4, 7",
        f"x.cborseq, offset {len(codec.encode(Stored(boot='b', ranges=((1, 4), (7, 7))), HEADER))}: Tick",
        "  at       1.5",
        "  wall_us  2023-11-14T22:13:20.000Z",
        "  clock    synced",
        "  last     no",
    ]


@pytest.mark.parametrize("text", [TICK.hex(), TICK.hex(" "), TICK.hex(":").upper(), f"0x{TICK.hex()}\n"])
def test_hexadecimal_text_is_recognised(text: str, run) -> None:  # type: ignore[no-untyped-def]
    assert "wall_us  2023-11-14T22:13:20.000Z" in run("--hex", text)[1]
    assert "wall_us  2023-11-14T22:13:20.000Z" in run(stdin=text.encode())[1]


def test_text_in_short_lines_is_one_sequence(run) -> None:  # type: ignore[no-untyped-def]
    text = (TICK + TICK).hex()
    lines = "\n".join(text[at : at + 32] for at in range(0, len(text), 32))
    status, out, _ = run("-", stdin=lines.encode())
    assert (status, out.count(": Tick\n")) == (0, 2)


def test_lines_of_mosquitto_sub_are_read_with_their_topics(run) -> None:  # type: ignore[no-untyped-def]
    lines = [
        f"tinyml/porch-1/sample/a1 {codec.encode(SampleQuarantined(sample='a1'), HEADER).hex()}",
        "tinyml/porch-1/label/a1 ",
        f"tinyml/porch-1/drift {TICK.hex()}",
        f"tinyml/porch-1/whatever {TICK.hex()}",
        f"tinyml/_ingest/state {codec.encode(KINDS['IngestState']()).hex()}",
        "tinyml/porch-1/log zz",
    ]
    status, out, err = run(stdin="\n".join(lines).encode())
    assert status == 1
    assert "tinyml/porch-1/sample/a1: SampleQuarantined\n" in out
    assert f"tinyml/porch-1/label/a1: {EMPTY}\n" in out
    assert "tinyml/porch-1/drift: Tick\n  note: Tick does not belong on this topic\n" in out
    assert "note: 'tinyml/porch-1/whatever' is not a topic" in out
    assert "tinyml/_ingest/state: IngestState\n  listening" in out
    assert err == "tinyml decode: standard input, line 6 is neither a message nor hexadecimal text\n"


def test_an_empty_payload_is_explained(run) -> None:  # type: ignore[no-untyped-def]
    assert run() == (0, f"standard input: {EMPTY}\n", "")


def test_what_is_good_is_printed_before_what_is_broken(run) -> None:  # type: ignore[no-untyped-def]
    unknown = cbor2.dumps(["Nobody", {}])
    status, out, err = run(stdin=TICK + unknown + TICK + TICK[:9])
    end = 2 * len(TICK) + len(unknown)
    assert status == 1
    assert out.count(": Tick\n") == 2
    assert err.splitlines() == [
        f"tinyml decode: standard input, offset {len(TICK)}: unknown kind 'Nobody'",
        f"tinyml decode: standard input: the item at offset {end} is cut short after 9 bytes",
    ]


@pytest.mark.parametrize("data", [b"plain text", b"\x00\x01", b"\xff\xfe", cbor2.dumps({"a": 1}), b"\x9f\xff"])
def test_what_is_no_message_is_one_sentence(data: bytes, run) -> None:  # type: ignore[no-untyped-def]
    status, out, err = run(stdin=data)
    assert (status, out) == (1, "")
    assert err.startswith("tinyml decode: standard input")
    assert err.count("\n") == 1


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    status, _, err = run(str(tmp_path / "nothing"))
    assert (status, err) == (1, f"tinyml decode: {tmp_path / 'nothing'} cannot be read: No such file or directory\n")


def test_a_journal_is_printed_with_what_is_its_own(tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    writing = journal.Journal(tmp_path)
    writing.begin(journal.Opening(device="porch-1", boot="b-1", states={"knn": {"memory": Float32Array.of([1, 2])}}))
    writing.append(TICK)
    writing.checkpoint(journal.Checkpoint(records=3, digest=b"\x01" * 32))
    writing.close()
    status, out, _ = run(str(tmp_path))
    assert status == 0
    for part in ("_opening (of the journal)", "device ", "{knn 1 entries}", ": Tick", "_checkpoint", "records"):
        assert part in out


def test_json_holds_everything(run) -> None:  # type: ignore[no-untyped-def]
    values = Float32Array.of([1.5, float("nan")])
    message = Telemetry(names=("fps",), values=values)
    _, out, _ = run("--json", stdin=codec.encode(message, HEADER) + codec.encode(DeadLetter(payload=b"\xff\x00")))
    first, second = map(json.loads, out.splitlines())
    assert (first["kind"], first["header"]["seq"], first["fields"]["values"]) == ("Telemetry", 42, [1.5, None])
    assert (second["header"], second["fields"]["payload"]) == (None, "/wA=")


def test_items_are_printed_as_they_arrive() -> None:
    command = [sys.executable, "-m", "broker.cli", "decode"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"tinyml/porch-1/log {TICK.hex()}\n".encode())
        process.stdin.flush()
        assert b"Tick" in process.stdout.readline()
        process.communicate(timeout=20)


# ---- how a message reads -----------------------------------------------------------------------------------------


def test_long_arrays_are_summed_up() -> None:
    text = "\n".join(
        describe(Telemetry(values=Float32Array.of([*range(100), float("nan")]), names=tuple("abcdefgh")))
    )
    assert "values  101 float32: min 0, mean 49.5, max 99, 1 missing; 0, 1, 2, 3, 4, 5, ..." in text
    assert "names   8: a, b, c, d, e, f, ..." in text
    assert "ages    0 float32" in text


def test_pictures_and_payloads_are_named_and_not_printed() -> None:
    picture = SampleQuarantined(
        picture=b"\xff\xd8\xff" + bytes(12_342), picture_type="image/jpeg", width=96, height=64
    )
    assert "  picture       image/jpeg 12,345 bytes, 96 x 64" in describe(picture)
    assert "  payload  12 bytes: de ad be ef de ad be ef de ad be ef" in describe(
        DeadLetter(payload=b"\xde\xad\xbe\xef" * 3)
    )
    assert f"  payload  {len(TICK)} bytes: a Tick" in describe(DeadLetter(payload=TICK))


def test_a_text_cannot_play_tricks_on_the_terminal() -> None:
    lines = describe(DeadLetter(reason="red \x1b[31m\nand a new line", topic="x" * 500))
    assert "  reason   'red \\x1b[31m\\nand a new line'" in lines
    assert max(map(len, lines)) < 200


def test_a_moment_beyond_the_calendar_stays_a_number() -> None:
    assert moment(1 << 62) == f"{1 << 62} us"
    assert moment(-1) == "1969-12-31T23:59:59.999Z"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_can_be_json(kind: type[Message]) -> None:
    json.dumps(plain(sample(kind)), allow_nan=False)
