"""A Debian machine in a container, with systemd as its first process, as a device has it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import missing, wait_until

DOCKERFILE = """ARG BASE
FROM $BASE
RUN apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    systemd systemd-sysv dbus python3
CMD ["/sbin/init"]
"""
IMAGE = "tinyml-install-test"


class Machine:
    """Runs commands in the container; `run` wants them to succeed."""

    def __init__(self, container: str) -> None:
        self.container = container

    def run(self, *command: str) -> str:
        done = self.attempt(*command)
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def attempt(self, *command: str) -> subprocess.CompletedProcess[str]:
        return docker("exec", self.container, *command)

    def is_there(self, path: str) -> bool:
        return self.attempt("test", "-e", path).returncode == 0

    def stat(self, path: str) -> str:
        """Mode, owner and group."""
        return self.run("stat", "-c", "%a %U %G", path).strip()

    def unit(self, name: str) -> str:
        """A property of the device's service."""
        return self.run("systemctl", "show", "--value", "-p", name, "tinyml-edge").strip()


@contextmanager
def machine(suite: str, folder: Path, mounts: dict[Path, str]) -> Iterator[Machine]:
    """A machine that has just started. Skips, or fails in CI, where there is no Docker engine."""
    image = image_of(suite, folder)
    volumes = [part for path, place in mounts.items() for part in ("-v", f"{path}:{place}:ro")]
    # systemd makes control groups and mounts; it needs no more than this, and no privileged container.
    rights = ["--cap-add", "SYS_ADMIN", "--cgroupns", "host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "-t"]
    memory = ["--tmpfs", "/run", "--tmpfs", "/run/lock"]
    container = checked("run", "--detach", *rights, *memory, *volumes, image).strip()
    try:
        started = Machine(container)
        wait_until(lambda: "running" in started.attempt("systemctl", "is-system-running").stdout, timeout=60)
        yield started
    finally:
        docker("rm", "--force", container)


def image_of(suite: str, folder: Path) -> str:
    """Debian with systemd and Python and little else; made once, as Docker keeps what it has built."""
    if shutil.which("docker") is None or docker("info").returncode:
        missing("Docker engine")
    base = f"debian:{suite}-slim"
    if docker("image", "inspect", base).returncode and docker("pull", "--quiet", base).returncode:
        _bootstrap(suite, base, folder)
    tag = f"{IMAGE}:{suite}"
    (folder / "Dockerfile").write_text(DOCKERFILE)
    checked("build", "--quiet", "--build-arg", f"BASE={base}", "--tag", tag, str(folder))
    return tag


def _bootstrap(suite: str, base: str, folder: Path) -> None:
    """Makes the image from the mirror that this machine's apt uses, where no registry gives it."""
    if shutil.which("debootstrap") is None or os.geteuid():
        missing(f"image {base}, and no way to make it (root and debootstrap)")
    sites = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)"], capture_output=True, text=True, timeout=60, check=True
    )
    mirror = next(site for site in sites.stdout.split() if site.rstrip("/").endswith("/debian"))
    root = folder / suite
    command = ["debootstrap", "--variant=minbase", "--include=ca-certificates", suite, str(root), mirror]
    subprocess.run(command, capture_output=True, timeout=300, check=True)
    archive = folder / f"{suite}.tar"
    subprocess.run(["tar", "-C", str(root), "--numeric-owner", "-cf", str(archive), "."], timeout=120, check=True)
    shutil.rmtree(root)
    checked("import", str(archive), base)
    archive.unlink()


def checked(*arguments: str) -> str:
    done = docker(*arguments)
    assert done.returncode == 0, f"docker {arguments[0]}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=300, check=False)
