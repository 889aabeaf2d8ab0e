"""What a snapshot holds, in a few numbers a person understands, and what going back to it would lose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .ports.snapshots import Snapshot

PERSON, PSEUDO = 1, 2  # `algorithms.neighbours.Origin`; looking at a snapshot shall not need numpy


@dataclass(frozen=True, slots=True)
class Summary:
    """What a version of the device left out of its states is counted as nothing."""

    wall_us: int = 0  # 0: the device had no wall time yet
    clock: str = ""  # whether that could be trusted
    from_people: int = 0  # samples of the memory, beside those of the bundle
    from_itself: int = 0
    labels: int = 0  # answered, whatever they led to
    waiting_labels: int = 0  # of these, not acknowledged yet: they come again
    quarantined: int = 0
    frames: int = 0
    episode: str = ""
    commissioned: bool = False


def summary(snapshot: Snapshot) -> Summary:
    """The numbers of a snapshot."""
    states = snapshot.states
    memory, monitor = _in(states, "knn", "memory"), _in(states, "drift_monitor")
    origins = list(memory.get("origins", b""))
    saver, wall = _in(states, "state_manager"), _in(states, "uplink")
    ticked = int(wall.get("wall_us", 0))
    return Summary(
        wall_us=ticked + round((snapshot.at - float(wall.get("at", 0.0))) * 1e6) if ticked else 0,
        clock=str(wall.get("clock", "")) if ticked else "",
        from_people=origins.count(PERSON),
        from_itself=origins.count(PSEUDO),
        labels=len(_in(states, "knn", "revisions")),
        waiting_labels=len(_in(saver, "waiting")) + len(_in(saver, "covered")),
        quarantined=len(_in(states, "quarantine", "samples").get("entries", ())),
        frames=int(monitor.get("frames", 0)),
        episode=str(monitor.get("episode", "")),
        commissioned=bool(monitor.get("settled", False)),
    )


def lost(latest: Snapshot, to: Snapshot) -> list[str]:
    """Sentences on what the latest snapshot holds and the one to go back to does not."""
    before, after = summary(to), summary(latest)
    then, now = _in(to.states, "knn", "revisions"), _in(latest.states, "knn", "revisions")
    labels = sorted(sample for sample, revision in now.items() if then.get(sample) != revision)
    sentences = [f"{latest.at - to.at:,.0f} seconds of operation"] if latest.at > to.at else []
    if labels:
        named = ", ".join(labels[:5]) + (" ..." if len(labels) > 5 else "")
        sentences.append(
            f"{len(labels)} labels of people, which the server counts as applied and does not send again: {named}"
        )
    if (learned := after.from_itself - before.from_itself) > 0:
        sentences.append(f"{learned} samples that the device learned by itself")
    if (kept := after.quarantined - before.quarantined) > 0:
        sentences.append(f"{kept} quarantined samples")
    if after.episode != before.episode:
        told = f"the drift episode {after.episode}" if after.episode else f"the end of the episode {before.episode}"
        sentences.append(told)
    if after.commissioned and not before.commissioned:
        sentences.append("the end of commissioning: the device learns again what is usual here")
    return sentences


def when(seen: Summary) -> str:
    """When a snapshot was taken by the device's clock, with ~ where that was not synced; empty: it had no time."""
    return ("" if seen.clock == "synced" else "~") + utc(seen.wall_us / 1e6) if seen.wall_us else ""


def utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _in(tree: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The map at a path of a state; an empty one where another version has none there."""
    found: Any = tree
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
