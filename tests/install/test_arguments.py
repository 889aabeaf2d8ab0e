"""install.sh says in one sentence what it cannot do, before it does anything."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import missing

ROOT = Path(__file__).parents[2]
INSTALL = ROOT / "install.sh"

debian = pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="this is not Debian")


@pytest.fixture
def disguised(tmp_path: Path) -> Path:
    """A folder of commands that answer what a test wants to be true of the machine."""
    return tmp_path


def pretend(folder: Path, name: str, answer: str, status: int = 0) -> None:
    (folder / name).write_text(f"#!/bin/sh\necho '{answer}'\nexit {status}\n")
    (folder / name).chmod(0o755)


def run(*arguments: str | Path, first: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{first}:{os.environ['PATH']}" if first else os.environ["PATH"]
    return subprocess.run(
        [INSTALL, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PATH": path, **environment},
    )


def refusal(*arguments: str | Path, first: Path | None = None, **environment: str) -> str:
    done = run(*arguments, first=first, **environment)
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr.removeprefix("install.sh: ").strip()


def test_help_tells_what_there_is() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--device", "--bundle", "--wheels", "--uninstall", "--dry-run"))


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    for arguments, reason in (
        (("--devise", "x"), "there is no option --devise; ./install.sh --help lists them"),
        (("--device",), "--device needs a value; ./install.sh --help tells more"),
        (("--purge",), "--purge goes with --uninstall"),
        (
            ("--device=Bench_1", "--dry-run"),
            "a device cannot be called 'Bench_1': lower-case letters, digits and hyphens are allowed",
        ),
        (("--bundle", str(tmp_path / "no")), f"the bundle {tmp_path / 'no'} cannot be read"),
        (
            ("--wheels", str(tmp_path / "no")),
            f"there is no folder {tmp_path / 'no'} with packages; --fetch-wheels makes one",
        ),
        (("--mode", "free"), "there is no mode 'free'"),
        (
            ("--camera", "/home/pi/pictures"),
            "the service cannot see /home/pi/pictures: /home, /root and /tmp are closed to it;"
            " /srv is a good place for pictures",
        ),
        (("--broker", "mqtt://a\nb"), "a value holds a control character or a line break"),
    ):
        assert refusal(*arguments) == reason


@debian
def test_a_machine_that_cannot_be_a_device_is_refused(disguised: Path) -> None:
    pretend(disguised, "getconf", "32")
    assert refusal("--dry-run", first=disguised).startswith("this system is 32-bit;")
    pretend(disguised, "getconf", "64")
    pretend(disguised, "id", "1000")
    assert refusal(first=disguised) == "this needs root: sudo ./install.sh ..."


@debian
def test_an_old_python_is_refused(tmp_path: Path, disguised: Path) -> None:
    old = disguised / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2\ncase $2 in *sys*) exit 1 ;; esac\n')
    old.chmod(0o755)
    bundle = tmp_path / "x.bundle"
    bundle.touch()
    assert refusal("--dry-run", "--device=a", "--bundle", bundle, TINYML_PYTHON=str(old)).startswith(
        "Python 3.11 or newer is needed, this is Python 3.9.2:"
    )


@debian
@pytest.mark.skipif(Path("/etc/tinyml/edge.toml").exists(), reason="this machine is a device already")
def test_the_first_time_wants_a_name_and_a_bundle() -> None:
    assert refusal("--dry-run") == "a name is needed the first time: --device NAME"
    assert refusal("--dry-run", "--device=a").startswith("a bundle is needed the first time: --bundle FILE")


def test_every_setting_it_writes_is_one() -> None:
    from edge_actors.settings import EdgeSettings  # noqa: PLC0415  for this test alone

    script = INSTALL.read_text()
    written = {line.split()[1] for line in script.splitlines() if line.startswith("    line ")}
    assert written == {"device", "bundle", "state_dir", "camera", "mode", "broker", "username", "ca_file"}
    assert written <= set(EdgeSettings.__dataclass_fields__)


def test_shellcheck_has_nothing_to_say() -> None:
    if shutil.which("shellcheck") is None:
        missing("shellcheck")
    subprocess.run(["shellcheck", INSTALL, ROOT / "tinyml"], check=True, timeout=60)
