"""Tells systemd how it goes, where systemd asked to be told; elsewhere nothing happens."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> bool:
    """Sends `READY=1`, `WATCHDOG=1`, `STOPPING=1`, `STATUS=...`; False where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
            speaker.sendto(state.encode(), address)
    except OSError:
        return False
    return True


def watchdog_s() -> float | None:
    """How often systemd wants to hear from us: half of what it allows. None where it does not."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 2e6
