"""Decides when the state is saved; acknowledges a person's label only when a snapshot on disk holds it.

What a person or an adaptation changed is saved at once. A drift that began or ended is saved within `interval_s`. All
else changes with every frame and is worth little: it is saved every `quiet_s`, and no SnapshotTaken tells of it. With
205 KB of state that is 5 MB a day on a quiet SD card. While the device writes more than its budget of the day allows,
both are longer; what a person or an adaptation changed is still saved at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from broker.messages import (
    CommandIssued,
    CommandReported,
    DriftCleared,
    DriftDetected,
    LabelAcknowledged,
    LabelApplied,
    LogRecord,
    MemoryChanged,
    SnapshotRequested,
    SnapshotSaved,
    SnapshotTaken,
    Tick,
    Vitals,
)

from .runtime.actor import Actor

Inbox = Tick | Vitals | DriftDetected | DriftCleared | MemoryChanged | LabelApplied | SnapshotSaved | CommandIssued
Outbox = SnapshotRequested | SnapshotTaken | LabelAcknowledged | CommandReported | LogRecord

PERIODIC = "periodic"
PATIENCE_S = 60.0  # for an answer from the disk
SPARING = 6  # times as long between snapshots while the disk is to be spared
RETRY_S, LONGEST_RETRY_S = 5.0, 300.0  # after a failure; doubled every time


class StateManager(Actor[Inbox, Outbox]):
    """Asks for one snapshot at a time; what comes meanwhile is covered by the next."""

    def __init__(self, boot: str, interval_s: float = 300.0, quiet_s: float = 3600.0) -> None:
        self.boot, self.interval_s, self.quiet_s = boot, interval_s, quiet_s
        self.count = 0  # snapshots asked for in this boot
        self.asked = ""  # the one that is being written
        self.reason = ""  # why it was asked for
        self.asked_at = 0.0
        self.urgent = ""  # why the next one is due at once
        self.changed = "start"  # why it is due after interval_s
        self.failures = 0
        self.not_before = 0.0
        self.sparing = False
        # Labels without an acknowledgement, by sample: [revision, outcome, reason].
        self.waiting: dict[str, list[Any]] = {}  # for the next snapshot
        self.covered: dict[str, list[Any]] = {}  # by the one that is being written
        # Commands without an answer, likewise.
        self.commands: list[str] = []
        self.commands_covered: list[str] = []

    def receive(self, message: Inbox) -> Iterator[Outbox]:
        match message:
            case Tick():
                if self.asked and message.at - self.asked_at > PATIENCE_S:
                    yield from self._failed(message.at, f"no answer from the disk in {PATIENCE_S:g} s")
            case Vitals():
                self.sparing = "write_budget" in message.faults
            case DriftDetected() | DriftCleared():
                self.changed = "drift"
            case MemoryChanged():
                self.urgent = "adaptation" if message.applied else self.urgent
            case LabelApplied():
                yield from self._label(message)
            case CommandIssued() if message.verb == "snapshot":
                self.commands.append(message.command)
                self.urgent = "command"
            case SnapshotSaved() if message.snapshot == self.asked:  # else one that was given up meanwhile
                if message.error:
                    yield from self._failed(message.at, message.error)
                else:
                    yield from self._saved(message)
        if reason := self._due(message.at):
            yield self._ask(message.at, reason)

    def _label(self, label: LabelApplied) -> Iterator[Outbox]:
        if label.outcome == "rejected":
            yield LabelAcknowledged(
                at=label.at,
                sample=label.sample,
                revision=label.revision,
                outcome=label.outcome,
                reason=label.reason,
            )
            return
        known = (held.get(label.sample, [None])[0] for held in (self.covered, self.waiting))
        if label.revision not in known:  # the broker may bring a label twice
            self.waiting[label.sample] = [label.revision, label.outcome, label.reason]
            self.urgent = "label"

    def _due(self, at: float) -> str:
        """Why a snapshot is to be asked for now; empty when not."""
        if self.asked or at < self.not_before:
            return ""
        if self.urgent:
            return self.urgent
        since = (at - self.asked_at) / (SPARING if self.sparing else 1)
        if self.changed and since >= self.interval_s:
            return self.changed
        return PERIODIC if since >= self.quiet_s else ""

    def _ask(self, at: float, reason: str) -> SnapshotRequested:
        self.count += 1
        self.asked, self.reason, self.asked_at = f"{self.boot}-s{self.count}", reason, at
        self.urgent = self.changed = ""
        self.covered, self.waiting = self.waiting, {}
        self.commands_covered, self.commands = self.commands, []
        return SnapshotRequested(at=at, snapshot=self.asked, reason=reason)

    def _saved(self, saved: SnapshotSaved) -> Iterator[Outbox]:
        if self.reason != PERIODIC:
            yield SnapshotTaken(
                at=saved.at, snapshot=saved.snapshot, reason=self.reason, digest=saved.digest, size=saved.size
            )
        for sample, (revision, outcome, reason) in self.covered.items():
            yield LabelAcknowledged(
                at=saved.at,
                sample=sample,
                revision=revision,
                outcome=outcome,
                reason=reason,
                snapshot=saved.snapshot,
            )
        written = {"snapshot": saved.snapshot, "digest": saved.digest, "size": str(saved.size)}
        yield from self._answer_commands(saved.at, "done", result=written)
        self.covered = {}
        self.asked = ""
        self.failures = 0

    def _failed(self, at: float, error: str) -> Iterator[Outbox]:
        self.failures += 1
        delay = min(RETRY_S * 2 ** min(self.failures - 1, 16), LONGEST_RETRY_S)
        self.urgent = self.urgent or self.reason
        self.waiting = self.covered | self.waiting
        self.covered = {}
        self.asked = ""
        self.not_before = at + delay
        yield from self._answer_commands(at, "failed", error)
        if self.failures & (self.failures - 1) == 0:  # a disk that stays full is told of less and less often
            text = f"snapshot failed {self.failures} times in a row, next try in {delay:g} s: {error}"
            yield LogRecord(at=at, level="error", where="state_manager", text=text)

    def _answer_commands(
        self, at: float, state: str, reason: str = "", result: dict[str, str] | None = None
    ) -> Iterator[CommandReported]:
        commands, self.commands_covered = self.commands_covered, []
        for command in commands:
            yield CommandReported(
                at=at, command=command, verb="snapshot", state=state, reason=reason, result=result or {}
            )

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in STATE}

    def restore(self, state: dict[str, Any]) -> None:
        for name in STATE:
            setattr(self, name, state.get(name, getattr(self, name)))

    def restarted(self) -> None:
        # An answer to what the last process asked for never comes, and its labels were not acknowledged yet.
        self.waiting, self.covered = self.covered | self.waiting, {}
        self.urgent = "label" if self.waiting else self.urgent
        self.asked, self.count, self.failures, self.not_before = "", 0, 0, 0.0
        self.commands, self.commands_covered = [], []  # the rim has answered them


STATE = (
    *("count", "asked", "reason", "asked_at", "urgent", "changed"),
    *("failures", "not_before", "sparing", "waiting", "covered", "commands", "commands_covered"),
)
