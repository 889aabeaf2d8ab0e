"""Items of a CBOR sequence are found one by one, in files and in pipes, up to where it is broken."""

from __future__ import annotations

import io
import os
import threading

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import codec
from broker.errors import DecodeError, TruncatedError
from broker.messages import KINDS
from tests.contract.golden import sample
from tests.contract.strategies import head

ITEMS = [codec.encode(sample(kind)) for kind in KINDS.values()]
trees = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(1 << 64), (1 << 64) - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


class Drops(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a slow pipe does."""

    def __init__(self, data: bytes, size: int) -> None:
        self.left, self.size = data, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        part, self.left = self.left[: self.size], self.left[self.size :]
        buffer[: len(part)] = part
        return len(part)


def read(data: bytes) -> tuple[list[bytes], DecodeError | None]:
    found: list[bytes] = []
    try:
        found.extend(codec.read_sequence(data))  # extend keeps what came before an error
    except DecodeError as error:
        return found, error
    return found, None


@pytest.mark.parametrize("size", [1, 7, 65_536])
def test_items_come_as_they_were_written(size: int) -> None:
    stream = io.BufferedReader(Drops(b"".join(ITEMS), size))
    assert list(codec.read_sequence(stream)) == ITEMS


@settings(max_examples=100)
@given(st.lists(trees, max_size=6))
def test_whatever_the_items_are(items: list[object]) -> None:
    written = [cbor2.dumps(item) for item in items]
    assert read(b"".join(written)) == (written, None)


def test_an_item_is_given_before_the_next_one_arrives() -> None:
    reading, writing = os.pipe()
    given_out: list[bytes] = []
    seen = threading.Event()

    def follow() -> None:
        with os.fdopen(reading, "rb") as stream:
            for item in codec.read_sequence(stream):
                given_out.append(item)
                seen.set()

    follower = threading.Thread(target=follow)
    follower.start()
    os.write(writing, ITEMS[0] + ITEMS[1][:5])
    assert seen.wait(10)
    assert given_out == [ITEMS[0]]
    os.write(writing, ITEMS[1][5:])
    os.close(writing)
    follower.join(10)
    assert given_out == ITEMS[:2]


def test_a_power_cut_leaves_everything_before_the_last_item() -> None:
    data = b"".join(ITEMS[:4])
    ends = [len(b"".join(ITEMS[: count + 1])) for count in range(4)]
    for cut in range(1, len(data)):
        found, error = read(data[:cut])
        if cut in ends:
            assert error is None
        else:
            assert isinstance(error, TruncatedError)
            assert b"".join(found) == data[: error.offset]
            assert error.offset == max([0, *(end for end in ends if end < cut)])


@pytest.mark.parametrize("broken", [b"\x9f\x01\xff", b"\x1c", b"\x82\x01\xff", b"\xff"])
def test_what_is_no_item_says_where(broken: bytes) -> None:
    found, error = read(ITEMS[0] + broken)
    assert found == ITEMS[:1]
    assert error is not None
    assert error.offset == len(ITEMS[0])
    assert str(len(ITEMS[0])) in str(error)


@pytest.mark.parametrize("major", [2, 3, 4, 5])
def test_an_item_that_claims_too_much_is_refused_at_once(major: int) -> None:
    _, error = read(head(major, 1 << 40) + bytes(100))
    assert error is not None
    assert "more than 1048576 bytes" in str(error)
    assert list(codec.read_sequence(cbor2.dumps(bytes(2 << 20)), max_bytes=3 << 20))


def test_nothing_holds_nothing() -> None:
    assert read(b"") == ([], None)
