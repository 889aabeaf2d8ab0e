"""install.sh on the Debian that Raspberry Pi OS is made of, with systemd: from bare to a device and back."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

import edge_actors
from edge_actors.bundle.build import BuildOptions, build_bundle
from edge_actors.training.digit_pictures import digit_pictures
from tests.install.machine import Machine, machine
from tests.support import wait_until

ROOT = Path(__file__).parents[2]
MODEL = Path(edge_actors.__file__).parent / "training" / "artifacts" / "digits_extractor.tflite"
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
FILES = {
    "/etc/tinyml/edge.toml": "644 root root",
    "/etc/tinyml/edge.env": "600 root root",
    "/etc/tinyml/edge.bundle": "644 root root",
    "/etc/systemd/system/tinyml-edge.service": "644 root root",
    "/etc/systemd/journald.conf.d/tinyml.conf": "644 root root",
    "/etc/udev/rules.d/70-tinyml.rules": "644 root root",
    "/opt/tinyml/current/bin/tinyml": "755 root root",
}
FIRST = (
    "--device=bench-1",
    "--bundle=/kit/digits.bundle",
    "--camera=/srv/pictures",
    "--wheels=/kit/wheels",
    "--log-to-ram",
)
IMPATIENT = """mkdir -p /etc/systemd/system/tinyml-edge.service.d
printf '[Service]\\nWatchdogSec=5\\nRestartSec=0\\n' > /etc/systemd/system/tinyml-edge.service.d/test.conf
systemctl daemon-reload
systemctl restart tinyml-edge"""


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a person brings: the sources, a bundle, pictures instead of a camera."""
    kit = tmp_path_factory.mktemp("kit")
    for name in ("broker", "edge_actors", "install"):
        shutil.copytree(ROOT / name, kit / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    (kit / "source" / "requirements").mkdir()
    shutil.copy(ROOT / "requirements" / "edge.txt", kit / "source" / "requirements")
    shutil.copy(ROOT / "install.sh", kit / "source")
    digits = digit_pictures()
    labelled = [(p, label, "") for p, label, part in zip(*digits, strict=True) if part == "ref"]
    build_bundle(labelled[::3], MODEL.read_bytes(), BuildOptions()).write(kit / "digits.bundle")
    (kit / "broken.bundle").write_bytes((kit / "digits.bundle").read_bytes()[:-5000])
    (kit / "password").write_text('pa"ss\\wo$rd\n')
    (kit / "pictures").mkdir()
    for number, pixels in enumerate(digits.pixels[:40]):
        Image.fromarray(pixels[:, :, 0]).save(kit / "pictures" / f"{number:03d}.png")
    return kit


@pytest.mark.slow
@pytest.mark.container
@pytest.mark.timeout(500)
@pytest.mark.parametrize("suite", PYTHONS)
def test_a_bare_machine_becomes_a_device_and_can_be_left_as_it_was(suite: str, kit: Path, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    fetch = ["--fetch-wheels", str(wheels), "--for-python", PYTHONS[suite], "--for-machine", platform.machine()]
    subprocess.run([kit / "source" / "install.sh", *fetch], check=True, timeout=300)
    # The packages come from this machine, so that the container needs neither a registry nor this machine's settings.
    mounts = {kit: "/kit", wheels: "/kit/wheels", kit / "pictures": "/srv/pictures"}
    (kit / "wheels").mkdir(exist_ok=True)
    with machine(suite, tmp_path, mounts) as bare:
        _says_what_is_missing_and_changes_nothing(bare)
        _installs(bare)
        _runs_as_its_own_user_with_few_rights(bare)
        _a_second_time_changes_nothing(bare)
        _keeps_what_a_person_edited(bare)
        _refuses_a_damaged_bundle_and_goes_on(bare)
        _is_restarted_when_it_hangs(bare)
        bare.run("rm", "-r", "/etc/systemd/system/tinyml-edge.service.d")
        _leaves_and_comes_back_with_what_it_learned(bare)
        _leaves_nothing(bare)


def install(on: Machine, *arguments: str) -> str:
    return on.run("/kit/source/install.sh", *arguments)


def _says_what_is_missing_and_changes_nothing(bare: Machine) -> None:
    refused = bare.attempt("/kit/source/install.sh", *FIRST, "--no-apt")
    assert refused.returncode == 1
    assert refused.stderr == "install.sh: Debian packages are missing: apt install python3-venv\n"
    said = install(bare, *FIRST, "--dry-run")
    assert "would: installs the Debian packages python3-venv" in said
    assert said.endswith("nothing was changed: this was a dry run\n")
    assert not any(bare.is_there(path) for path in (*FILES, "/opt/tinyml", "/etc/tinyml"))


def _installs(bare: Machine) -> None:
    said = install(bare, *FIRST, "--password-file=/kit/password")
    assert "starts the device" in said
    assert {path: bare.stat(path) for path in FILES} == FILES
    assert bare.run("systemd-analyze", "verify", "/etc/systemd/system/tinyml-edge.service") == ""
    assert bare.run("cat", "/etc/tinyml/edge.env") == 'TINYML_EDGE_PASSWORD="pa\\"ss\\\\wo$rd"\n'
    assert bare.unit("ActiveState") == "active"  # Type=notify: the device itself has said that it runs
    assert "bench-1 runs: boot" in bare.run("journalctl", "--unit", "tinyml-edge")


def _runs_as_its_own_user_with_few_rights(device: Machine) -> None:
    process = f"/proc/{device.unit('MainPID')}"
    user, video = device.run("id", "-u", "tinyml").strip(), device.run("getent", "group", "video").split(":")[2]
    lines = device.run("cat", f"{process}/status").splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    assert status["Uid"] == [user] * 4
    assert video in status["Groups"]
    assert status["NoNewPrivs"] == ["1"]
    assert status["CapBnd"] == ["0000000000000000"]
    assert status["Seccomp"] == ["2"]
    environment = device.run("cat", f"{process}/environ").split("\0")
    assert 'TINYML_EDGE_PASSWORD=pa"ss\\wo$rd' in environment
    assert device.stat("/var/lib/tinyml") == "750 tinyml tinyml"
    wait_until(lambda: device.is_there("/var/lib/tinyml/spool.db"))


def _a_second_time_changes_nothing(device: Machine) -> None:
    before = device.unit("MainPID")
    for arguments in (FIRST, ()):
        assert install(device, *arguments) == "tinyml: everything is as it should be; nothing changed\n"
    assert device.unit("MainPID") == before


def _keeps_what_a_person_edited(device: Machine) -> None:
    said = install(device, "--mode=monitor", "--broker=mqtt://127.0.0.1:1")  # nobody has edited it yet
    assert "writes /etc/tinyml/edge.toml" in said
    settings = device.run("cat", "/etc/tinyml/edge.toml")
    assert 'device = "bench-1"\n' in settings
    assert 'mode = "monitor"\n' in settings
    device.run("sh", "-c", "echo 'fps = 2.0' >> /etc/tinyml/edge.toml")
    said = install(device, "--mode=autonomous")
    assert said.startswith("tinyml: note: /etc/tinyml/edge.toml was edited and stays as it is; change it there\n")
    assert device.run("cat", "/etc/tinyml/edge.toml") == settings + "fps = 2.0\n"


def _refuses_a_damaged_bundle_and_goes_on(device: Machine) -> None:
    before = device.unit("MainPID")
    refused = device.attempt("/kit/source/install.sh", "--bundle=/kit/broken.bundle")
    assert refused.returncode == 1
    assert "the bundle /kit/broken.bundle stays out; the reason is above" in refused.stderr
    assert device.unit("MainPID") == before
    device.run("cmp", "/kit/digits.bundle", "/etc/tinyml/edge.bundle")


def _is_restarted_when_it_hangs(device: Machine) -> None:
    device.run("sh", "-c", IMPATIENT)
    hung = device.unit("MainPID")
    device.run("systemctl", "kill", "--signal=STOP", "tinyml-edge")
    wait_until(
        lambda: device.unit("MainPID") not in (hung, "0") and device.unit("ActiveState") == "active", timeout=60
    )
    assert "Watchdog timeout" in device.run("journalctl", "--unit", "tinyml-edge")


def _leaves_and_comes_back_with_what_it_learned(device: Machine) -> None:
    as_tinyml = ("setpriv", "--reuid=tinyml", "--regid=tinyml", "--clear-groups")
    device.run(*as_tinyml, "tinyml", "edge", "snapshots", "--config", "/etc/tinyml/edge.toml")
    installation, starts = last_boot(device)
    said = install(device, "--uninstall")
    assert "settings in /etc/tinyml and what was learned in /var/lib/tinyml stay" in said
    assert device.attempt("systemctl", "is-active", "tinyml-edge").stdout == "inactive\n"
    assert not any(device.is_there(path) for path in FILES if not path.startswith("/etc/tinyml/"))
    assert not device.is_there("/opt/tinyml")
    install(device, "--wheels=/kit/wheels", "--system-packages")
    assert "true" in device.run("grep", "include-system", "/opt/tinyml/current/pyvenv.cfg")
    assert install(device) == "tinyml: everything is as it should be; nothing changed\n"
    assert last_boot(device) == (installation, starts + 1)


def last_boot(device: Machine) -> tuple[str, int]:
    """The installation that runs, and how often it has started."""
    installation, starts = re.findall(r"runs: boot (\w+)-(\d+)", device.run("journalctl", "--unit", "tinyml-edge"))[
        -1
    ]
    return installation, int(starts)


def _leaves_nothing(device: Machine) -> None:
    install(device, "--uninstall", "--purge")
    assert not any(
        device.is_there(path)
        for path in (*FILES, "/opt/tinyml", "/etc/tinyml", "/var/lib/tinyml", "/usr/local/bin/tinyml")
    )
    assert device.attempt("id", "tinyml").returncode == 1
    assert install(device, "--uninstall") == "tinyml: nothing of the device was here\n"
