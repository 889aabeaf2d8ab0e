"""The object store: S3 through `minio`, or a folder. Keys are paths such as `pictures/ab/<sha256>`."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

import urllib3
from minio import Minio
from minio.credentials import ChainedProvider, EnvAWSProvider, EnvMinioProvider, Provider, StaticProvider
from minio.error import InvalidResponseError, MinioException, S3Error

from ..errors import IngestError, ObjectError, StoreAway
from .ports import ObjectStat, ObjectStore

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
MAX_KEY = 512


def check_key(key: str) -> str:
    """The key itself. Raises ObjectError unless it is a path of plain names, none of which begins with a dot."""
    if len(key) > MAX_KEY or not _KEY.fullmatch(key):
        raise ObjectError(f"{key[:80]!r} is not an object key")
    return key


def open_objects(url: str) -> ObjectStore:
    """The store at `file:///folder`, a plain path, `s3://[key:secret@]host/bucket`, or `s3+http://` without TLS."""
    parts = urlsplit(url)
    if parts.scheme in ("s3", "s3+http", "s3+https"):
        bucket = parts.path.strip("/")
        if not parts.hostname or not bucket or "/" in bucket:
            raise IngestError("an S3 URL looks like s3://key:secret@host:port/bucket, or s3+http:// without TLS")
        address = parts.hostname + (f":{parts.port}" if parts.port else "")
        key, secret = unquote(parts.username or ""), unquote(parts.password or "")
        return S3(address, bucket, key, secret, secure=parts.scheme != "s3+http")
    if parts.scheme not in ("", "file"):
        raise IngestError(f"{parts.scheme}:// is no object store; a folder or an s3:// URL is")
    return Folder(Path(unquote(parts.path) if parts.scheme == "file" else url))


class Folder:
    """Objects as files of a directory, written beside and renamed, so that a reader never sees half of one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Keeps the bytes on disk (synced) under the key; a folder does not remember the content type."""
        path = self._path(key)
        beside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            raise StoreAway("object store", f"{path}: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                beside.unlink()

    def get(self, key: str) -> bytes:
        """The bytes; raises ObjectError where there are none."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise ObjectError(f"there is no object {key}") from None
        except OSError as error:
            raise StoreAway("object store", f"{key}: {error.strerror}") from error

    def stat(self, key: str) -> ObjectStat | None:
        """Size and time, or None."""
        path = self._path(key)
        if not path.is_file():
            return None
        found = path.stat()
        return ObjectStat(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin with `prefix`, in order."""
        files = (path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        keys = (path.relative_to(self.folder).as_posix() for path in files)
        yield from sorted(key for key in keys if key.startswith(prefix))

    def delete(self, key: str) -> None:
        """Removes the object; nothing happens where there is none."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                _sync_folder(path.parent)
        except NotADirectoryError:
            return  # there cannot be one
        except OSError as error:
            raise StoreAway("object store", f"{path}: {error.strerror}") from error

    def url(self, key: str, expires_s: int = 3600) -> str:
        """The file's URL; it does not expire."""
        return self._path(key).as_uri()

    def _path(self, key: str) -> Path:
        return self.folder / check_key(key)


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


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
