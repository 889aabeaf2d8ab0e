"""The report of a run: a tree for programs, lines for a person, and whether every promise was kept."""

from __future__ import annotations

import resource
from typing import Any

from .fleet import Fleet
from .tally import Counted, Tally

Report = dict[str, Any]


def report(fleet: Fleet, seconds: float, cpu_s: float, counted: Counted | None, labels_failed: int) -> Report:
    """Everything that was counted. Without a database `lost` is what was not confirmed, `duplicated` is not known."""
    settings, tally = fleet.settings, fleet.tally
    return {
        "devices": settings.devices,
        "most_connected": tally.most_connected,
        "seconds": round(seconds, 1),
        "rate_asked": settings.rate,
        "made": tally.made,
        "skipped": tally.skipped,
        "delivered": tally.delivered,
        "stored": tally.stored,
        "lost": tally.waiting if counted is None else counted.lost,
        "not_confirmed": tally.waiting,
        "duplicated": None if counted is None else counted.twice,
        "foreign": None if counted is None else counted.foreign,
        "rows": None if counted is None else counted.rows,
        "publishes": tally.sent,
        "sent_again": tally.again,
        "sent_twice_on_purpose": tally.duplicates,
        "answers": dict(tally.answers),
        "waits_given_up": tally.expired,
        "device_to_stored": tally.device_to_stored.told(),
        "device_to_row": None if counted is None else counted.device_to_row,
        "labels": _labels(tally, counted, labels_failed, len(fleet.posted)),
        "connections": tally.connections,
        "attempts": tally.attempts,
        "reconnects": max(0, tally.connections - settings.devices),
        "links_dropped": tally.dropped,
        "storms": tally.storms,
        "reboots": tally.reboots,
        "why_links_ended": dict(tally.reasons.most_common(10)),
        "worker_listened": tally.listened,
        "unreadable": tally.odd,
        "bytes_up": tally.bytes_up,
        "bytes_down": tally.bytes_down,
        "simulator_cpu_s": round(cpu_s, 2),
        "simulator_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _labels(tally: Tally, counted: Counted | None, failed: int, waiting: int) -> Report:
    return {
        "posted": tally.labels_posted,
        "failed": failed,
        "heard": tally.labels_heard,
        "answered": tally.labels_answered,
        "proved": tally.label_to_applied.count,
        "waiting": waiting,
        "applied": None if counted is None else counted.labels_applied,
        "label_to_applied": tally.label_to_applied.told(),
    }


def broken(told: Report) -> list[str]:
    """Promises that were not kept, a sentence each."""
    found = []
    if told["made"] and not told["worker_listened"]:
        found.append("no ingest worker said that it listens, so devices held everything back")
    if told["lost"]:
        where = "have no row" if told["duplicated"] is not None else "were not confirmed as stored"
        found.append(f"{told['lost']:,} records {where}")
    if told["duplicated"]:
        found.append(f"{told['duplicated']:,} rows are of records that were stored before")
    if told["foreign"]:
        found.append(f"{told['foreign']:,} rows are of records that no device made")
    if told["rows"] is not None and told["not_confirmed"]:
        found.append(f"{told['not_confirmed']:,} records were not confirmed to their devices in time")
    if told["labels"]["waiting"]:
        found.append(f"{told['labels']['waiting']:,} labels were not proved applied in time")
    return found


def lines(told: Report) -> list[str]:
    """The report for a person."""
    labels = told["labels"]
    unknown = "not known without --database"
    rows = [
        ("devices", f"{told['devices']:,}, at most {told['most_connected']:,} connected at once"),
        (
            "records made",
            f"{told['made']:,} in {told['seconds']:,.1f} s" + _more(told["skipped"], "skipped, spool full"),
        ),
        ("delivered (PUBACK)", f"{told['delivered']:,}"),
        ("stored (confirmed)", f"{told['stored']:,}"),
        ("lost", f"{told['lost']:,}"),
        ("stored twice", unknown if told["duplicated"] is None else f"{told['duplicated']:,}"),
        ("publishes", f"{told['publishes']:,}" + _more(told["sent_again"], "sent again")),
        ("device to stored", _times(told["device_to_stored"])),
        ("device to row", unknown if told["rows"] is None else _times(told["device_to_row"])),
        (
            "labels",
            f"{labels['posted']:,} given, {labels['proved']:,} proved applied" + _more(labels["failed"], "failed"),
        ),
        ("label to applied", _times(labels["label_to_applied"])),
        (
            "reconnects",
            f"{told['reconnects']:,}" + _more(told["storms"], "storms") + _more(told["reboots"], "reboots"),
        ),
        ("bytes", f"{told['bytes_up']:,} up, {told['bytes_down']:,} down"),
        ("simulator", f"{told['simulator_cpu_s']:.1f} s of processor time, {told['simulator_peak_mb']:.0f} MB"),
    ]
    return [f"  {name:20} {value}" for name, value in rows]


def _more(count: int, what: str) -> str:
    return f", {count:,} {what}" if count else ""


def _times(told: dict[str, float] | None) -> str:
    if told is None:
        return "-"
    return "  ".join(f"{name} {told[f'{name}_ms']:,.1f}" for name in ("p50", "p95", "p99", "max")) + " ms"
