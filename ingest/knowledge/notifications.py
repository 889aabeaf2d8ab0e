"""From conditions to notifications: held down, told once, few of a kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import psycopg

from ..stores.queries import query
from .rules import FAULTS, RULES, Rule


@dataclass(frozen=True, slots=True)
class Patience:
    """How long something has to last before people are told, in seconds, and how many of a kind they are told."""

    hold_s: float = 600.0
    drift_s: float = 4 * 3600.0
    offline_s: float = 3600.0
    waiting_s: float = 3600.0
    per_hour: int = 10


def judge(database: psycopg.Connection, patience: Patience, channels: Sequence[str], mute: Sequence[str] = ()) -> str:
    """Looks at every condition and tells of those that have lasted; `channels` get what is told, once each."""
    values = {
        "hold_s": patience.hold_s,
        "drift_s": patience.drift_s,
        "offline_s": patience.offline_s,
        "waiting_s": patience.waiting_s,
        "faults": sorted(FAULTS),
    }
    keys: list[str] = []
    with database.transaction():
        for name, rule in RULES.items():
            if name in mute:
                continue
            conditions = database.execute(query(rule.when, __package__), values).fetchall()
            keys += [_see(database, rule, condition) for condition in conditions]
        database.execute(query("end_conditions", __package__), {"keys": keys})
        told = _tell(database, patience, channels)
    return f"{told} notifications" if told else ""


def write(
    database: psycopg.Connection, kind: str, severity: str, title: str, text: str, action: str, link: str
) -> int:
    """A notification that stands for no condition; returns its id."""
    values = {"kind": kind, "key": kind, "severity": severity, "title": title, "text": text, "action": action}
    row = database.execute(query("write_notification", __package__), {**values, "link": link}).fetchone()
    assert row is not None  # INSERT ... RETURNING gives a row
    return int(row[0])


def _see(database: psycopg.Connection, rule: Rule, condition: tuple[Any, ...]) -> str:
    """Notes that a condition lasts; returns its key."""
    kind, key, severity, device, episode, incident, since, facts = condition
    who: Mapping[str, str] = {"device": device or "", "episode": episode or "", "incident": incident or ""}
    values = {
        "kind": kind,
        "key": key,
        "severity": severity,
        "device": device,
        "episode": episode,
        "incident": incident,
        "since": since,
        "title": rule.title(facts, who["device"]),
        "text": rule.text(facts, who["device"]),
        "action": rule.action(facts),
        "link": rule.link.format(**{name: quote(value, safe="") for name, value in who.items()}),
    }
    database.execute(query("see_condition", __package__), values)
    return str(key)


def _tell(database: psycopg.Connection, patience: Patience, channels: Sequence[str]) -> int:
    """Tells what has been held down for long enough; beyond so many of a kind an hour it is only stored."""
    lately: Counter[str] = Counter(dict(database.execute(query("told_lately", __package__)).fetchall()))
    told: list[int] = []
    sent: list[int] = []
    for number, kind, _, held_s in database.execute(query("held_down", __package__)).fetchall():
        if RULES[kind].hold and held_s < patience.hold_s:
            continue
        told.append(number)
        lately[kind] += 1
        if lately[kind] <= patience.per_hour:
            sent.append(number)
        elif not lately[_more(kind)]:
            lately[_more(kind)] += 1
            sent.append(_write_more(database, kind, patience.per_hour))
    database.execute(query("tell", __package__), [told])
    database.execute(query("deliver", __package__), {"ids": sent, "channels": list(channels)})
    return len(told)


def _more(kind: str) -> str:
    return f"more:{kind}"


def _write_more(database: psycopg.Connection, kind: str, per_hour: int) -> int:
    return write(
        database,
        _more(kind),
        "warning",
        f"More than {per_hour} notifications of {kind} in an hour",
        f"There were more than {per_hour} notifications of kind {kind} within an hour. Further ones are only stored.",
        "Look at the list; so many at once have most often one cause.",
        f"/notifications?kind={kind}",
    )
