"""Objects in a bucket, through the `minio` client."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO

import urllib3
from minio import Minio
from minio.credentials import ChainedProvider, EnvAWSProvider, EnvMinioProvider, Provider, StaticProvider
from minio.error import InvalidResponseError, MinioException, S3Error

from ..errors import ObjectError, StoreAway
from .objects import check_key
from .ports import ObjectStat


class S3:
    """Objects in a bucket of any server that speaks plain S3: put, get, stat, list and presign."""

    def __init__(self, address: str, bucket: str, key: str = "", secret: str = "", *, secure: bool = True) -> None:
        providers: list[Provider] = [EnvAWSProvider(), EnvMinioProvider()]
        self.bucket = bucket
        self.client = Minio(
            address,
            credentials=StaticProvider(key, secret) if key else ChainedProvider(providers),
            secure=secure,
            region="us-east-1",  # spares a call that asks for it; servers of one's own do not care
            # minio's own client would wait for minutes; here somebody else tries again.
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=3, read=15),
                retries=urllib3.Retry(1, status_forcelist=(500, 502, 503, 504), allowed_methods=None),
                maxsize=8,
            ),
        )

    def ensure_bucket(self) -> None:
        """Makes the bucket where it is missing; several may do so at once."""
        with _trouble(self.bucket):
            if not self.client.bucket_exists(self.bucket):
                try:
                    self.client.make_bucket(self.bucket)
                except MinioException:
                    if not self.client.bucket_exists(self.bucket):  # nobody else has made it meanwhile
                        raise

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Keeps the bytes under the key, whole or not at all; makes the bucket where it is missing."""
        try:
            self._put(check_key(key), data, content_type)
        except NoObject:  # nothing else can be missing than the bucket
            self.ensure_bucket()
            self._put(key, data, content_type)

    def _put(self, key: str, data: bytes, content_type: str) -> None:
        with _trouble(key):
            self.client.put_object(self.bucket, key, BytesIO(data), len(data), content_type)

    def get(self, key: str) -> bytes:
        """The bytes; raises ObjectError where there are none."""
        with _trouble(check_key(key)):
            response = self.client.get_object(self.bucket, key)
            try:
                data: bytes = response.read()
            finally:
                response.close()
                response.release_conn()
        return data

    def stat(self, key: str) -> ObjectStat | None:
        """Size and time, or None."""
        try:
            with _trouble(check_key(key)):
                found = self.client.stat_object(self.bucket, key)
        except NoObject:
            return None
        return ObjectStat(key, found.size or 0, found.last_modified or datetime.fromtimestamp(0, UTC))

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin with `prefix`, in order."""
        with _trouble(prefix):
            for found in self.client.list_objects(self.bucket, prefix=prefix, recursive=True):
                if found.object_name:
                    yield found.object_name

    def delete(self, key: str) -> None:
        """Removes the object; nothing happens where there is none."""
        with contextlib.suppress(NoObject), _trouble(check_key(key)):
            self.client.remove_object(self.bucket, key)

    def url(self, key: str, expires_s: int = 3600) -> str:
        """A signed URL that reads the object until it expires."""
        with _trouble(check_key(key)):
            signed: str = self.client.presigned_get_object(self.bucket, key, timedelta(seconds=expires_s))
        return signed


class NoObject(ObjectError):  # noqa: N818  it is what happened
    """There is nothing under this key."""


@contextlib.contextmanager
def _trouble(what: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        if error.code in ("NoSuchKey", "NoSuchObject", "NoSuchBucket"):
            raise NoObject(f"there is no object {what}") from None
        raise StoreAway("object store", f"{what}: {error.code}, {error.message}") from error
    except InvalidResponseError as error:
        # Some servers answer without S3's XML; the status is all there is.
        if getattr(error, "_code", None) == 404:
            raise NoObject(f"there is no object {what}") from None
        raise StoreAway("object store", f"{what}: {error}") from error
    except (MinioException, urllib3.exceptions.HTTPError, ValueError) as error:
        raise StoreAway("object store", f"{what}: {error}") from error
