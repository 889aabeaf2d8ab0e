"""Works a package off: open, inspect, then one step an entry. A step that fails does not stop the others."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from broker import topics

from ..errors import EntryRefused, IngestError, PackageRefused, StoreAway
from ..stores.events import explained
from ..stores.ports import EventStore, ModelRegistry, ObjectStore
from . import bundle, pictures, records
from .contents import ARCHIVE, BUNDLE, EXPORT, OTHER, PICTURE, RECORDS, Entry, contents, packing_of
from .ledger import DONE, FAILED, REFUSED, RUNNING, SKIPPED, WAITING, Ledger, Step
from .limits import Limits
from .patience import Patience, PatientFiling
from .streams import drain

FIRST = ("open", "inspect")  # the steps of every package
NOTE_S = 1.0  # how often progress is written down
NOTHING = "it holds nothing that can be taken: no export, no records, no pictures, no bundle"
NESTED = "an archive within an archive is not opened"
STRANGE = "it is no export, no sequence of records, no picture and no bundle"


@dataclass(slots=True)
class Outcome:
    """What came of a package."""

    package: str
    state: str
    reason: str
    steps: list[Step]
    stored: records.Ranges = field(default_factory=dict)


@dataclass(kw_only=True)
class Importer:
    """One thread uses it, for one package after the other.

    `changed` hears of every step whenever something changed; `stopping` is asked between two transactions.
    """

    ledger: Ledger
    events: EventStore
    objects: ObjectStore
    registry: ModelRegistry
    limits: Limits = field(default_factory=Limits)
    root: str = topics.ROOT
    patience_s: float = 30.0  # for a store that is away
    stopping: Callable[[], bool] = lambda: False
    changed: Callable[[Step], object] = lambda _step: None

    def __post_init__(self) -> None:
        self._patiently = Patience(self.patience_s, self.stopping)
        self._filing = PatientFiling(self.events, self.objects, self._patiently)
        self._noted_at = 0.0

    def work(self, path: Path, package: str) -> Outcome:
        """Works off a package that the ledger has in hand.

        Raises StoreAway when the database stays away, and PackageInterrupted when it is to stop; then the package
        can be brought again, and what was stored is known.
        """
        called = self._patiently(lambda: self.ledger.begin(package))
        steps = [Step(step=number, name=name, kind=name) for number, name in enumerate(FIRST)]
        outcome = Outcome(package, REFUSED, "", steps)
        try:
            with Watched(path, self._looked(package, steps[1])) as file:
                self._look(file, outcome, called)
                for kinds in ((EXPORT, RECORDS), (PICTURE, BUNDLE)):  # a picture needs its sample
                    self._pass(file, outcome, called, kinds)
        except (OSError, PackageRefused) as error:
            why = f"it cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
            self._give_up(outcome, why)
        else:
            outcome.state = FAILED if any(step.state == FAILED for step in steps) else DONE
        self._patiently(lambda: self.ledger.end(package, outcome.state, outcome.reason))
        return outcome

    # ---- open, inspect ---------------------------------------------------------------------------------------

    def _look(self, file: Watched, outcome: Outcome, name: str) -> None:
        open_, inspect = outcome.steps
        package = outcome.package
        self._patiently(lambda: self.ledger.plan(package, outcome.steps))
        self._note(package, open_, RUNNING)
        kind = packing_of(file)
        self._patiently(lambda: self.ledger.opened(package, kind))
        self._note(package, open_, DONE, kind)
        inspect.size = file.seek(0, 2)
        self._note(package, inspect, RUNNING)
        found = []
        for number, entry in enumerate(contents(file, name, self.limits), len(outcome.steps)):
            found.append(_planned(number, entry))
        if not any(step.state in (WAITING, FAILED) for step in found):
            raise PackageRefused(NOTHING)
        self._patiently(lambda: self.ledger.plan(package, found))
        outcome.steps.extend(found)
        for step in found:
            self.changed(step)
        self._note(package, inspect, DONE, f"{len(found):,} entries" if len(found) != 1 else "")

    def _give_up(self, outcome: Outcome, why: str) -> None:
        """Refused is a package of which nothing was taken; one that broke off later has failed."""
        outcome.state, outcome.reason = REFUSED if len(outcome.steps) == len(FIRST) else FAILED, why
        for step in outcome.steps:
            if step.state in (WAITING, RUNNING):
                running = step.state == RUNNING
                self._note(outcome.package, step, FAILED if running else SKIPPED, why if running else "")

    def _looked(self, package: str, inspect: Step) -> Callable[[int], None]:
        """Hears of everything that is read of the file: so inspecting has progress, and can be interrupted."""

        def looked(size: int) -> None:
            self._patiently.go_on()
            if inspect.state == RUNNING:
                inspect.bytes += size
                self._progress(package, inspect)

        return looked

    # ---- steps -----------------------------------------------------------------------------------------------

    def _pass(self, file: Watched, outcome: Outcome, name: str, kinds: Sequence[str]) -> None:
        """Reads the package once more, and does the steps of these kinds."""
        left = {step.step for step in outcome.steps if step.kind in kinds and step.state == WAITING}
        if not left:
            return
        for number, entry in enumerate(contents(file, name, self.limits), 2):
            if number in left:
                left.remove(number)
                self._step(outcome, outcome.steps[number], entry)
            if not left:
                return

    def _step(self, outcome: Outcome, step: Step, entry: Entry) -> None:
        self._note(outcome.package, step, RUNNING)
        state, reason = DONE, ""
        try:
            if step.kind in (EXPORT, RECORDS):
                self._records(outcome, step, entry)
            elif step.kind == PICTURE:
                reason = self._picture(step, entry)
            else:
                reason, new = bundle.register(entry.name, entry.stream, self.registry)
                step.new, step.known = int(new), int(not new)
        except EntryRefused as error:
            state, reason = FAILED, str(error)
        except StoreAway as error:
            if error.store == "database":
                raise
            state, reason = FAILED, f"{error}; bring it again later"
        except psycopg.Error as error:
            raise explained(error) from error
        if state == DONE:
            step.bytes = step.size
        self._note(outcome.package, step, SKIPPED if reason == pictures.ANOTHER else state, reason)

    def _records(self, outcome: Outcome, step: Step, entry: Entry) -> None:
        for counts in records.store(entry.name, step.kind, entry.stream, self._filing, self.root):
            step.device, step.bytes, step.records = counts.device, counts.bytes, counts.records
            step.new, step.known, step.letters = counts.new, counts.known, counts.letters
            for key, ranges in counts.stored.items():
                outcome.stored[key] = records.join(outcome.stored.get(key, ()), ranges)
            self._progress(outcome.package, step)
            self._patiently.go_on()
            if sum(other.letters for other in outcome.steps) > self.limits.letters:
                raise EntryRefused(f"more than {self.limits.letters:,} records of the package cannot be taken")

    def _picture(self, step: Step, entry: Entry) -> str:
        data = pictures.take(entry.stream, self.limits.picture_bytes)
        step.device, reason = self._patiently(
            lambda: pictures.file(entry.name, data, self._filing, self.ledger.connection)
        )
        step.new, step.known = int(not reason), int(bool(reason))
        return reason

    # ---- progress -------------------------------------------------------------------------------

    def _note(self, package: str, step: Step, state: str, reason: str = "") -> None:
        step.state, step.reason = state, reason
        self._noted_at = time.monotonic()
        self._patiently(lambda: self.ledger.note(package, step))
        self.changed(step)

    def _progress(self, package: str, step: Step) -> None:
        self.changed(step)
        if time.monotonic() - self._noted_at > NOTE_S:
            self._note(package, step, RUNNING)


class Watched(io.BufferedReader):
    """A file that says how much of it was read."""

    def __init__(self, path: Path, looked: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path))
        self._looked = looked

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._looked(len(data))
        return data


def digest_of(path: Path) -> str:
    """The sha256 of a file, which names the package. Raises IngestError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise IngestError(f"cannot read {path}: {error.strerror}") from None


def _planned(number: int, entry: Entry) -> Step:
    """Looks through an entry without storing anything. Raises PackageRefused where all of the package is bad."""
    step = Step(step=number, name=entry.name, kind=entry.kind)
    if entry.kind == ARCHIVE:
        step.state, step.reason = FAILED, NESTED
    try:
        if entry.kind in (EXPORT, RECORDS):
            step.size = records.verify(entry.kind, entry.stream)
        else:
            step.size = drain(entry.stream)
        if entry.kind == OTHER:
            step.state, step.reason = SKIPPED, STRANGE
    except EntryRefused as error:
        step.state, step.reason = FAILED, str(error)
    return step
