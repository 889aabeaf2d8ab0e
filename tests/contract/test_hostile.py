"""Whatever the bytes are, decoding ends in a message or a DecodeError, soon and without building what was claimed."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker import codec
from broker.errors import DecodeError
from broker.fields import FLOAT32_LE, UINT8
from broker.messages import KINDS, Message
from tests.contract.golden import HEADER, sample
from tests.contract.strategies import head, messages

GOOD = [codec.encode(sample(kind), HEADER) for kind in KINDS.values()]


def check(data: bytes) -> Message | None:
    """Decodes in every way there is; only DecodeError is raised."""
    for decode in (codec.decode_record, codec.unpack, lambda data: list(codec.read_sequence(data))):
        with suppress(DecodeError):
            decode(data)
    try:
        return codec.decode(data)
    except DecodeError:
        return None


def refused(tree: Any, *, raw: bytes = b"") -> str:
    with pytest.raises(DecodeError) as caught:
        codec.decode(raw or cbor2.dumps(tree))
    return str(caught.value)


@settings(max_examples=300)
@given(st.binary(max_size=300))
@example(b"")
@example(b"\xff")
@example(b"\x82")
@example(b"\x82\x64Tick")
def test_random_bytes(data: bytes) -> None:
    check(data)
    for opening in (b"\x82\x64Tick", b"\x83\x6aNeighbours\xa1\x66values\xd8\x55", b"\x82\x66Vitals\xa1\x67metrics"):
        check(opening + data)


@settings(max_examples=500)
@given(st.data())
def test_good_messages_with_some_bytes_changed(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(GOOD)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.integers(0, 2)):
            case 0:
                raw[at] = data.draw(st.integers(0, 255))
            case 1:
                del raw[at : at + data.draw(st.integers(1, 8))]
            case _:
                raw[at:at] = data.draw(st.binary(min_size=1, max_size=9))
        if not raw:
            return
    check(bytes(raw))


@settings(max_examples=50)
@given(messages)
def test_a_message_that_ends_too_early(message: Message) -> None:
    data = codec.encode(message)
    for cut in range(0, len(data), max(1, len(data) // 40)):
        with pytest.raises(DecodeError):
            codec.decode(data[:cut])


@settings(max_examples=50)
@given(messages, st.binary(min_size=1, max_size=20))
def test_bytes_after_the_message(message: Message, more: bytes) -> None:
    with pytest.raises(DecodeError, match="follow the message"):
        codec.decode(codec.encode(message) + more)


def test_every_tag_but_our_two_is_refused() -> None:
    inside = {b"\x60": "text", b"\x40": "bytes", b"\x00": "a number", b"\x82\x01\x02": "a list", b"\xa0": "a map"}
    tags = [*range(70_000), 1 << 32, (1 << 64) - 1]
    for tag in tags:
        for data in inside if tag < 300 or tag in (1004, 43000, 55799) else (b"\x40",):
            raw = b"\x82\x64Tick\xa1\x67unknown" + head(6, tag) + data
            if tag in (FLOAT32_LE, UINT8) and data == b"\x40":
                codec.decode(raw)
            else:
                with pytest.raises(DecodeError):
                    codec.decode(raw)


def test_a_regular_expression_is_never_compiled() -> None:
    assert "35" in refused(["Tick", {"x": cbor2.CBORTag(35, "(a+)+$")}])


@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x61a"], ids=["arrays", "maps"])
def test_deep_nesting(opening: bytes) -> None:
    for depth in (9, 100, 100_000):
        refused(None, raw=b"\x82\x64Tick\xa1\x61x" + opening * depth + b"\x00")
    refused(None, raw=b"\xd8\x55" * 100_000)


def test_keys_that_come_twice_or_are_not_text() -> None:
    assert "uplicate" in refused(None, raw=b"\x82\x64Tick\xa2\x62at\x01\x62at\x02")
    refused(["Tick", {1: 2}])
    refused(["Tick", {b"at": 1.0}])
    refused(None, raw=b"\x82\x64Tick\xa1\x80\x01")  # a list as key
    refused(None, raw=b"\x82\x66Vitals\xa1\x67metrics\xa2\x61a\x01\x61a\x02")
    refused(["Vitals", {"metrics": {1: 1.0}}])


@pytest.mark.parametrize(
    "raw",
    [
        b"\x9f\x64Tick\xa0\xff",
        b"\x82\x64Tick\xbf\x62at\x01\xff",
        b"\x82\x7f\x64Tick\xff\xa0",
        b"\x82\x65Frame\xa1\x66pixels\x5f\x41a\xff",
    ],
    ids=["array", "map", "text", "bytes"],
)
def test_indefinite_lengths(raw: bytes) -> None:
    refused(None, raw=raw)
    with pytest.raises(DecodeError):
        list(codec.read_sequence(raw))


def test_lengths_that_are_only_claimed() -> None:
    for major in (2, 3, 4, 5):
        for size in (1 << 20, 1 << 31, (1 << 64) - 1):
            refused(None, raw=b"\x82\x64Tick\xa1\x61x" + head(major, size))
            refused(None, raw=b"\x82\x66Vitals\xa1\x66faults" + head(major, size) + b"\x60")


def test_a_message_that_is_too_large_is_not_looked_at() -> None:
    assert "more than the 1048576 allowed" in refused(None, raw=bytes((1 << 20) + 1))
    fits = codec.encode(sample(KINDS["Frame"]))
    assert codec.decode(fits, max_bytes=len(fits))
    with pytest.raises(DecodeError, match="allowed"):
        codec.decode(fits, max_bytes=len(fits) - 1)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none(number: float) -> None:
    assert "Tick.at: a finite number expected" in refused(["Tick", {"at": number}])
    usual = codec.encode(KINDS["Tick"](at=1.5)).replace(struct.pack(">d", 1.5), struct.pack(">d", number))  # type: ignore[call-arg]
    assert "Tick.at: a finite number expected" in refused(None, raw=usual)
    refused(["Vitals", {"metrics": {"fps": number}}])


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (1, "not a message"),
        ([], "not a message"),
        (["Tick"], "not a message"),
        ([1, {}], "not a message"),
        (["Tick", {}, {}, {}], "not a message"),
        (["Nobody", {}], "unknown kind 'Nobody'"),
        (["x" * 1000, {}], "unknown kind 'xxx"),
        (["Tick", []], "Tick: a map of fields is expected"),
        (["Tick", {"at": "1"}], "Tick.at: float expected, got str"),
        (["Tick", {"at": True}], "Tick.at: float expected, got bool"),
        (["Tick", {"wall_us": 1.0}], "Tick.wall_us: int expected, got float"),
        (["Tick", {"wall_us": 1 << 63}], "Tick.wall_us: an int of at most 64 bits expected"),
        (["Tick", {"wall_us": None}], "Tick.wall_us: int expected, got NoneType"),
        (["Tick", {"clock": b"synced"}], "Tick.clock: str expected, got bytes"),
        (["Frame", {"pixels": cbor2.CBORTag(64, b"12")}], "Frame.pixels: bytes expected, got Uint8Array"),
        (["Features", {"values": b"1234"}], "Features.values: Float32Array expected, got bytes"),
        (["Features", {"values": cbor2.CBORTag(85, b"123")}], "85"),
        (["Vitals", {"faults": "x"}], "Vitals.faults: array expected, got str"),
        (["Stored", {"ranges": [[1]]}], "Stored.ranges: array of 2 expected"),
        (["Tick", {}, []], "Header: a map of fields is expected"),
        (["Tick", {"at": cbor2.undefined}], "Tick.at: float expected"),
        (["Tick", {"at": cbor2.CBORSimpleValue(99)}], "Tick.at: float expected"),
    ],
)
def test_the_reason_is_one_sentence_that_names_the_place(tree: Any, said: str) -> None:
    data = cbor2.dumps(tree)
    with pytest.raises(DecodeError) as caught:
        codec.decode_record(data) if "Header" in said else codec.decode(data)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
