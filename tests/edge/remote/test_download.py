"""A download goes on where it was interrupted, and what comes is what was wanted or nothing."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edge_actors.errors import DownloadError
from edge_actors.remote.download import download

DATA = bytes(range(256)) * 2000
SHA = hashlib.sha256(DATA).hexdigest()


class Shop(BaseHTTPRequestHandler):
    """Gives DATA: /whole knows no ranges, /torn breaks off after 200,000 bytes, /code/N answers N."""

    asked: list[str]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.asked.append(f"{self.path} {wanted}".strip())
        if self.path.startswith("/code/"):
            self.send_error(int(self.path[6:]))
            return
        begin = int(match[1]) if (match := re.match(r"bytes=(\d+)-", wanted)) and self.path != "/whole" else 0
        body = DATA[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:200_000] if self.path == "/torn" else body)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def shop() -> Iterator[str]:
    Shop.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(5)


def get(url: str, part: Path, *, sha256: str = SHA, size: int = len(DATA), pieces: int = 1 << 30) -> bool:
    left = [pieces]

    def go_on() -> bool:
        left[0] -= 1
        return left[0] > 0

    return download(url, part, size, sha256, go_on, lambda _share: None)


def test_a_link_that_breaks_again_and_again_brings_the_file_in_the_end(shop: str, tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    for size in (200_000, 400_000):
        with pytest.raises(DownloadError, match=f"ended after {size} of {len(DATA)} bytes") as raised:
            get(f"{shop}/torn", part)
        assert not raised.value.final
    assert get(f"{shop}/torn", part)
    assert part.read_bytes() == DATA
    assert Shop.asked == ["/torn", "/torn bytes=200000-", "/torn bytes=400000-"]


def test_an_interrupted_download_goes_on_after_a_restart(shop: str, tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    assert not get(f"{shop}/ranges", part, pieces=2)
    have = part.stat().st_size
    assert 0 < have < len(DATA)
    assert get(f"{shop}/ranges", part)
    assert Shop.asked[-1] == f"/ranges bytes={have}-"
    assert part.read_bytes() == DATA


def test_a_server_without_ranges_gives_it_all_again(shop: str, tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    part.write_bytes(DATA[:1000])
    assert get(f"{shop}/whole", part)
    assert part.read_bytes() == DATA


def test_a_piece_of_another_file_costs_one_more_attempt(shop: str, tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    part.write_bytes(b"of an older version")
    with pytest.raises(DownloadError, match="what came has the sha256") as raised:
        get(f"{shop}/ranges", part)
    assert not raised.value.final
    assert get(f"{shop}/ranges", part)


def test_a_file_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(DATA)
    part = tmp_path / "x.part"
    part.write_bytes(b"something older")
    assert get((tmp_path / "x").as_uri(), part)
    assert part.read_bytes() == DATA
    with pytest.raises(DownloadError, match="cannot be read") as raised:
        get((tmp_path / "nowhere").as_uri(), tmp_path / "y.part")
    assert raised.value.final


@pytest.mark.parametrize(
    ("sha256", "size", "reason"),
    [
        ("0" * 64, len(DATA), "what came has the sha256 "),
        (SHA, len(DATA) - 100_000, "bytes, not 412000"),
    ],
)
def test_what_was_not_wanted_is_thrown_away(shop: str, tmp_path: Path, sha256: str, size: int, reason: str) -> None:
    part = tmp_path / "x.part"
    with pytest.raises(DownloadError, match=reason) as raised:
        get(f"{shop}/ranges", part, sha256=sha256, size=size)
    assert raised.value.final
    assert not part.exists()


@pytest.mark.parametrize(("code", "final"), [(404, True), (403, True), (429, False), (503, False)])
def test_only_what_passes_by_itself_is_tried_again(shop: str, tmp_path: Path, code: int, final: bool) -> None:
    with pytest.raises(DownloadError, match=f"answers {code}") as raised:
        get(f"{shop}/code/{code}", tmp_path / "x.part")
    assert raised.value.final == final


def test_other_addresses_are_none(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="none of http, https, file") as raised:
        get("ftp://example.org/x", tmp_path / "x.part")
    assert raised.value.final


def test_nobody_there_may_pass(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="Connection refused") as raised:
        get("http://127.0.0.1:9/x", tmp_path / "x.part")
    assert not raised.value.final
