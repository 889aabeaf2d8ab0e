"""What is wanted, beside what was measured: met or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isinf, isnan

from . import measures, streams
from .measures import Delays, Outcome

# Ways of watching, as the table calls them.
OURS, FROZEN = "tinymlops", "tinymlops, no adaptation"
LABELLED = {0: OURS, 20: "tinymlops, 20 labels", 50: "tinymlops, 50 labels"}
FORCED = {0: "forced trigger", 20: "forced trigger, 20 labels", 50: "forced trigger, 50 labels"}
SEED = "the seed's"

MILD, SEVERE = (1, 2), (3, 4, 5)


class Results:
    """The outcomes, by way and group."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes = list(outcomes)

    def of(self, way: str, *groups: str, severities: Sequence[int] = (), detail: str = "") -> list[Outcome]:
        return [
            one
            for one in self.outcomes
            if one.way == way
            and (not groups or one.spec.group in groups)
            and (not severities or one.spec.severity in severities)
            and (not detail or one.spec.detail == detail)
        ]

    @property
    def ways(self) -> list[str]:
        """In the order in which they came."""
        return list(dict.fromkeys(one.way for one in self.outcomes))

    # ---- figures that need two ways

    def over_frozen(self, labels: int, detail: str = "") -> float:
        """Points of accuracy over a frozen memory under corruption of severity 4, mean over tasks and corruptions."""
        adapted = measures.mean_accuracy(self.of(LABELLED[labels], "corruption", severities=(4,), detail=detail))
        frozen = measures.mean_accuracy(self.of(FROZEN, "corruption", severities=(4,), detail=detail))
        return 100 * (adapted - frozen)

    def worst_over_frozen(self, labels: int) -> tuple[float, str]:
        """The corruption that gains least, and its points."""
        kinds = sorted({one.spec.detail for one in self.of(LABELLED[labels], "corruption", severities=(4,))})
        return min(((self.over_frozen(labels, kind), kind) for kind in kinds), default=(float("nan"), ""))

    def lost(self, labels: int, group: str) -> list[float]:
        """Points of accuracy that a forced false trigger cost, per stream of the group."""
        frozen = {(one.spec.task, one.spec.name): one for one in self.of(FROZEN, group)}
        return [
            100 * (frozen[key].accuracy["last"] - one.accuracy["last"])
            for one in self.of(FORCED[labels], group)
            if (key := (one.spec.task, one.spec.name)) in frozen
        ]


@dataclass(frozen=True)
class Goal:
    what: str
    wanted: str
    measured: str
    met: bool | None  # None: not measured


def goals(results: Results) -> list[Goal]:
    """Those of the brief, in its order."""
    found = [
        _most("false alarms iid, per 100,000 frames", _rate(results, "control-iid", per=100_000), 1),
        _most("false alarms dwell 8, per 10,000 frames", _rate(results, "control-dwell"), 0.2),
        _most("false alarms prior shift, per 10,000 frames", _rate(results, "prior"), 0.5),
        _delay("corruption 3-5, delay", results.of(FROZEN, "corruption", severities=SEVERE), (5, 22, 0)),
        _delay("corruption 1-2, delay", results.of(FROZEN, "corruption", severities=MILD), (20, 150, 2)),
        _delay("unseen p = .3, delay", results.of(FROZEN, "unseen-30"), (85, 200, 0)),
        _delay("recurring, delay", results.of(FROZEN, "unseen-recurring"), (30, 90, 0)),
        _delay("unseen p = .3 dwell 8, delay", results.of(FROZEN, "unseen-30-dwell"), (500, None, 20)),
        _most("wrong exits per drift", measures.wrong_exits(persistent(results)), 0.05, "{:.2f}"),
        _most("recovery p90, frames after the end", recovery(results).p90, 40, "{:.0f}"),
    ]
    for group, name in ((streams.FORCED, "stationary"), ("prior", "prior shift")):
        for labels in LABELLED if group == streams.FORCED else (0,):
            lost = results.lost(labels, group)
            mean = sum(lost) / len(lost) if lost else float("nan")
            found.append(_most(f"points lost on a false trigger, {name}, {labels} labels", mean, 0.3))
    found.append(_most("harm of pseudo-labels, unseen", harm(results, OURS), 0.05, "{:.3f}"))
    for labels, wanted in ((0, 0.82), (20, 0.885), (50, 0.91)):
        accuracy = measures.mean_accuracy(results.of(LABELLED[labels], "unseen-30"))
        found.append(_least(f"unseen p = .3, accuracy with {labels} labels", accuracy, wanted, "{:.3f}"))
    for labels, wanted in ((0, 4), (50, 6)):
        points = results.over_frozen(labels)
        found.append(_least(f"corruption 4, points over frozen, {labels} labels", points, wanted, "{:+.1f}"))
        worst, kind = results.worst_over_frozen(labels)
        found.append(_least(f"... its worst corruption ({kind}), {labels} labels", worst, -1, "{:+.1f}"))
    return found


def persistent(results: Results) -> list[Outcome]:
    """Drifts that stay until the stream or they themselves end, watched by a memory that does not adapt."""
    return results.of(FROZEN, "unseen-30", "unseen-30-dwell", "corruption", "corruption-end")


def recovery(results: Results) -> Delays:
    return measures.recoveries(results.of(FROZEN, "corruption-end"))


def harm(results: Results, way: str) -> float:
    held = results.of(way, "unseen-30")
    return measures.harm(held) if held else float("nan")


def shown(delays: Delays) -> str:
    """Median / p90 / % missed; a miss is an infinite delay, `-`."""
    if not delays.values:
        return ""
    return f"{_frames(delays.median)}/{_frames(delays.p90)}/{100 * delays.missed:.0f}"


def _frames(value: float) -> str:
    return "-" if isinf(value) else f"{value:.0f}"


def _rate(results: Results, group: str, per: int = 10_000) -> float:
    return measures.false_alarms(results.of(OURS, group), per)


def _most(what: str, value: float, wanted: float, form: str = "{:.2f}") -> Goal:
    return _goal(what, value, f"<= {wanted:g}", form, lambda: round(value, 4) <= wanted)


def _least(what: str, value: float, wanted: float, form: str) -> Goal:
    return _goal(what, value, f">= {wanted:g}", form, lambda: round(value, 4) >= wanted)


def _goal(what: str, value: float, wanted: str, form: str, met: Callable[[], bool]) -> Goal:
    if isnan(value):
        return Goal(what, wanted, "not measured", None)
    return Goal(what, wanted, "-" if isinf(value) else form.format(value), met())


def _delay(what: str, outcomes: Sequence[Outcome], wanted: tuple[int, int | None, int]) -> Goal:
    found = measures.delays(outcomes)
    text = "/".join("any" if part is None else str(part) for part in wanted)
    if not found.values:
        return Goal(what, f"<= {text}", "not measured", None)
    median, p90, missed = wanted
    met = found.median <= median and (p90 is None or found.p90 <= p90) and round(100 * found.missed) <= missed
    return Goal(what, f"<= {text}", shown(found), met)
