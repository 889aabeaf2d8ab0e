"""What is too large for one message stays on the device until the server has it, and goes when it asks."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import BLOB_CHUNK, BlobChunk, BlobOffered, BlobWanted, Tick
from edge_actors.errors import CommandError
from edge_actors.ports.kept import Kept
from edge_actors.remote import blobs
from edge_actors.remote.blobs import AGAIN_S, KEPT_S, MOST, Blobs


class Scene:
    """The blobs of a device, which can be started again on the same disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = 100.0
        self.offers: list[BlobOffered] = []
        self.room = True
        self.start()

    def start(self) -> None:
        self.blobs = Blobs(self.folder, Kept(self.directory / "blobs.json"), self._offer, lambda: Tick(at=self.now))

    @property
    def folder(self) -> Path:
        return self.directory / "blobs"

    def file(self, data: bytes, name: str = "00000001.snapshot") -> Path:
        path = self.directory / name
        path.unlink(missing_ok=True)  # snapshots are never written into again, and a link is no copy
        path.write_bytes(data)
        return path

    def add(self, data: bytes) -> str:
        return self.blobs.add(self.file(data), "snapshot", "s1")[0]

    def files(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()

    def sent(self) -> list[BlobChunk]:
        chunks = []
        while (chunk := self.blobs.next()) is not None:
            chunks.append(chunk)
        return chunks

    def _offer(self, offer: BlobOffered) -> bool:
        if self.room:
            self.offers.append(offer)
        return self.room


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


DATA = bytes(range(256)) * 1024  # four chunks exactly
DIGEST = hashlib.sha256(DATA).hexdigest()


def test_a_file_is_offered_and_stays_when_its_first_name_goes(scene: Scene) -> None:
    assert scene.add(DATA) == DIGEST
    assert scene.offers == [BlobOffered(sha256=DIGEST, size=len(DATA), what="snapshot", name="s1")]
    (scene.directory / "00000001.snapshot").unlink()  # as snapshots do when there are newer ones
    assert (scene.folder / DIGEST).read_bytes() == DATA


def test_nothing_is_sent_that_the_server_did_not_ask_for(scene: Scene) -> None:
    scene.add(DATA)
    assert scene.sent() == []
    scene.blobs.wanted(BlobWanted(sha256="0" * 64, ranges=((0, 9),)))
    assert scene.sent() == []


def test_what_is_asked_for_is_sent_in_order_and_the_last_request_counts(scene: Scene) -> None:
    scene.add(DATA + b"rest")
    digest = scene.offers[0].sha256
    scene.blobs.wanted(BlobWanted(sha256=digest, ranges=((0, 4),)))
    first = scene.blobs.next()
    assert first is not None
    assert (first.index, first.data) == (0, DATA[:BLOB_CHUNK])
    scene.blobs.wanted(BlobWanted(sha256=digest, ranges=((1, 1), (3, 99))))
    assert [(chunk.index, len(chunk.data)) for chunk in scene.sent()] == [(1, BLOB_CHUNK), (3, BLOB_CHUNK), (4, 4)]


def test_what_could_not_be_sent_is_next_again(scene: Scene) -> None:
    scene.add(DATA)
    scene.blobs.wanted(BlobWanted(sha256=DIGEST, ranges=((0, 1),)))
    chunk = scene.blobs.next()
    assert chunk is not None
    scene.blobs.unsent(chunk)
    assert [one.index for one in scene.sent()] == [0, 1]
    scene.blobs.unsent(chunk)  # the last one as well
    assert [one.index for one in scene.sent()] == [0]


def test_the_device_lets_go_when_the_server_has_it_or_does_not_want_it(scene: Scene) -> None:
    for reason in ("", "it is too large"):
        scene.add(DATA)
        scene.blobs.wanted(BlobWanted(sha256=DIGEST, ranges=(), reason=reason))
        scene.blobs.look()
        assert (len(scene.blobs), scene.files()) == (0, set())
    scene.start()
    scene.blobs.look()
    assert len(scene.offers) == 2


def test_another_process_offers_it_again_and_sends_it(scene: Scene) -> None:
    scene.add(DATA)
    scene.start()
    scene.blobs.look()
    assert [offer.sha256 for offer in scene.offers] == [DIGEST, DIGEST]
    scene.blobs.wanted(BlobWanted(sha256=DIGEST, ranges=((0, 3),)))
    assert b"".join(chunk.data for chunk in scene.sent()) == DATA


def test_what_nobody_answers_is_offered_again_now_and_then_and_let_go_at_last(scene: Scene) -> None:
    scene.add(DATA)
    scene.blobs.look()
    assert len(scene.offers) == 1
    scene.now += AGAIN_S
    scene.blobs.look()
    assert len(scene.offers) == 2
    scene.now += AGAIN_S / 2
    scene.blobs.wanted(BlobWanted(sha256=DIGEST, ranges=((0, 0),)))
    scene.now += AGAIN_S / 2
    scene.blobs.look()
    assert len(scene.offers) == 2, "the server has just spoken of it"
    scene.now += KEPT_S
    scene.blobs.look()
    assert (len(scene.blobs), scene.files()) == (0, set())


def test_an_offer_that_found_no_room_is_made_again(scene: Scene) -> None:
    scene.room = False
    scene.add(DATA)
    scene.room = True
    scene.blobs.look()
    assert len(scene.offers) == 1


def test_only_a_few_are_kept_and_the_oldest_gives_way(scene: Scene) -> None:
    digests = [scene.add(b"%d" % number) for number in range(MOST + 2)]
    assert scene.files() == set(digests[2:])
    scene.start()
    assert len(scene.blobs) == MOST


def test_a_file_that_is_larger_than_all_room_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "MOST_BYTES", 100)
    with pytest.raises(CommandError, match=r"has 262144 bytes; 100 can be sent"):
        scene.add(DATA)
    assert scene.files() == set()


def test_works_where_there_are_no_hard_links(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert scene.add(DATA) == DIGEST
    assert scene.files() == {DIGEST}


def test_a_file_that_is_gone_or_was_cut_is_forgotten_at_the_next_start(scene: Scene) -> None:
    scene.add(DATA)
    scene.add(b"other")
    (scene.folder / DIGEST).write_bytes(DATA[:100])
    scene.start()
    scene.blobs.look()
    assert [offer.size for offer in scene.offers] == [len(DATA), 5, 5]


def test_what_a_power_cut_left_half_done_is_cleaned_up(scene: Scene) -> None:
    scene.add(DATA)
    (scene.folder / "new.part").write_bytes(b"half")
    (scene.folder / ("ab" * 32)).write_bytes(b"linked, and then the power went")
    scene.start()
    assert scene.files() == {DIGEST}


def test_a_disk_that_takes_nothing_is_told(scene: Scene) -> None:
    scene.folder.write_bytes(b"a file in its place")
    with pytest.raises(CommandError, match="cannot be kept"):
        scene.add(DATA)


@given(st.binary(min_size=1, max_size=5000), st.lists(st.tuples(st.integers(-3, 12), st.integers(-3, 12))))
def test_whatever_is_asked_only_chunks_that_exist_are_sent(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, ranges: list[tuple[int, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blobs, "BLOB_CHUNK", 512)
        scene = Scene(tmp_path_factory.mktemp("blobs"))
        digest = scene.add(data)
        scene.blobs.wanted(BlobWanted(sha256=digest, ranges=tuple(ranges)))
        for chunk in scene.sent():
            assert chunk.data == data[chunk.index * 512 : (chunk.index + 1) * 512] != b""
