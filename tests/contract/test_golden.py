"""The bytes of every kind stay what they are: written so today, read so for ever."""

from __future__ import annotations

import dataclasses

import pytest

from broker import codec
from broker.messages import KINDS, Message
from tests.contract.golden import encoded, header_of, sample, vectors
from tests.contract.strategies import is_same

VECTORS = vectors()
EACH = [(name, data) for name, found in VECTORS.items() for data in found]


def test_every_kind_has_a_vector() -> None:
    assert set(VECTORS) == set(KINDS), "run `python tests/contract/golden.py` for a new kind; kinds never go away"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_is_written_as_in_its_newest_vector(kind: type[Message]) -> None:
    assert encoded(kind) == VECTORS[kind.__name__][-1]


@pytest.mark.parametrize(("name", "data"), EACH, ids=[f"{name}-{len(data)}" for name, data in EACH])
def test_every_vector_is_still_read(name: str, data: bytes) -> None:
    wanted = sample(KINDS[name])
    if header_of(KINDS[name]):
        header, message = codec.decode_record(data)
        assert is_same(header, header_of(KINDS[name]))
    else:
        message = codec.decode(data)
    usual = type(wanted)()
    for field in dataclasses.fields(wanted):
        value = getattr(message, field.name)
        # An older vector lacks the newer fields, which have their default then.
        assert value == getattr(wanted, field.name) or value == getattr(usual, field.name)
    assert type(message).__name__ == name


def test_no_field_of_a_vector_is_left_at_its_default() -> None:
    for kind in KINDS.values():
        message, usual = sample(kind), kind()
        same = [f.name for f in dataclasses.fields(message) if getattr(message, f.name) == getattr(usual, f.name)]
        assert set(same) <= {"channels"}, f"{kind.__name__}: a vector that shows nothing of {same}"
