"""The table at the end of the day, and whether every promise was kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg

from .world import Day, Role


@dataclass
class Ledger:
    """What was true, noted while it was played: frame number -> when it was shown, and what it showed."""

    role: Role
    shown_at: list[float] = field(default_factory=list)  # index 0 is frame number 1
    truth: list[str] = field(default_factory=list)

    def number_at(self, at: float) -> int:
        """The number of the first frame shown at or after this time."""
        return next((n for n, shown in enumerate(self.shown_at, 1) if shown >= at), len(self.shown_at) + 1)


@dataclass(frozen=True)
class Outcome:
    """One row of the table."""

    role: Role
    before: float | None
    during: float | None
    after: float | None
    delay: int | None  # frames from the change to its detection
    false_alarms: int
    samples: int
    decisions: tuple[str, ...]
    sent: int
    applied: int
    cleared: int
    produced: int
    stored: int
    lost: int
    duplicated: int
    uplink_mb: float
    went_on: bool


def outcome(
    database: psycopg.Connection[tuple[object, ...]],
    ledger: Ledger,
    day: Day,
    produced: Mapping[str, int],
    uplink_bytes: int,
    taken: bool,
) -> Outcome:
    """What the database says of a device, held against what was true."""
    device = ledger.role.device
    predicted = predictions(database, device)
    change, back, cleaned = (ledger.number_at(t) for t in (day.change, day.labels, day.cleaned))
    changed = ledger.role.unseen or ledger.role.degraded
    begins = [number_of(row[0]) for row in _rows(database, EPISODES, device)]
    delays = [begin - change for begin in begins if changed and begin >= change]
    labels = _rows(database, LABELS, device)
    stored = {
        str(boot): (int(str(rows)), int(str(distinct))) for boot, rows, distinct in _rows(database, STORED, device)
    }
    return Outcome(
        role=ledger.role,
        before=accuracy(predicted, ledger.truth, 1, change),
        during=accuracy(predicted, ledger.truth, change, back),
        after=accuracy(predicted, ledger.truth, cleaned, len(ledger.truth) + 1),
        delay=min(delays, default=None),
        false_alarms=sum(1 for begin in begins if not changed or begin < change),
        samples=int(str(_rows(database, SAMPLES, device)[0][0])),
        decisions=tuple(f"{kind} {result}" for kind, result in _rows(database, DECISIONS, device)),
        sent=len(labels),
        applied=sum(1 for state, _ in labels if state == "applied"),
        cleared=sum(1 for _, cleared in labels if cleared),
        produced=sum(produced.values()),
        stored=sum(distinct for _, distinct in stored.values()),
        lost=sum(max(0, most - stored.get(boot, (0, 0))[1]) for boot, most in produced.items()),
        duplicated=sum(rows - distinct for rows, distinct in stored.values()),
        uplink_mb=uplink_bytes / 1e6,
        went_on=taken,
    )


# %s is the device. v_record_count counts over all record tables.
EPISODES = "SELECT episode FROM v_drift_episode WHERE device = %s ORDER BY begin_at"
LABELS = "SELECT state, cleared_at IS NOT NULL FROM label WHERE device = %s AND state <> 'superseded'"
STORED = "SELECT boot, records, numbers FROM v_record_count WHERE device = %s"
SAMPLES = "SELECT count(*) FROM sample WHERE device = %s"
DECISIONS = "SELECT kind, outcome FROM adaptation WHERE device = %s ORDER BY at"
PREDICTED = "SELECT labels, each_frame, each_label FROM prediction WHERE device = %s"


def _rows(database: psycopg.Connection[tuple[object, ...]], query: str, device: str) -> list[tuple[object, ...]]:
    return database.execute(query.encode(), (device,)).fetchall()


def number_of(frame: object) -> int:
    """The number in a frame's id, "<boot>-<number>"."""
    return int(str(frame).rpartition("-")[2])


def predictions(database: psycopg.Connection[tuple[object, ...]], device: str) -> dict[int, str]:
    """Every single prediction that reached the database, by frame number."""
    found: dict[int, str] = {}
    for labels, frames, indices in _rows(database, PREDICTED, device):
        for frame, index in zip(_list(frames), _list(indices), strict=True):
            found[number_of(frame)] = str(_list(labels)[int(str(index))])
    return found


def _list(value: object) -> Sequence[object]:
    assert isinstance(value, list)
    return value


def accuracy(predicted: Mapping[int, str], truth: Sequence[str], first: int, end: int) -> float | None:
    """Share of right predictions among the frames first..end-1 that were predicted; None when there are none."""
    judged = [predicted[n] == truth[n - 1] for n in range(first, end) if n in predicted]
    return sum(judged) / len(judged) if judged else None


@dataclass(frozen=True)
class Promise:
    """One thing the demo says it does, and whether it did."""

    what: str
    kept: bool
    seen: str


def promises(outcomes: Iterable[Outcome]) -> list[Promise]:
    """The promises of the demo, each held against what was measured."""
    rows = list(outcomes)
    changed = [row for row in rows if row.role.unseen or row.role.degraded]
    novel = next(row for row in rows if row.role.unseen)
    return [
        Promise(
            "devices recognise what they know",
            all((row.before or 0.0) >= 0.8 for row in rows),
            ", ".join(f"{row.role.device} {percent(row.before)}" for row in rows),
        ),
        Promise(
            "drift is detected on the device where the world changed",
            all(row.delay is not None for row in changed),
            ", ".join(f"{row.role.device} after {row.delay} frames" for row in changed),
        ),
        Promise(
            "no false alarm, and the control stays silent",
            all(row.false_alarms == 0 for row in rows),
            ", ".join(f"{row.role.device} {row.false_alarms}" for row in rows),
        ),
        Promise(
            "samples are quarantined and every decision of the adapter is recorded",
            all(row.samples and row.decisions for row in changed),
            "; ".join(f"{row.role.device} {row.samples} samples, {_decided(row.decisions)}" for row in changed),
        ),
        Promise(
            "devices go on while the broker is away",
            all(row.went_on for row in rows),
            ", ".join(f"{row.role.device} {'went on' if row.went_on else 'stopped'}" for row in rows),
        ),
        Promise(
            "every label sent is proved applied and its topic cleared",
            sum(row.sent for row in rows) > 0 and all(row.sent == row.applied == row.cleared for row in rows),
            f"{sum(r.sent for r in rows)} sent, {sum(r.applied for r in rows)} applied, "
            f"{sum(r.cleared for r in rows)} cleared",
        ),
        Promise(
            "a person's labels raise the accuracy",
            (novel.after or 0.0) > (novel.during or 0.0),
            f"{novel.role.device} {percent(novel.during)} during, {percent(novel.after)} after",
        ),
        Promise(
            "nothing is lost and nothing stored twice",
            all(row.lost == row.duplicated == 0 and row.produced for row in rows),
            f"{sum(r.produced for r in rows)} produced, {sum(r.stored for r in rows)} stored, "
            f"{sum(r.lost for r in rows)} lost, {sum(r.duplicated for r in rows)} twice",
        ),
    ]


def registry_promise(registered: Sequence[str], outcomes: Iterable[Outcome]) -> Promise:
    """Every device's bundle is the champion of its name in the registry."""
    devices = {row.role.device for row in outcomes}
    return Promise("the bundles are in the model registry", devices <= set(registered), ", ".join(registered))


def _decided(decisions: Sequence[str]) -> str:
    return ", ".join(f"{decisions.count(text)} x {text}" for text in dict.fromkeys(decisions)) or "no decision"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
