"""Fetches a file, going on where a broken link or a power cut left it."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from ..errors import DownloadError

CHUNK = 64 << 10
TIMEOUT_S = 30.0  # without a byte
SCHEMES = ("http", "https", "file")
LATER = (408, 425, 429)  # answers that pass by themselves, beside all from 500 on


def download(
    url: str, part: Path, size: int, sha256: str, go_on: Callable[[], bool], progress: Callable[[float], object]
) -> bool:
    """Brings `part` to the wanted size and checks it; False when `go_on` said no in between.

    Raises DownloadError, whose `final` says whether trying again is of no use. A file that is not what was wanted is
    removed, so that the next attempt begins anew.
    """
    if urllib.parse.urlsplit(url).scheme not in SCHEMES:
        raise DownloadError(f"the address {url!r} is none of {', '.join(SCHEMES)}", final=True)
    have = part.stat().st_size if part.exists() else 0
    if have > size:
        part.unlink()
        have = 0
    if have < size and not _fetch(url, part, have, size, go_on, progress):
        return False
    _check(part, size, sha256, begun_before=have > 0)
    return True


def _fetch(
    url: str, part: Path, have: int, size: int, go_on: Callable[[], bool], progress: Callable[[float], object]
) -> bool:
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310  checked
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer, part.open("ab") as file:  # noqa: S310
            if have and getattr(answer, "status", None) != http.HTTPStatus.PARTIAL_CONTENT:
                file.truncate(0)  # whoever gives the whole file instead of the rest: file:// and plain servers
                have = 0
            while have <= size and (data := answer.read(CHUNK)):
                if not go_on():
                    return False
                file.write(data)
                have += len(data)
                progress(min(have / max(size, 1), 1.0))
            file.flush()
            os.fsync(file.fileno())
    except urllib.error.HTTPError as error:
        error.close()
        final = 400 <= error.code < 500 and error.code not in LATER
        raise DownloadError(f"{url} answers {error.code} {error.reason}", final=final) from None
    except (OSError, http.client.HTTPException) as error:
        missing = isinstance(getattr(error, "reason", None), FileNotFoundError)
        raise DownloadError(f"{url} cannot be read: {getattr(error, 'reason', error)}", final=missing) from None
    if have < size:
        raise DownloadError(f"{url} ended after {have} of {size} bytes", final=False)
    return True


def _check(part: Path, size: int, sha256: str, *, begun_before: bool) -> None:
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    wrong = f"{part.stat().st_size} bytes, not {size}" if part.stat().st_size != size else ""
    if not wrong and found != sha256:
        wrong = f"the sha256 {found[:12]}, not {sha256[:12]}"
    if wrong:
        part.unlink()
        # Pieces of two attempts need not be of one file: then it is fetched anew, in one piece.
        raise DownloadError(f"what came has {wrong}", final=not begun_before)
