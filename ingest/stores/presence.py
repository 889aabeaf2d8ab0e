"""Which of two things said about a device is the newer one, whatever the order they arrive in."""

from __future__ import annotations

from dataclasses import dataclass

from broker.messages import Birth, Header, Status


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a status or a birth stands in the life of a device."""

    boot: str
    session: int
    mono_us: int = 0
    will: bool = False  # said by the broker for a device that is gone


def of_status(header: Header, status: Status) -> Standing:
    return Standing(header.boot, status.session, header.mono_us, will=status.state == "offline")


def of_birth(header: Header, birth: Birth) -> Standing:
    return Standing(header.boot, birth.session)


def overrules(new: Standing, old: Standing) -> bool:
    """Whether `new` replaces `old`.

    Within one installation the later boot, then the later session wins; within a session its will is the last word,
    and before that message time decides. Another installation of the same device cannot be compared: what arrives
    later wins, but a will only ends a session of its own installation.
    """
    if _installation(new.boot) != _installation(old.boot):
        return not new.will
    return _order(new) > _order(old)


def _installation(boot: str) -> str:
    return boot.rpartition("-")[0]


def _order(standing: Standing) -> tuple[int, int, bool, int]:
    count = standing.boot.rpartition("-")[2]
    return int(count) if count.isdecimal() else 0, standing.session, standing.will, standing.mono_us
