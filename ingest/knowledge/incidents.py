"""Incidents: the same on many devices within a while is one thing, for people too."""

from __future__ import annotations

import bisect
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

from ..stores.queries import query
from .clusters import Beginning, Cluster, clusters, match

AT_ONCE = 5000  # episodes a transaction
ROUNDS = 20  # transactions a run
# Drift comes to devices one after the other, as fog does; a broken link cuts off all of them at once.
WINDOWS = {"drift": timedelta(hours=1), "camera": timedelta(hours=1), "away": timedelta(minutes=15)}
READ = ("devices", "kinds", "episodes", "types", "bundles", "begins", "clocks")  # columns of an episode
A_DAY = timedelta(days=1)
HALF = 0.5  # of the fleet: critical
Key = tuple[str, str, str]  # kind, type, bundle


@dataclass(frozen=True, slots=True)
class Measure:
    """From how many devices on it is an incident: at least `least`, and this share of those that are online."""

    least: int = 3
    share: float = 0.2

    def of(self, online: int) -> int:
        return max(self.least, math.ceil(self.share * online - 1e-9))


def gather(database: psycopg.Connection, measure: Measure) -> str:
    """Puts new episodes into incidents, opens, merges and closes these."""
    changed = 0
    for _ in range(ROUNDS):
        with database.transaction():
            fresh = _rows(database, "unclustered", [AT_ONCE])
            for key, times in _concerned(database, fresh).items():
                changed += _gather_kind(database, key, times, measure)
            columns = [[row[number] for row in fresh] for number in range(len(READ))]
            _run(database, "mark_clustered", dict(zip(READ, columns, strict=True)))
        if len(fresh) < AT_ONCE:
            break
    settled = _run(database, "settle_incidents").rowcount
    said = [f"{changed} incidents are new or changed"] if changed else []
    return ", ".join(said + ([f"{settled} were opened or closed"] if settled else []))


def _concerned(database: psycopg.Connection, fresh: Sequence[tuple[Any, ...]]) -> dict[Key, list[datetime]]:
    """The kinds of trouble whose incidents may change, and about when."""
    concerned: dict[Key, list[datetime]] = {}
    for _, kind, _, type_, bundle, at, clock, _ in fresh:
        if at is not None and clock != "unsynced":
            concerned.setdefault((kind, type_, bundle), []).append(at)
    before = sorted({row[7] for row in fresh if row[7] is not None})  # they were members as they were before
    for kind, type_, bundle, begin, last in _rows(database, "incident_key", [before]):
        concerned.setdefault((kind, type_, bundle), []).extend((begin, last))
    return dict(sorted(concerned.items()))


def _gather_kind(database: psycopg.Connection, key: Key, times: Sequence[datetime], measure: Measure) -> int:
    """Finds the incidents of one kind of trouble anew, as far in time as the changes reach."""
    kind, type_, bundle = key
    window = WINDOWS[kind]
    which: dict[str, Any] = {"kind": kind, "type": type_, "bundle": bundle}
    since, until = min(times) - window, max(times) + window
    known: list[str] = []
    while True:  # an incident that is touched is looked at whole
        touched = _rows(database, "incidents_between", {**which, "since": since, "until": until})
        known = [row[0] for row in touched]
        wider = min([since, *(row[1] for row in touched)]), max([until, *(row[2] for row in touched)])
        if wider == (since, until):
            break
        since, until = wider
    rows = _rows(database, "beginnings", {**which, "since": since, "until": until + window})
    online = _sizes(_rows(database, "fleet_sizes", {"bundle": bundle, "since": since, "until": until}))
    found = clusters(
        (Beginning(at, device, episode) for device, episode, at in rows), window, lambda at: measure.of(online(at))
    )
    # What begins after `until` was not touched, and is cut off here.
    return _write(database, key, [one for one in found if one[0].at <= until], known, online)


