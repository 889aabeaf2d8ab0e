"""The script of the day: what is done when, and what is measured at the end."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg

from ..errors import DemoError
from .devices import DemoDevice
from .report import Outcome, outcome
from .stack import Stack
from .validator import Answer, Validator
from .view import Screen, View
from .world import Day

STEP_S = 0.25
STATUS_S = 1.5  # devices tell how they do every second
SETTLE_S = 60.0  # for what is still on its way when the cameras have stopped
LABELS = {"new-thing": 40, "dirty-lens": 5}


class Script:
    """Plays a day on a running stack with running devices."""

    def __init__(self, stack: Stack, devices: list[DemoDevice], day: Day, unseen: str, view: View) -> None:
        self.stack, self.devices, self.day, self.unseen, self.view = stack, devices, day, unseen, view
        self.screen = Screen(devices=[device.seen for device in devices])
        self.validator = Validator(stack.api_url, self._look, LABELS)
        self._began = 0.0

    def play(self) -> list[Outcome]:
        """The whole day; what came of it. Raises DemoError when something of it ends before its time."""
        self._began = time.monotonic()
        for device in self.devices:
            device.open_eyes(self._began)
        self._until(self.day.change, "the devices recognise what they know")
        self._event(f"{self.unseen!r} appears before new-thing; the lens of dirty-lens goes out of focus")
        self._until(self.day.outage, "the world has changed")
        self._outage()
        self._until(self.day.labels, "the broker is back, the spools empty")
        self._event("the validator comes to work")
        self._until(self.day.cleaned, "samples are labelled", self._label)
        self._event("somebody cleans the lens of dirty-lens")
        self._until(self.day.seconds, "the day ends", self._label)
        return self._settle()

    def close(self) -> None:
        self.validator.close()

    def _outage(self) -> None:
        frames = [device.seen.frames for device in self.devices]
        self.stack.broker.kill()
        self._event("the broker is gone")
        self._until(self.day.outage + self.day.outage_s, "no link: the devices go on and spool")
        for device, before in zip(self.devices, frames, strict=True):
            device.frames_in_outage = device.seen.frames - before
        self.stack.broker.start()
        self._event("the broker is back")

    def _label(self) -> None:
        if self.validator.work():
            said = [f"{device} {sum(1 for who, _ in self.validator.said if who == device)}" for device in LABELS]
            self.screen.happening = f"labels so far: {', '.join(said)}"
        self._count_labels()

    def _look(self, device: str, sample: str) -> Answer:
        """What a person would see in the picture: the truth, and nothing where it is out of focus."""
        world = next(d for d in self.devices if d.seen.device == device)
        number = int(sample.rpartition("-")[2])
        ledger = world.ledger
        if ledger.role.degraded and ledger.shown_at[number - 1] >= self.day.change:
            return Answer("unknown")
        return Answer("is", ledger.truth[number - 1])

    def _count_labels(self) -> None:
        states = self.validator.states()
        for device in self.devices:
            mine = [state for (who, _), state in states.items() if who == device.seen.device]
            applied = mine.count("applied")
            device.seen.labels = f"{applied} of {len(mine)} applied" if mine else "-"

    def _until(self, at: float, happening: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.screen.happening = happening
        looked = 0.0
        while (now := time.monotonic() - self._began) < at:
            self._check()
            if now - looked >= 1.0:
                looked = now
                meanwhile()
            self._show(now)
            time.sleep(max(0.0, min(STEP_S, at - now)))

    def _show(self, now: float) -> None:
        self.screen.clock, self.screen.share = self.day.clock(now), min(1.0, now / self.day.seconds)
        self.view.show(self.screen)

    def _event(self, what: str) -> None:
        self.screen.events.append(f"{self.day.clock(time.monotonic() - self._began)}  {what}")

    def _check(self) -> None:
        server = (self.stack.worker, self.stack.upkeep, self.stack.api)
        for process in (*server, *(device.process for device in self.devices)):
            if not process.running:
                raise DemoError(f"{process.name} ended with status {process.status}; its log is {process.log}")

    def _settle(self) -> list[Outcome]:
        """Stops the cameras and waits until everything that was on its way has arrived."""
        for device in self.devices:
            device.close_eyes()
        time.sleep(STATUS_S)  # so that what is told of the devices is later than their last frame
        with psycopg.connect(self.stack.database.url, autocommit=True) as database:
            deadline = time.monotonic() + SETTLE_S
            while True:
                rows = [self._outcome(database, device) for device in self.devices]
                settled = all(row.produced == row.stored and row.sent == row.applied == row.cleared for row in rows)
                if settled or time.monotonic() > deadline:
                    return rows
                self._count_labels()
                self._show(self.day.seconds)
                time.sleep(STEP_S)

    def _outcome(self, database: psycopg.Connection[tuple[object, ...]], device: DemoDevice) -> Outcome:
        produced = dict(device.produced)  # before it is counted what is stored, which can only be more
        went_on = self._went_on(device)
        return outcome(database, device.ledger, self.day, produced, device.uplink_bytes, went_on)

    def _went_on(self, device: DemoDevice) -> bool:
        """Whether the device handled at least half as many frames without a broker as it was shown."""
        return device.frames_in_outage >= 0.5 * device.fps * self.day.outage_s
