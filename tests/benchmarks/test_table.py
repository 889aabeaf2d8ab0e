"""The table says what was measured, beside what is wanted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.drift import goals, table
from benchmarks.drift.goals import FORCED, FROZEN, LABELLED, OURS, Results
from benchmarks.drift.measures import Outcome
from benchmarks.drift.streams import Spec

DRIFT = ((1000, 3000),)


def results(*outcomes: Outcome) -> Results:
    return Results(outcomes)


def quiet(group: str, *begins: int, way: str = OURS) -> Outcome:
    return Outcome(way, Spec(group, "elm", frames=20_000), 20_000, (), begins, tuple(b + 5 for b in begins))


def seen(group: str, delay: int, way: str = FROZEN, severity: int = 0) -> Outcome:
    return Outcome(way, Spec(group, "elm", severity=severity), 3000, DRIFT, (1000 + delay,))


def right(way: str, group: str, last: float, detail: str = "", severity: int = 0) -> Outcome:
    return Outcome(way, Spec(group, "elm", detail, severity), 3000, DRIFT, accuracy={"last": last})


def goal(held: Results, what: str) -> goals.Goal:
    return next(one for one in goals.goals(held) if one.what.startswith(what))


def test_a_goal_is_met_or_missed_or_not_measured() -> None:
    assert goal(results(quiet("control-iid")), "false alarms iid").met is True
    assert goal(results(quiet("control-iid", 700)), "false alarms iid").met is False
    assert goal(results(), "false alarms iid").met is None


def test_a_goal_of_three_figures_is_met_when_all_of_them_are() -> None:
    close = results(*(seen("corruption", delay, severity=4) for delay in (4, 5, 21)))
    slow = results(*(seen("corruption", delay, severity=4) for delay in (4, 5, 23)))
    assert goal(close, "corruption 3-5").met is True
    assert goal(close, "corruption 3-5").measured == "5/21/0"
    assert goal(slow, "corruption 3-5").met is False
    assert goal(close, "corruption 1-2").met is None


def test_points_over_frozen_name_the_worst_corruption() -> None:
    held = results(
        right(FROZEN, "corruption", 0.6, "fog", 4),
        right(FROZEN, "corruption", 0.7, "jpeg", 4),
        right(OURS, "corruption", 0.7, "fog", 4),
        right(OURS, "corruption", 0.68, "jpeg", 4),
    )
    assert held.over_frozen(0) == pytest.approx(4.0)
    assert held.worst_over_frozen(0) == (pytest.approx(-2.0), "jpeg")


def test_what_a_false_trigger_cost_is_counted_stream_by_stream() -> None:
    frozen = replace(right(FROZEN, "forced", 0.95), drifts=())
    held = results(frozen, replace(frozen, way=FORCED[0], accuracy={"last": 0.94}))
    assert held.lost(0, "forced") == [pytest.approx(1.0)]
    assert held.lost(50, "forced") == []


def test_a_missed_drift_is_a_dash() -> None:
    missed = replace(seen("unseen-30", 0), begins=())
    assert goals.shown(goals.measures.delays([missed, seen("unseen-30", 7), seen("unseen-30", 9)])) == "9/-/33"


def test_text_markdown_and_json_say_the_same() -> None:
    held = results(
        quiet("control-iid", 700),
        seen("unseen-30", 80),
        right(OURS, "unseen-30", 0.8),
        right(LABELLED[20], "unseen-30", 0.9),
        quiet("control-iid", 600, 800, way="river ADWIN"),
    )
    text, markdown = table.as_text(held, "facts"), table.as_markdown(held, "facts")
    tree = json.loads(table.as_json(held, {"facts": "facts"}))
    for said in (text, markdown):
        assert "0.51" in said
        assert "80/80/0" in said
        assert "MISSED" in said
    rows = dict(tree["tables"])["Detection"]
    assert [row[0] for row in rows] == ["detector", OURS, "river ADWIN"]
    assert [Outcome.of_tree(one) for one in tree["outcomes"]] == held.outcomes


def test_a_page_gets_the_table_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, end = table.BEGIN.format(name="trees"), table.END.format(name="trees")
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    table.render_into(page, "trees", "new\n")
    assert page.read_text() == f"before\n{begin}\n\nnew\n\n{end}\nafter\n"
    with pytest.raises(SystemExit, match="no place"):
        table.render_into(page, "flowers", "new\n")