def _write(
    database: psycopg.Connection,
    key: Key,
    found: Sequence[Cluster],
    known: Sequence[str],
    online: Callable[[datetime], int],
) -> int:
    members: dict[str, set[tuple[str, str]]] = {}
    for incident, device, episode in _rows(database, "members", [known]):
        members.setdefault(incident, set()).add((device, episode))
    ages = [row[0] for row in _rows(database, "opening_order", [known])]
    plan = match(found, [(incident, frozenset(members.get(incident, ()))) for incident in ages])
    named = [(plan.kept.get(number) or name_of(key, cluster), cluster) for number, cluster in enumerate(found)]
    changed = [(name, cluster) for name, cluster in named if {one.name for one in cluster} != members.get(name)]
    # What leaves goes first: an episode is in one incident.
    _run(database, "clear_members", [[*plan.merged, *plan.dissolved]])
    for name, cluster in changed:
        left = members.get(name, set()) - {one.name for one in cluster}
        _run(database, "drop_members", {"incident": name, **_columns(left)})
    for name, cluster in changed:
        _write_one(database, key, name, cluster, online(cluster[0].at))
        joined = {one.name for one in cluster} - members.get(name, set())
        _run(database, "write_members", {"incident": name, "kind": key[0], **_columns(joined)})
        _run(database, "count_restarted", [name])
    for incident, into in plan.merged.items():
        _run(database, "end_incident", {"incident": incident, "status": "merged", "into": into})
    for incident in plan.dissolved:
        _run(database, "end_incident", {"incident": incident, "status": "dissolved", "into": None})
    return len(changed) + len(plan.merged) + len(plan.dissolved)


def _write_one(database: psycopg.Connection, key: Key, name: str, cluster: Cluster, online: int) -> None:
    kind, type_, bundle = key
    devices = len({one.device for one in cluster})
    fleet = max(online, devices)
    values = {
        "incident": name,
        "kind": kind,
        "type": type_,
        "bundle": bundle,
        "severity": severity(kind, type_, devices / fleet),
        "begin_at": cluster[0].at,
        "last_at": cluster[-1].at,
        "devices": devices,
        "online": fleet,
    }
    _run(database, "write_incident", values)


def _columns(names: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    ordered = sorted(names)
    return {"devices": [device for device, _ in ordered], "episodes": [episode for _, episode in ordered]}


def severity(kind: str, type_: str, share: float) -> str:
    """How bad an incident is. Black pictures on many devices are most often the night."""
    if kind == "camera" and type_ == "black":
        return "info"
    return "critical" if share >= HALF and kind != "camera" else "warning"


def name_of(key: Key, cluster: Cluster) -> str:
    """A name for a new incident: what, when, and which."""
    first = cluster[0]
    mark = hashlib.sha256("\n".join((*key, first.at.isoformat(), *first.name)).encode()).hexdigest()[:8]
    return f"{key[0]}-{first.at:%Y%m%dT%H%M}-{mark}"


def _sizes(rows: Sequence[tuple[Any, ...]]) -> Callable[[datetime], int]:
    """How many were online at most in the day before a time; where nobody counted, when somebody did next to it."""
    hours: list[datetime] = [row[0] for row in rows]
    counts: list[int] = [row[1] for row in rows]

    def online(at: datetime) -> int:
        first, last = bisect.bisect_right(hours, at - A_DAY), bisect.bisect_right(hours, at)
        if first < last:
            return max(counts[first:last])
        if not hours:
            return 0
        return counts[min(range(len(hours)), key=lambda i: abs(hours[i] - at))]

    return online


def _rows(
    database: psycopg.Connection, name: str, values: Sequence[object] | Mapping[str, object] = ()
) -> list[tuple[Any, ...]]:
    return database.execute(query(name, __package__), values).fetchall()


def _run(
    database: psycopg.Connection, name: str, values: Sequence[object] | Mapping[str, object] = ()
) -> psycopg.Cursor[Any]:
    return database.execute(query(name, __package__), values)
