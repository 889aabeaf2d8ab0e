"""What is encoded comes back the same, in the same bytes always, and peers of other versions understand it."""

from __future__ import annotations

import math
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import codec
from broker.errors import DecodeError, EncodeError
from broker.fields import field_type
from broker.messages import (
    KINDS,
    DriftDetected,
    Features,
    Float32Array,
    Frame,
    Header,
    LogRecord,
    Message,
    Stored,
    Tick,
    Uint8Array,
    Vitals,
)
from tests.contract.golden import HEADER, sample
from tests.contract.strategies import headers, is_same, messages, numbers, texts, values

FIELD_TYPES = (
    bool,
    int,
    float,
    str,
    bytes,
    Float32Array,
    Uint8Array,
    tuple[str, ...],
    tuple[int, float],
    tuple[tuple[int, int], ...],
    dict[str, tuple[float, ...]],
    str | None,
)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_comes_back_as_it_was(kind: type[Message]) -> None:
    for message in (kind(), sample(kind)):
        assert is_same(codec.decode(codec.encode(message)), message)
        header, again = codec.decode_record(codec.encode(message, HEADER))
        assert is_same(header, HEADER)
        assert is_same(again, message)


@settings(max_examples=300)
@given(messages, st.data())
def test_the_short_way_to_a_message_takes_nothing_that_the_long_way_would_not(
    message: Message, data: st.DataObject
) -> None:
    plan = codec._PLANS[type(message)]
    tree = cbor2.loads(codec.encode(message), semantic_decoders=codec._TAGS)[1]
    if tree and data.draw(st.booleans()):
        strange = st.sampled_from(
            [None, True, 1, 1 << 63, -1 << 64, 1.5, math.inf, math.nan, "é", "a", b"b", [], {}, [1]]
        )
        tree[data.draw(st.sampled_from(sorted(tree)))] = data.draw(strange)
    quick = plan._quick(tree)
    if quick is not None and len(tree) > 1:
        backwards = dict(reversed(tree.items()))  # what is in another order goes the long way
        assert is_same(quick, plan.from_map(backwards))


def test_a_reader_that_stumbled_reads_the_next_message() -> None:
    good = codec.encode(sample(LogRecord))
    for bad in (good[:-1], good + b"\x00", b"\xff", b"", b"\x82\x61a", b"\xf6", cbor2.dumps({"a": [1]})[:3]):
        with pytest.raises(DecodeError):
            codec.decode(bad)
        assert codec.decode(good) == sample(LogRecord)


@given(messages, headers)
def test_any_message_comes_back_as_it_was(message: Message, header: Header) -> None:
    assert is_same(codec.decode(codec.encode(message)), message)
    again = codec.decode_record(codec.encode(message, header))
    assert is_same(again[0], header)
    assert is_same(again[1], message)


@settings(max_examples=200)
@given(messages, headers)
def test_the_bytes_are_what_a_plain_cbor_encoder_writes(message: Message, header: Header) -> None:
    data = codec.encode(message, header)
    tree = cbor2.loads(data)
    assert cbor2.dumps(tree) == data
    assert tree[0] == type(message).__name__


@settings(max_examples=200)
@given(messages, headers)
def test_our_own_layout_and_any_other_give_the_same_message(message: Message, header: Header) -> None:
    kind, fields, head = cbor2.loads(codec.encode(message, header))
    turned = [kind, dict(reversed(fields.items())), dict(reversed(head.items()))]
    again = codec.decode_record(cbor2.dumps(turned))
    assert is_same(again[0], header)
    assert is_same(again[1], message)


@pytest.mark.parametrize("hint", FIELD_TYPES, ids=str)
@given(st.data())
@settings(max_examples=30)
def test_every_type_of_field_is_written_as_cbor_and_read_back(hint: Any, data: st.DataObject) -> None:
    row, value = field_type(hint), data.draw(values(hint))
    assert is_same(row.check(codec.unpack(cbor2.dumps(row.write(value)))), value)


def test_messages_cannot_carry_other_types() -> None:
    for hint in (set[str], complex, dict[int, str], str | int, list[str], object):
        with pytest.raises(TypeError, match="cannot carry"):
            field_type(hint)


