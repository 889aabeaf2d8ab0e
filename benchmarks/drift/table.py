"""The result as text, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import Any

from . import measures, streams
from .goals import (
    FORCED,
    FROZEN,
    LABELLED,
    MILD,
    OURS,
    SEED,
    SEVERE,
    Results,
    goals,
    harm,
    persistent,
    recovery,
    shown,
)
from .measures import Outcome

Rows = list[list[str]]
BEGIN, END = "<!-- {name}: rendered by python -m benchmarks.drift -->", "<!-- /{name} -->"

CAPTION = (
    "False alarms per 10,000 frames after commissioning. Delays are frames, median / p90 / % missed; a miss is an"
    " infinite delay, `-`. Delays of a detector with many false alarms are chance: read them together."
)


def sections(results: Results) -> list[tuple[str, Rows]]:
    """Title and rows, the first of them the heads."""
    return [
        ("Detection", _detection(results)),
        ("Episodes (a memory that does not adapt)", _episodes(results)),
        ("Adaptation: accuracy of the last 500 frames", _adaptation(results)),
        ("Goals", _goals(results)),
    ]


QUIET = {"control-iid": "FA iid", "control-dwell": "FA dwell 8", "prior": "FA prior"}
DRIFTING: dict[str, tuple[str, tuple[int, ...]]] = {  # head -> group, severities
    "unseen .3": ("unseen-30", ()),
    "unseen .1": ("unseen-10", ()),
    "unseen .3 dwell 8": ("unseen-30-dwell", ()),
    "gradual": ("unseen-gradual", ()),
    "recurring": ("unseen-recurring", ()),
    "corr. 3-5": ("corruption", SEVERE),
    "corr. 1-2": ("corruption", MILD),
    "corr. gradual": ("corruption-gradual", ()),
}


def _detection(results: Results) -> Rows:
    rows = [["detector", *QUIET.values(), *DRIFTING]]
    same = {*LABELLED.values(), *FORCED.values(), FROZEN} - {OURS}  # the same detector
    for way in results.ways:
        if way not in same:
            watched = FROZEN if way == OURS else way
            alarms = (_rate(results.of(way, group)) for group in QUIET)
            seen = (
                shown(measures.delays(results.of(watched, group, severities=severities)))
                for group, severities in DRIFTING.values()
            )
            rows.append([way, *alarms, *seen])
    return rows


def _rate(outcomes: Sequence[Outcome]) -> str:
    return f"{measures.false_alarms(outcomes):.2f}" if outcomes else ""


def _episodes(results: Results) -> Rows:
    rows = [["way", "wrong exits per drift", "recovery median / p90 / % never", "alarms after the end, per drift"]]
    for way in (FROZEN, SEED):
        ending = results.of(way, "corruption-end")
        if ending:
            held = persistent(results) if way == FROZEN else results.of(way, "corruption-end", "unseen-30")
            recovered = recovery(results) if way == FROZEN else measures.recoveries(ending)
            after = f"{measures.alarms_after(ending):.2f}"
            rows.append([way, f"{measures.wrong_exits(held):.2f}", shown(recovered), after])
    return rows


def _adaptation(results: Results) -> Rows:
    kinds = sorted({one.spec.detail for one in results.of(OURS, "corruption", severities=(4,))})
    rows = [["policy", "unseen .3: all", "known", "unseen", "harm", "asked", "corr. 4", *kinds, "lost when forced"]]
    forced = {LABELLED[labels]: labels for labels in LABELLED}
    for way in results.ways:
        unseen, corrupted = results.of(way, "unseen-30"), results.of(way, "corruption", severities=(4,))
        if not any(one.accuracy for one in (*unseen, *corrupted)):
            continue  # a detector without a memory of its own
        lost = results.lost(forced[way], streams.FORCED) if way in forced else []
        rows.append(
            [
                way,
                *(_share(measures.mean_accuracy(unseen, over)) for over in ("last", "known", "unseen")),
                _share(harm(results, way)),
                _mean([one.asked for one in unseen]),
                _share(measures.mean_accuracy(corrupted)),
                *(_share(measures.mean_accuracy([o for o in corrupted if o.spec.detail == kind])) for kind in kinds),
                _mean(lost, "{:.2f}"),
            ]
        )
    return rows


def _share(value: float) -> str:
    return "" if isnan(value) else f"{value:.3f}"


def _mean(values: Sequence[float], form: str = "{:.0f}") -> str:
    return form.format(sum(values) / len(values)) if values else ""


def _goals(results: Results) -> Rows:
    verdict = {True: "met", False: "MISSED", None: ""}
    return [
        ["quantity", "measured", "goal", ""],
        *([goal.what, goal.measured, goal.wanted, verdict[goal.met]] for goal in goals(results)),
    ]


# ---- forms -----------------------------------------------------------------------------------------------------


def as_text(results: Results, facts: str) -> str:
    return "\n\n".join([facts, CAPTION, *(f"{title}\n{_aligned(rows)}" for title, rows in sections(results))])


def as_markdown(results: Results, facts: str) -> str:
    parts = [facts, CAPTION]
    for title, rows in sections(results):
        lines = ["| " + " | ".join(cell or " " for cell in row) + " |" for row in rows]
        lines.insert(1, "|" + "---|" * len(rows[0]))
        parts.append(f"### {title}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _aligned(rows: Rows) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def as_json(results: Results, about: dict[str, Any]) -> str:
    """Everything, down to the single outcome."""
    tree = {
        **about,
        "goals": [asdict(goal) for goal in goals(results)],
        "tables": dict(sections(results)),
        "outcomes": [asdict(one) for one in results.outcomes],
    }
    return json.dumps(tree, indent=1)


def render_into(page: Path, name: str, markdown: str) -> None:
    """Puts the tables between the markers of this name in a page. Leaves with a sentence where there are none."""
    text = page.read_text()
    begin, end = BEGIN.format(name=name), END.format(name=name)
    if begin not in text or end not in text:
        raise SystemExit(f"{page} has no place for it: {begin} ... {end}")
    before, rest = text.split(begin, 1)
    page.write_text(f"{before}{begin}\n\n{markdown}\n{end}{rest.split(end, 1)[1]}")
