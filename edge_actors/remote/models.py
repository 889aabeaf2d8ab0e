"""Rim: brings the bundle that people want onto the device, step by step, on a thread that nothing waits for.

Downloading, checking, shadow: the present bundle runs on. Then the device is made anew with the new one on trial,
and that stays, or the one before it comes back with the state it had. The ledger decides what runs after a power cut.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from broker.messages import Frame, ModelDesired, ModelReported

from ..bundle import Bundle, archive
from ..errors import BundleError, DownloadError, ShadowError, StateDirectoryError
from ..ports.kept import Kept, sync
from ..ports.snapshots import Snapshot
from .download import download
from .feature_space import Legacy
from .ledger import SETUP, Ledger, Trial
from .shadow import Runner, Window, compare, objection, too_slow

if TYPE_CHECKING:
    from ..process import EdgeProcess

log = logging.getLogger(__name__)

FOLDER, LEDGER = "models", "models.json"  # in the state directory
SPARE_BYTES = 32 << 20  # that a download has to leave free on the disk
ACCURACY_LOST = 0.1  # that a new bundle may have less than the present one, each on its own calibration set
MOST_FAILURES = 2  # of actors while on trial
ENOUGH_FRAMES = 50  # to know how long a frame takes
LOOK_S = 0.25
PAUSE_S, LONGEST_PAUSE_S = 2.0, 600.0  # between two attempts to download


def ledger_of(directory: Path) -> Ledger:
    """The ledger in a state directory."""
    return Ledger(Kept(directory / LEDGER))


class Models:
    """`report` is told where it stands, `kept` when a bundle that was on trial stays."""

    def __init__(
        self,
        process: EdgeProcess,
        setup: Path,
        *,
        report: Callable[[ModelReported], object],
        kept: Callable[[], object],
    ) -> None:
        self.process, self.setup, self._report, self._kept = process, setup, report, kept
        self.folder = process.state.path / FOLDER
        with suppress(OSError):  # whoever writes into it says what is wrong
            self.folder.mkdir(exist_ok=True)
        self.ledger = ledger_of(process.state.path)
        self.legacy = Legacy(self.folder)
        self.bundle = self._chosen()
        self._changed = threading.Condition()
        self._wish: ModelDesired | None = None  # the newest that was not looked at yet
        self._stopping = False
        self._told = -1.0
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)

    @property
    def path(self) -> Path:
        """The bundle to run."""
        return self.setup if self.bundle == SETUP else self._file(self.bundle)

    @property
    def on_trial(self) -> bool:
        """Whether this process runs a bundle that has not been kept yet."""
        trial = self.ledger.page.trial
        return trial is not None and trial.digest == self.bundle

    def state_for(self, bundle: Bundle, latest: Snapshot | None) -> Snapshot | None:
        """The snapshot to go on from, where the newest one may be another bundle's."""
        try:
            return self.legacy.state_for(bundle, latest, [self.setup, *self.folder.glob("*.bundle")])
        except StateDirectoryError as error:
            log.error("%s; if the bundle before this one comes back, it begins as delivered", error)
            return latest

    def take(self, wish: ModelDesired) -> None:
        """Something that came down; for any thread."""
        with self._changed:
            if self._wish is None or wish.revision > self._wish.revision:
                self._wish = wish
            self._changed.notify_all()

    def start(self) -> None:
        self._tidy()
        self._tell()
        self._thread.start()

    def stop(self, clean: bool) -> None:
        """Ends the thread; `clean`: the process does not stop because something failed."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(10.0)
        if clean and self.on_trial:
            with suppress(StateDirectoryError):  # then the trial counts one start more
                self.ledger.ends()

    # ---- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._note_wish()
                if self.ledger.page.trial is not None:
                    self._try_out(self.ledger.page.trial)
                elif self.ledger.page.wish is not None:
                    self._pursue(self.ledger.page.wish)
            except StateDirectoryError as error:
                log.error("%s; what is wanted of the model waits", error)
                self._pause(PAUSE_S)
            self._wait(LOOK_S)

    def _note_wish(self) -> None:
        with self._changed:
            wish, self._wish = self._wish, None
        if wish is not None:
            self.ledger.wanted(wish)

    def _pursue(self, wish: ModelDesired) -> None:
        """Brings a wish as far as it gets."""
        if wish.digest == self.process.bundle.digest:
            self.ledger.runs_already()
            self._tell()
        elif wish.digest == SETUP:
            if self.ledger.page.running == SETUP:
                self.ledger.runs_already()
                self._tell()
            else:
                self.ledger.back_to_setup("committed")
                self.process.restart("back to the bundle of the set-up")
                self._rest()
        elif why := self.ledger.page.refused.get(wish.digest):
            self._refuse(f"it was refused before: {why}", remember=False)
        elif self._fetched(wish):
            self._check_and_shadow(wish)

    # ---- downloading -------------------------------------------------------------------------------------------

    def _fetched(self, wish: ModelDesired) -> bool:
        """Whether the file is there; else it was refused, or something newer came up."""
        if self._file(wish.digest).exists():
            return True
        part = self.folder / f"{wish.sha256[:64]}.part"
        if reason := self._no_room(wish, part):
            self._refuse(reason, remember=False)
            return False
        self._tell("downloading")
        pause = PAUSE_S
        while self._goes_on():
            try:
                if download(wish.url, part, wish.size, wish.sha256, self._goes_on, self._progress("downloading")):
                    part.rename(self._file(wish.digest))
                    sync(self.folder)
                    return True
            except DownloadError as error:
                if error.final:
                    self._refuse(str(error), remember=False)
                    return False
                self._tell("downloading", reason=f"{error}; trying again in {pause:g} s")
                self._pause(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            except OSError as error:
                raise StateDirectoryError(self.folder, (error.strerror or str(error)).lower()) from None
        return False

    def _no_room(self, wish: ModelDesired, part: Path) -> str:
        if not 0 < wish.size <= archive.MOST_BYTES:
            return f"{wish.size} bytes are not the size of a bundle, which has at most {archive.MOST_BYTES}"
        if not (len(wish.sha256) == 64 and wish.sha256.isalnum() and wish.digest.isalnum()):
            return "its sha256 or digest is none"
        have = part.stat().st_size if part.exists() else 0
        free = shutil.disk_usage(self.folder).free
        if wish.size - have + SPARE_BYTES > free:
            return f"the disk has {free >> 20} MB free, too little for {wish.size >> 20} MB and something to spare"
        return ""

    # ---- checking and running beside the present one -----------------------------------------------------------

    def _check_and_shadow(self, wish: ModelDesired) -> None:
        if not self.ledger.tries():
            self._refuse("the device stopped again and again while it was looked at", remember=True)
            return
        self._tell("checking")
        try:
            bundle = self._checked(wish)
            metrics = self._beside(bundle, wish)
        except (BundleError, ShadowError) as error:
            self._refuse(str(error), remember=True)
            self._file(wish.digest).unlink(missing_ok=True)
            return
        if metrics is None:
            return
        if reason := objection(metrics, wish.least_agreement, wish.most_slower):
            self._refuse(reason, remember=True, metrics=metrics)
            return
        self._swap(wish, metrics)

    def _checked(self, wish: ModelDesired) -> Bundle:
        """The wanted bundle, ready to run. Raises BundleError, ShadowError."""
        bundle = Bundle.load(self._file(wish.digest), self.process.settings.threads)
        if bundle.digest != wish.digest:
            raise ShadowError(f"the file holds the bundle {bundle.digest[:12]}, not {wish.digest[:12]}")
        if (bundle.interpreter is None) != (self.process.bundle.interpreter is None):
            raise ShadowError("one of the two takes pictures, the other features")
        have, had = (one.contents.statistics.accuracy for one in (bundle, self.process.bundle))
        if have < had - ACCURACY_LOST:
            raise ShadowError(f"its accuracy on its calibration set is {have:.2f}, that of the present one {had:.2f}")
        return bundle

    def _beside(self, bundle: Bundle, wish: ModelDesired) -> dict[str, float] | None:
        """What the shadow measures; None where it was interrupted. Raises BundleError, ShadowError."""
        accuracy = {"accuracy": bundle.contents.statistics.accuracy}
        if wish.shadow_frames <= 0 or bundle.interpreter is None:
            return {"agreement": 1.0, "old_p50_us": 0.0, "new_p50_us": 0.0, **accuracy}
        self._tell("shadow")
        process, window = self.process, Window()
        process.doors.watch(Frame, window.look)
        try:
            latest = process.snapshots.latest()
            known = latest.states.get("knn", {}) if latest and latest.bundle == process.bundle.digest else {}
            present = Runner(Bundle.load(self.path, process.settings.threads), known.get("memory"))
            measured = compare(
                present, Runner(bundle), window, wish.shadow_frames, self._goes_on, self._progress("shadow")
            )
        finally:
            process.doors.watch(Frame, None)
        return None if measured is None else {**measured, **accuracy}

    def _swap(self, wish: ModelDesired, metrics: dict[str, float]) -> None:
        trial = Trial(
            digest=wish.digest,
            frame_us=self.process.device.latencies().get("frame_p50_us", 0.0),
            in_drift=bool(self.process.episode),
            slower=wish.most_slower,
            seconds=wish.trial_s,
        )
        self.ledger.tries_to_run(trial, metrics)
        self._tell()
        self.process.restart(f"the bundle {wish.digest[:12]} is tried out")
        self._rest()

    # ---- on trial ----------------------------------------------------------------------------------------------

    def _try_out(self, trial: Trial) -> None:
        """Watches the bundle on trial until it is kept or not."""
        if not self.on_trial:
            self._rest()  # the disk could not take note that it was begun once more, so that it is not run
            return
        began, progress = time.monotonic(), self._progress("trial")
        while not self._stopping:
            passed = time.monotonic() - began
            progress(min(passed / max(trial.seconds, 0.001), 1.0))
            if reason := self._symptom(trial):
                self.ledger.roll_back(reason, self._measured())
                self.process.restart(f"the bundle on trial goes: {reason}")
                self._rest()
                return
            if passed >= trial.seconds and self.process.camera.frames >= ENOUGH_FRAMES:
                self.ledger.commit(self._setup_digest(), self._measured())
                self._tidy()
                self._tell()
                self._kept()
                return
            self._wait(LOOK_S)
            self._note_wish()  # it waits until this one is decided

    def _symptom(self, trial: Trial) -> str:
        """What speaks against the bundle on trial; empty while nothing does."""
        device = self.process.device
        if device.failures > MOST_FAILURES:
            return f"actors failed {device.failures} times"
        if self.process.episode and not trial.in_drift:
            return f"it saw a drift at once, at frame {self.process.episode}"
        now = device.latencies().get("frame_p50_us", 0.0)
        return too_slow(now, trial.frame_us, trial.slower) if self.process.camera.frames >= ENOUGH_FRAMES else ""

    def _measured(self) -> dict[str, float]:
        return {
            "trial_frames": float(self.process.camera.frames),
            "trial_frame_p50_us": self.process.device.latencies().get("frame_p50_us", 0.0),
            "trial_failures": float(self.process.device.failures),
            **self.legacy.metrics,
        }

    # ---- help --------------------------------------------------------------------------------------------------

    def _file(self, digest: str) -> Path:
        return self.folder / f"{digest[:64]}.bundle"

    def _setup_digest(self) -> str:
        try:
            return archive.digest_in(self.setup)
        except BundleError:
            return ""

    def _chosen(self) -> str:
        """Digest of the bundle that this process runs; SETUP for that of the set-up."""
        try:
            self._heed_setup()
            self.ledger.begins()
        except StateDirectoryError as error:
            log.error("%s; nothing is tried out", error)
            return self.ledger.page.running
        return self.ledger.bundle

    def _heed_setup(self) -> None:
        """Who puts another bundle on the device by hand wants that one."""
        page = self.ledger.page
        if page.running != SETUP and page.trial is None and self._setup_digest() not in ("", page.setup):
            self.ledger.back_to_setup("committed", "the device was set up with another bundle")

    def _tidy(self) -> None:
        """Removes the files that nobody needs any more; what cannot be removed takes room and does no other harm."""
        needed = self.ledger.needed()
        wish = self.ledger.page.wish
        keep = {self._file(digest).name for digest in needed} | {f"{wish.sha256[:64]}.part" if wish else ""}
        for path in self.folder.iterdir():
            if path.suffix in (".bundle", ".part") and path.name not in keep:
                with suppress(OSError):
                    path.unlink()
        self.legacy.tidy(needed | {self._setup_digest(), self.process.bundle.digest})

    def _refuse(self, reason: str, *, remember: bool, metrics: dict[str, float] | None = None) -> None:
        log.warning("the wanted bundle is refused: %s", reason)
        self.ledger.refuse(reason, remember=remember, metrics=metrics)
        self._tidy()
        self._tell()

    def _goes_on(self) -> bool:
        """Whether nothing newer is wanted, and the device goes on."""
        return not self._stopping and self._wish is None

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._goes_on() and time.monotonic() < until:
            self._wait(LOOK_S)

    def _wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._wish is not None, seconds)

    def _rest(self) -> None:
        """Waits for the end of the process."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping)

    def _progress(self, phase: str) -> Callable[[float], None]:
        self._told = -1.0

        def tell(share: float) -> None:
            if share - self._told >= 0.1 or share >= 1.0 > self._told:  # a metered link pays for every report
                self._told = share
                self._tell(phase, progress=share)

        return tell

    def _tell(self, phase: str = "", progress: float = 0.0, reason: str | None = None) -> None:
        page = self.ledger.page
        wanted = page.trial.digest if page.trial else page.wish.digest if page.wish else ""
        report = ModelReported(
            revision=page.revision,
            running=self.process.bundle.digest,
            desired=wanted,
            phase=phase or page.phase,
            progress=progress,
            reason=page.reason if reason is None else reason,
            metrics=page.metrics,
        )
        if phase:
            report = replace(report, reason=reason or "", metrics=page.metrics if phase == "trial" else {})
        self._report(report)
