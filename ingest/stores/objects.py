"""The object store: S3 (in `s3`), or a folder. Keys are paths such as `pictures/ab/<sha256>`."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

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
        from .s3 import S3  # noqa: PLC0415  the client takes a tenth of a second to load, and a folder needs none of it

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


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
