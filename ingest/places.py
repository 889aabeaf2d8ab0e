"""Where a PostgreSQL server can live: places that the user who runs it can reach.

PostgreSQL refuses to run as root, so root has somebody else run it, and that user may not get to where root's files
are. Then data and programs go to a directory for temporary files, in directories of their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from .errors import PostgresError

SOCKET_PATH_LIMIT = 80  # of about 107 bytes; the rest is the name of the socket
ELSEWHERE = (Path("/var/tmp"), Path(tempfile.gettempdir()))  # noqa: S108  in them only directories nobody else can enter


def unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise PostgresError("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")


def place(data_dir: Path, user: pwd.struct_passwd | None) -> Path:
    """The real directory of the cluster, owned by the user who runs it and reachable for him."""
    if data_dir.is_symlink():
        data_dir = data_dir.readlink()
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    if user is not None and not _can_enter(data_dir.parent, user):
        if data_dir.exists():
            raise PostgresError(f"{user.pw_name}, who runs PostgreSQL for root, cannot reach {data_dir}")
        elsewhere = Path(tempfile.mkdtemp(prefix="tinyml-postgres-", dir=_folder_for_all(user)))
        data_dir.symlink_to(elsewhere)
        data_dir = elsewhere
    data_dir.mkdir(mode=0o700, exist_ok=True)
    if user is not None:
        if data_dir.stat().st_uid not in (0, user.pw_uid):
            raise PostgresError(f"{data_dir} belongs to somebody else")
        os.chown(data_dir, user.pw_uid, user.pw_gid)
    return data_dir.resolve()


def _folder_for_all(user: pwd.struct_passwd) -> Path:
    for folder in ELSEWHERE:
        if _can_enter(folder, user):
            return folder
    raise PostgresError(f"{user.pw_name}, who runs PostgreSQL for root, can enter neither of {ELSEWHERE}")


def programs_within_reach(programs: Path, user: pwd.struct_passwd | None) -> Path:
    if user is None or not programs.is_dir() or _can_enter(programs.resolve(), user):
        return programs
    # The package keeps libraries beside it, so the copy keeps the layout: <packages>/<package>/<install>/bin.
    packages = programs.resolve().parents[2]
    copy = _folder_for_all(user) / f"tinyml-programs-{_fingerprint(programs / 'postgres')}"
    install = programs.resolve().parent.relative_to(packages)
    if copy.exists() and copy.stat().st_uid != 0:
        raise PostgresError(f"{copy} belongs to somebody else")
    if not copy.exists():
        with tempfile.TemporaryDirectory(dir=copy.parent) as beside:
            made = Path(beside) / "copy"
            made.mkdir(mode=0o755)
            shutil.copytree(packages / install, made / install, symlinks=True)
            libraries = packages / f"{install.parts[0]}.libs"
            if libraries.is_dir():
                shutil.copytree(libraries, made / libraries.name, symlinks=True)
            with contextlib.suppress(OSError):  # another process was faster
                made.rename(copy)
    return copy / install / "bin"


def _fingerprint(program: Path) -> str:
    stat = program.stat()
    return hashlib.sha256(f"{program.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]


def _can_enter(folder: Path, user: pwd.struct_passwd) -> bool:
    tried = subprocess.run(
        ["test", "-x", str(folder)], user=user.pw_uid, group=user.pw_gid, extra_groups=[], check=False
    )
    return tried.returncode == 0


def socket_dir(data_dir: Path, user: pwd.struct_passwd | None) -> Path:
    if len(os.fsencode(data_dir)) <= SOCKET_PATH_LIMIT:
        return data_dir
    folder = _folder_for_all(user) if user else Path(tempfile.gettempdir())
    short = folder / f"tinyml-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]}"
    short.mkdir(mode=0o700, exist_ok=True)
    owner = user.pw_uid if user else os.geteuid()
    if user is not None and short.stat().st_uid == 0:
        os.chown(short, user.pw_uid, user.pw_gid)
    if short.stat().st_uid != owner:
        raise PostgresError(f"{short} belongs to somebody else")
    return short
