"""`tinyml edge snapshots`: the states that a device keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .ports.kept_snapshots import Kept, kept, newest
from .ports.snapshots import Snapshot
from .snapshot_summary import Summary, summary, utc, when
from .state_place import HINT, parser_for, place

ABOUT = f"""Lists the snapshots of a device, oldest first: when and why each was taken, whether its checksum holds,
and what it knows. The next start takes the newest whole one, marked >. The device may be running.

{HINT}"""


def main(argv: Sequence[str]) -> int:
    parser = parser_for("tinyml edge snapshots", ABOUT)
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    arguments = parser.parse_args(argv)
    held = kept(place(arguments)[0] / "snapshots")
    first = newest(held)
    if arguments.json:
        print(json.dumps([_as_json(one, first) for one in held], indent=2))
    else:
        print("\n".join(_lines(held, first)))
    return 0


# ---- for people and for programs -------------------------------------------------------------------------------


def _lines(held: list[Kept], first: Snapshot | None) -> list[str]:
    if not held:
        return ["there is no snapshot yet"]
    lines = [f"  {'no':>4}  {'id':<28}{'taken':<26}{'why':<12}{'KB':>7}  {'bundle':<13} holds"]
    for one in held:
        number = int(one.path.stem)
        if (snapshot := one.snapshot) is None:
            lines.append(f"  {number:>4}  {one.problem}")
            continue
        seen, mark = summary(snapshot), ">" if snapshot is first else " "
        taken = when(seen) or "~" + utc(one.modified_s)
        lines.append(
            f"{mark} {number:>4}  {snapshot.snapshot:<28}{taken:<26}{snapshot.reason[:11]:<12}"
            f"{one.size / 1000:>7.1f}  {snapshot.bundle[:12]:<13} {_holds(seen)}"
        )
    return lines


def _holds(seen: Summary) -> str:
    parts = [f"{seen.frames:,} frames seen"]
    parts += [f"{seen.from_people} samples of people"] if seen.from_people else []
    parts += [f"{seen.from_itself} learned alone"] if seen.from_itself else []
    parts += [f"{seen.labels} labels"] if seen.labels else []
    parts += [f"{seen.quarantined} in quarantine"] if seen.quarantined else []
    parts += [f"drift since {seen.episode}"] if seen.episode else []
    parts += [] if seen.commissioned else ["still commissioning"]
    return ", ".join(parts)


def _as_json(one: Kept, first: Snapshot | None) -> dict[str, Any]:
    about: dict[str, Any] = {
        "number": int(one.path.stem),
        "file": str(one.path),
        "size": one.size,
        "whole": one.snapshot is not None,
        "problem": one.problem,
        "next_start": one.snapshot is not None and one.snapshot is first,
    }
    if (snapshot := one.snapshot) is not None:
        about |= {
            "snapshot": snapshot.snapshot,
            "at": snapshot.at,
            "boot": snapshot.boot,
            "bundle": snapshot.bundle,
            "reason": snapshot.reason,
            "applied": snapshot.applied,
            **asdict(summary(snapshot)),
        }
    return about
