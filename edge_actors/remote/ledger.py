"""What is decided about bundles: which one runs, which one is wanted, tried or refused. Survives anything.

Every step is one small file written beside and renamed, and a bundle's file is whole on the disk before the ledger
names it. So wherever the power goes, the next start finds a bundle to run: the one on trial a bounded number of
times, then the one before it, at last the one that the device was set up with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from broker.messages import ModelDesired

from ..ports.kept import Kept

MOST_STARTS = 3  # of a bundle on trial, without a clean stop in between
MOST_TRIES = 3  # to check a bundle and run it beside the present one
REMEMBERED = 64  # refused bundles
SETUP = ""  # stands for the bundle that the device was set up with


@dataclass(slots=True)
class Trial:
    """A bundle that runs but has not been kept yet."""

    digest: str = ""
    starts: int = 0  # that did not end in a clean stop
    frame_us: float = 0.0  # how long a frame took with the bundle before it
    in_drift: bool = False  # whether that one saw a drift
    slower: float = 2.0  # how much longer a frame may take
    seconds: float = 300.0


@dataclass(slots=True)
class Page:
    """All that the file holds."""

    revision: int = 0  # of the newest wish
    wish: ModelDesired | None = None  # as long as nothing is decided about it
    running: str = SETUP
    setup: str = ""  # digest of the bundle of the set-up when `running` was chosen
    previous: str = SETUP
    trial: Trial | None = None
    tries: int = 0  # of the wish
    refused: dict[str, str] = field(default_factory=dict)  # digest -> reason
    phase: str = "idle"  # as reported last, with why and what was measured
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)


class Ledger:
    """Every method that decides returns once that is on the disk. They raise StateDirectoryError."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self.page = _page(kept.read())

    @property
    def bundle(self) -> str:
        """Digest of the bundle to run; SETUP for that of the set-up."""
        return self.page.trial.digest if self.page.trial else self.page.running

    def needed(self) -> set[str]:
        """Digests of all bundles whose files have to stay."""
        page = self.page
        trial = {page.trial.digest} if page.trial else set()
        wish = {page.wish.digest} if page.wish else set()
        return {page.running, page.previous, *trial, *wish} - {SETUP}

    def wanted(self, wish: ModelDesired) -> bool:
        """Takes note of a wish; False for an older one, or one that is known."""
        if wish.revision <= self.page.revision:
            return False
        self._turn(revision=wish.revision, wish=wish, tries=0)
        return True

    def tries(self) -> bool:
        """Notes that the wish is about to be tried out; False when that was done too often."""
        if self.page.tries >= MOST_TRIES:
            return False
        self._turn(tries=self.page.tries + 1)
        return True

    def refuse(self, reason: str, *, remember: bool, metrics: Mapping[str, float] | None = None) -> None:
        """The wish is not fulfilled; `remember`: nor is another one for the same bundle."""
        wish = self.page.wish
        refused = dict(self.page.refused)
        if remember and wish is not None and wish.digest:
            refused = _remembered(refused, wish.digest, reason)
        self._turn(wish=None, refused=refused, phase="refused", reason=reason, metrics=dict(metrics or {}))

    def tries_to_run(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        """The wanted bundle runs from the next start on, on trial."""
        self._turn(wish=None, trial=trial, phase="trial", reason="", metrics=dict(metrics))

    def begins(self) -> bool:
        """A process starts; False where a trial has just ended because it was begun too often."""
        trial = self.page.trial
        if trial is None:
            return True
        if trial.starts >= MOST_STARTS:
            self.roll_back(f"the device did not stay up with it: {trial.starts} starts without a clean stop")
            return False
        self._turn(trial=Trial(**{**asdict(trial), "starts": trial.starts + 1}))
        return True

    def ends(self) -> None:
        """A process stops cleanly: not the fault of a bundle on trial."""
        if (trial := self.page.trial) is not None:
            self._turn(trial=Trial(**{**asdict(trial), "starts": max(trial.starts - 1, 0)}))

    def commit(self, setup: str, metrics: Mapping[str, float]) -> None:
        """The bundle on trial stays."""
        page = self.page
        if page.trial is not None:
            self._turn(
                running=page.trial.digest,
                previous=page.running,
                setup=setup,
                trial=None,
                phase="committed",
                reason="",
                metrics={**page.metrics, **metrics},
            )

    def roll_back(self, reason: str, metrics: Mapping[str, float] | None = None) -> None:
        """The bundle on trial is refused from now on; the one before it runs from the next start on."""
        page = self.page
        if page.trial is not None:
            refused = _remembered(page.refused, page.trial.digest, reason)
            self._turn(
                trial=None,
                refused=refused,
                phase="rolled-back",
                reason=reason,
                metrics={**page.metrics, **(metrics or {})},
            )

    def back_to_setup(self, phase: str, reason: str = "") -> None:
        """The bundle of the set-up runs from the next start on."""
        page = self.page
        self._turn(
            running=SETUP, previous=page.running, trial=None, wish=None, phase=phase, reason=reason, metrics={}
        )

    def gives_up(self, reason: str) -> bool:
        """The bundle that was to run does not load; False where it is that of the set-up, and nothing is left."""
        if self.bundle == SETUP:
            return False
        if self.page.trial is not None:
            self.roll_back(f"it does not start: {reason}")
        else:
            self.back_to_setup("rolled-back", f"the bundle that ran does not start any more: {reason}")
        return True

    def runs_already(self) -> None:
        """The wanted bundle is the one that runs."""
        self._turn(wish=None, phase="committed", reason="", metrics={})

    def _turn(self, **changes: Any) -> None:
        page = Page(**{**{item.name: getattr(self.page, item.name) for item in fields(Page)}, **changes})
        tree = {item.name: getattr(page, item.name) for item in fields(Page)}
        tree["wish"] = None if page.wish is None else _plain(page.wish)
        tree["trial"] = None if page.trial is None else asdict(page.trial)
        self._kept.write(tree)
        self.page = page


def _remembered(refused: dict[str, str], digest: str, reason: str) -> dict[str, str]:
    grown = {**{one: why for one, why in refused.items() if one != digest}, digest: reason}
    return dict(list(grown.items())[-REMEMBERED:])


def _plain(wish: ModelDesired) -> dict[str, Any]:
    return {item.name: getattr(wish, item.name) for item in fields(wish)}


def _page(tree: dict[str, Any]) -> Page:
    known = {item.name for item in fields(Page)}
    tree = {name: value for name, value in tree.items() if name in known}
    if tree.get("wish"):
        wishes = {item.name for item in fields(ModelDesired)}
        tree["wish"] = ModelDesired(**{name: value for name, value in tree["wish"].items() if name in wishes})
    if tree.get("trial"):
        tree["trial"] = Trial(**tree["trial"])
    return Page(**tree)
