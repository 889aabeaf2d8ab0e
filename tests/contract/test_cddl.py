"""contract.cddl describes exactly what the codec writes, and refuses what the codec refuses."""

from __future__ import annotations

from pathlib import Path

import cbor2
import pycddl
import pytest
from hypothesis import given, settings

import broker
from broker import codec
from broker.messages import KINDS, Header, Message
from broker.schema import cddl
from tests.contract.golden import sample, vectors
from tests.contract.strategies import headers, messages

TEXT = (Path(broker.__file__).parent / "contract.cddl").read_text()
WHOLE = pycddl.Schema(TEXT)
# A schema of one kind says more quickly what is wrong than a choice of all.
EACH = {name: pycddl.Schema(f"one = {name}\n{TEXT}") for name in KINDS}
VECTORS = [(name, data) for name, found in vectors().items() for data in found]


@pytest.mark.parametrize(("name", "data"), VECTORS, ids=[name for name, _ in VECTORS])
def test_every_golden_vector_is_valid(name: str, data: bytes) -> None:
    EACH[name].validate_cbor(data)
    WHOLE.validate_cbor(data)


@settings(max_examples=200)
@given(messages, headers)
def test_whatever_is_encoded_is_valid(message: Message, header: Header) -> None:
    EACH[type(message).__name__].validate_cbor(codec.encode(message))
    EACH[type(message).__name__].validate_cbor(codec.encode(message, header))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_field_of_another_type_is_not_valid(kind: type[Message]) -> None:
    schema = EACH[kind.__name__]
    _, fields = cbor2.loads(codec.encode(sample(kind)))
    for name, value in fields.items():
        wrong: object = 7 if isinstance(value, (str, dict)) else "text"
        with pytest.raises(pycddl.ValidationError):
            schema.validate_cbor(cbor2.dumps([kind.__name__, fields | {name: wrong}]))


def test_fields_may_be_missing_and_new_ones_are_allowed() -> None:
    WHOLE.validate_cbor(cbor2.dumps(["Tick", {}]))
    WHOLE.validate_cbor(cbor2.dumps(["Tick", {"newer": [1, 2]}, {"newer": None}]))


@pytest.mark.parametrize("tree", [["Nobody", {}], ["Tick"], ["Tick", {}, {}, {}], {"kind": "Tick"}, ["Tick", {1: 2}]])
def test_what_is_no_message_is_not_valid(tree: object) -> None:
    with pytest.raises(pycddl.ValidationError):
        WHOLE.validate_cbor(cbor2.dumps(tree))


def test_types_that_no_message_uses_yet_have_a_name_too() -> None:
    assert cddl(tuple[int, str]) == "[int, tstr]"
    assert cddl(str | None) == "tstr / null"
    assert cddl(dict[str, tuple[bool, ...]]) == "{* tstr => [* bool]}"
    with pytest.raises(TypeError, match="cannot carry"):
        cddl(set[int])