@settings(max_examples=100)
@given(messages, texts, st.one_of(numbers, texts, st.none(), st.lists(st.integers(-9, 9))))
def test_fields_of_a_newer_version_are_ignored(message: Message, name: str, value: object) -> None:
    kind, fields = cbor2.loads(codec.encode(message))
    assert is_same(codec.decode(cbor2.dumps([kind, {f"newer {name}": value, **fields}])), message)


@settings(max_examples=100)
@given(st.data())
def test_missing_fields_have_their_default(data: st.DataObject) -> None:
    message = data.draw(messages)
    kind, fields = cbor2.loads(codec.encode(message))
    gone = data.draw(st.sampled_from(sorted(fields)))
    fallback = getattr(type(message)(), gone)
    again = codec.decode(cbor2.dumps([kind, {name: value for name, value in fields.items() if name != gone}]))
    assert is_same(getattr(again, gone), fallback)


def test_a_float_may_be_written_as_an_int_or_short() -> None:
    assert is_same(codec.decode(cbor2.dumps(["Tick", {"at": 1}])), Tick(at=1.0))
    assert is_same(codec.decode(b"\x82\x64Tick\xa1\x62at\xf9\x3e\x00"), Tick(at=1.5))  # half precision


def test_the_kind_that_belongs_there_can_be_demanded() -> None:
    data = codec.encode(Tick(at=1.0))
    assert codec.decode_as(Tick, data) == Tick(at=1.0)
    assert codec.decode_as((Frame, Tick), data) == Tick(at=1.0)
    with pytest.raises(DecodeError, match="Tick where Frame or Stored belongs"):
        codec.decode_as((Frame, Stored), data)


def test_a_record_needs_a_header_of_a_version_we_know() -> None:
    with pytest.raises(DecodeError, match="needs a header"):
        codec.decode_record(codec.encode(Tick()))
    with pytest.raises(DecodeError, match="schema version 2 is not one of 1 to 1"):
        codec.decode_record(codec.encode(Tick(), Header(version=2)))


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Tick(at=math.nan), r"Tick\.at cannot be encoded: a finite number expected"),
        (Tick(at=math.inf), "finite"),
        (Tick(wall_us=1 << 63), r"Tick\.wall_us cannot be encoded: an int of at most 64 bits"),
        (Tick(wall_us=True), "int expected, got bool"),
        (Tick(clock=None), r"Tick\.clock"),  # type: ignore[arg-type]
        (Tick(clock="\ud800"), r"Tick\.clock"),
        (Features(values=Float32Array(b"123")), r"Features\.values cannot be encoded: .*whole numbers"),
        (Frame(pixels="text"), "bytes expected, got str"),  # type: ignore[arg-type]
        (Vitals(faults="disk_full"), "tuple expected, got str"),  # type: ignore[arg-type]
        (Vitals(metrics=[]), "dict expected, got list"),  # type: ignore[arg-type]
        (Stored(ranges=((1, 2, 3),)), r"Stored\.ranges"),  # type: ignore[arg-type]
    ],
)
def test_what_the_contract_cannot_carry_is_refused_by_name(message: Message, said: str) -> None:
    with pytest.raises(EncodeError, match=said):
        codec.encode(message)


def test_numbers_of_an_array_are_float32_in_any_order_of_the_machine() -> None:
    assert Float32Array.of([1.0, -2.5]) == b"\x00\x00\x80\x3f\x00\x00\x20\xc0"
    assert Float32Array(b"\x00\x00\x80\x3f\x00\x00\x20\xc0").numbers() == [1.0, -2.5]


def test_a_state_comes_back_with_its_arrays() -> None:
    state = {"memory": Float32Array.of(range(5)), "votes": [1, {"mask": Uint8Array(b"\x01\x02")}], "seed": 7}
    again = codec.unpack(codec.pack(state))
    assert again == state
    assert is_same(again["memory"], state["memory"])
    assert type(again["votes"][1]["mask"]) is Uint8Array


def test_a_message_is_not_changed_after_it_was_made() -> None:
    again = codec.decode(codec.encode(DriftDetected(at=1.0)))
    with pytest.raises(AttributeError):
        again.at = 2.0  # type: ignore[attr-defined]
