"""Pictures and blobs are read wherever they are, and links to them where the object store gives links."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import psycopg
import pytest

from broker.messages import BlobOffered
from edge_actors.remote.download import download
from ingest.blobs.rows import blob_key
from ingest.bundles import bundle_key
from ingest.consumers.samples import picture_key
from ingest.stores.batch import Batch, Waiting
from ingest.stores.models import MlflowRegistry
from ingest.stores.objects import Folder
from ingest.stores.ports import ObjectStore
from ingest.stores.s3 import S3
from platform_api.database import Database
from platform_api.stores import Stores
from tests.platform_api.conftest import hasty_link
from tests.platform_api.fleet import Fleet, picture
from tests.platform_api.servers import Api
from tests.platform_api.test_labels import assert_problem
from tests.stores.test_objects import ACCESS, SECRET, rclone

__all__ = ["rclone"]

DATA = b"the state of all actors" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()
DIGEST = hashlib.sha256(picture("s1")).hexdigest()
Serve = Callable[[ObjectStore], Api]


@pytest.fixture
def database_url(module_database_url: str) -> str:
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute("TRUNCATE device, sample, blob, blob_offer, waiting_object CASCADE")
    return module_database_url


@pytest.fixture
def serve(database_url: str, registry: MlflowRegistry) -> Iterator[Serve]:
    with ExitStack() as ends:
        yield lambda store: ends.enter_context(Api(Stores(Database(database_url), store, registry), hasty_link(1)))


@pytest.fixture
def s3(rclone: str) -> S3:
    return S3(rclone, "pictures-and-blobs", ACCESS, SECRET, secure=False)


def offers(fleet: Fleet, device: str, data: bytes = DATA) -> None:
    digest = hashlib.sha256(data).hexdigest()
    fleet.says(device, BlobOffered(sha256=digest, size=len(data), what="snapshot", name="s9"))


def stores(fleet: Fleet, device: str) -> None:
    """As the job does when all chunks are there."""
    offers(fleet, device)
    connection = Database(fleet.url)
    with connection.connection() as database:
        database.execute("UPDATE blob SET state = 'stored', stored_at = now()")
    connection.close()


def waits(fleet: Fleet, key: str, data: bytes) -> None:
    fleet.events.store(Batch(waiting=[Waiting(key, "image/png", data, "away")]))


# ---- pictures --------------------------------------------------------------------------------------------------


def test_a_picture_is_shown_while_the_object_store_is_away(serve: Serve, fleet: Fleet) -> None:
    fleet.quarantines("pi-1", "s1")
    api = serve(S3("127.0.0.1:1", "bucket", ACCESS, SECRET, secure=False))
    assert_problem(api.client.get("/samples/pi-1/s1/picture"), 503, "objects-away")
    waits(fleet, picture_key(DIGEST), picture("s1"))
    answer = api.client.get("/samples/pi-1/s1/picture")
    assert (answer.status_code, answer.content) == (200, picture("s1"))
    assert answer.headers["content-type"] == "image/png"
    assert_problem(api.client.get("/samples/pi-1/s1/picture/link"), 409, "no-link")


def test_a_link_reads_the_picture_without_a_token_and_nothing_else(serve: Serve, fleet: Fleet, s3: S3) -> None:
    fleet.quarantines("pi-1", "s1")
    api = serve(s3)
    s3.ensure_bucket()
    assert_problem(api.client.get("/samples/pi-1/s1/picture/link"), 404, "no-picture")
    s3.put(picture_key(DIGEST), picture("s1"), "image/png")
    s3.put("other", b"not yours")
    link = api.get("/samples/pi-1/s1/picture/link")
    with urlopen(link["url"], timeout=10) as response:
        assert response.read() == picture("s1")
    with pytest.raises(HTTPError):
        urlopen(link["url"].replace(picture_key(DIGEST), "other"), timeout=10)
    left = datetime.fromisoformat(link["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=4) < left <= timedelta(minutes=5)


def test_a_folder_gives_no_links_and_tells_nothing_of_its_paths(serve: Serve, fleet: Fleet, objects: Folder) -> None:
    fleet.quarantines("pi-1", "s1")
    answer = serve(objects).client.get("/samples/pi-1/s1/picture/link")
    assert_problem(answer, 409, "no-link")
    assert str(objects.folder) not in answer.text


# ---- blobs -----------------------------------------------------------------------------------------------------


def test_blobs_of_a_device_are_listed_with_how_far_they_have_come(
    serve: Serve, fleet: Fleet, objects: Folder
) -> None:
    api = serve(objects)
    assert_problem(api.client.get("/devices/pi-1/blobs"), 404, "unknown-device")
    for number in range(5):
        offers(fleet, "pi-1", b"%d" % number * 70_000)
    first = api.get("/devices/pi-1/blobs", limit=3)
    rest = api.get("/devices/pi-1/blobs", limit=3, after=first["next"])
    items = first["items"] + rest["items"]
    assert len({item["sha256"] for item in items}) == 5
    assert rest["next"] is None
    assert {(item["state"], item["got"], item["chunks"], item["what"]) for item in items} == {
        ("wanted", 0, 2, "snapshot")
    }


def test_a_blob_is_read_when_it_is_whole_and_only_as_its_device_s(
    serve: Serve, fleet: Fleet, objects: Folder
) -> None:
    api = serve(objects)
    path = f"/devices/pi-1/blobs/{SHA256}"
    assert_problem(api.client.get(path), 404, "no-blob")
    offers(fleet, "pi-1")
    answer = api.client.get(path)
    assert_problem(answer, 404, "no-blob")
    assert "is wanted: 0 of 1 chunks are here" in answer.text
    stores(fleet, "pi-1")
    assert_problem(api.client.get(path), 404, "no-blob")  # its object is gone
    objects.put(blob_key(SHA256), DATA)
    answer = api.client.get(path)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["content-disposition"] == f'attachment; filename="pi-1-{SHA256[:12]}.snapshot"'
    assert_problem(api.client.get(f"/devices/pi-2/blobs/{SHA256}"), 404, "no-blob")
    assert_problem(api.client.get(f"{path}/link"), 409, "no-link")


def test_a_link_reads_the_blob(serve: Serve, fleet: Fleet, s3: S3) -> None:
    stores(fleet, "pi-1")
    s3.put(blob_key(SHA256), DATA)
    with urlopen(serve(s3).get(f"/devices/pi-1/blobs/{SHA256}/link")["url"], timeout=10) as response:
        assert response.read() == DATA


def test_what_a_device_calls_it_does_not_get_into_the_header(serve: Serve, fleet: Fleet, objects: Folder) -> None:
    told = BlobOffered(sha256=SHA256, size=len(DATA), what='x"; filename="evil.exe', name="n\r\nSet-Cookie: a")
    fleet.says("pi-1", replace(told))
    stores_again = Database(fleet.url)
    with stores_again.connection() as database:
        database.execute("UPDATE blob SET state = 'stored'")
    stores_again.close()
    objects.put(blob_key(SHA256), DATA)
    answer = serve(objects).client.get(f"/devices/pi-1/blobs/{SHA256}")
    assert answer.headers["content-disposition"] == f'attachment; filename="pi-1-{SHA256[:12]}.bin"'
    assert "set-cookie" not in answer.headers


# ---- bundles ---------------------------------------------------------------------------------------------------


def test_a_bundle_is_served_by_digest_and_a_device_can_fetch_it(
    serve: Serve, objects: Folder, tmp_path: Path
) -> None:
    api = serve(objects)
    assert_problem(api.client.get(f"/bundles/{SHA256}"), 404, "no-bundle")
    objects.put(bundle_key(SHA256), DATA)
    part = tmp_path / "fetched.part"
    part.write_bytes(DATA[:1000])  # an earlier attempt ended here
    url = f"{api.url}/bundles/{SHA256}"
    assert download(url, part, len(DATA), SHA256, lambda: True, lambda _: None)
    assert part.read_bytes() == DATA
    assert_problem(api.client.get(f"/bundles/{SHA256}/link"), 409, "no-link")


def test_a_link_reads_the_bundle(serve: Serve, s3: S3) -> None:
    s3.put(bundle_key(SHA256), DATA)
    api = serve(s3)
    with urlopen(api.get(f"/bundles/{SHA256}/link")["url"], timeout=10) as response:
        assert response.read() == DATA
    assert_problem(api.client.get(f"/bundles/{'0' * 64}/link"), 404, "no-bundle")


@pytest.mark.parametrize("sha256", ["x", "A" * 64, "0" * 63, "..%2f..%2fpictures"])
def test_what_is_no_sha256_is_refused(serve: Serve, objects: Folder, sha256: str) -> None:
    assert serve(objects).client.get(f"/devices/pi-1/blobs/{sha256}").status_code in (404, 422)
