"""The settings of a device: from a file, the environment or flags, all listed by `tinyml edge run --help`."""

from __future__ import annotations

import json
import os
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

from broker import topics
from broker.address import BrokerAddress
from broker.errors import SettingsError
from broker.settings import setting

from .link_budget import LinkBudget, QuietHours, budgets
from .location import told_place
from .ports.cameras.address import without_password

PREFIX = "TINYML_EDGE_"
ARITHMETICS = ("numpy", "python")
DETECTORS = (
    "scene-cusum",
    "scene-mewma",
    "page-hinkley",
    "confidence",
    "distribution",
    "feature-ewma",
    "error-rate",
)
PRIVACY = ("features", "thumbnail", "picture")  # each lets out more than the one before


@dataclass(frozen=True, kw_only=True)
class EdgeSettings:
    """Raises SettingsError for values that cannot be."""

    bundle: Path = setting(MISSING, "the bundle to run: extractor, memory and calibration in one file")
    device: str = setting(MISSING, "name of this device: lower-case letters, digits and hyphens")
    camera: str = setting(
        MISSING,
        "where pictures come from: a folder, /dev/video0, picamera2, a video file or URL (rtsp://..., needs ffmpeg),"
        " journal:FOLDER, or - for a CBOR sequence of encoded pictures or Frame messages on standard input; `tinyml"
        " edge cameras` lists the cameras of this machine",
    )
    fps: float = setting(5.0, "pictures a second from a folder or a video; 0: as fast as they come", remote="restart")
    pace: str = setting(
        "auto",
        "newest: what the device is too slow for is dropped; source: the camera waits, nothing is dropped;"
        " auto: source for - and with --once, else newest",
        choices=("auto", "newest", "source"),
    )
    once: bool = setting(False, "play the source once, then stop; else folders and videos begin anew")

    camera_stale_s: float = setting(
        2.0, "a camera's picture that is older than this when it could be shown is dropped; 0: shown all the same"
    )
    camera_frozen_s: float = setting(
        10.0,
        "a camera whose picture has not changed for so long (and 30 pictures) is frozen; 0: never",
        remote="restart",
    )

    mode: str = setting(
        "validated",
        "autonomous: no link; monitor: reports, takes nothing; validated: also takes labels; managed: also takes"
        " settings, commands and models",
        choices=topics.MODES,
    )
    broker: str = setting("mqtt://127.0.0.1:1883", "URL of the MQTT broker; mqtts:// for TLS")
    username: str = setting("", "user name for the broker; the name of the device where only a password is given")
    password: str = setting(
        "", "password for the broker; better in the environment than on the command line", secret=True
    )
    ca_file: Path | None = setting(None, "certificate authorities to trust, instead of the system's")
    cert_file: Path | None = setting(None, "the device's own certificate, where the broker asks for one")
    key_file: Path | None = setting(None, "the key of that certificate")
    protocol: str = setting("auto", "version of MQTT; auto: 5, else 3.1.1", choices=("auto", "5", "3.1.1"))
    root: str = setting(topics.ROOT, "first level of all topics")
    reconnect_s: float = setting(
        60.0,
        "longest pause between two attempts to reach the broker; short ones make a fleet come back all at once",
        remote="restart",
    )
    confirm_timeout_s: float = setting(
        10.0, "send again what the server has not confirmed for so long", remote="restart"
    )
    in_flight: int = setting(200, "records on their way to the server at most", remote="restart")
    in_flight_kb: int = setting(1024, "bytes on their way to the server at most, in KB", remote="restart")
    link_kb_per_hour: str = setting(
        "",
        "what a metered link may carry in an hour, in KB: for all together, and for ranks (prediction, telemetry,"
        " picture, sample, vital), like 500,picture=300; what is over it waits; vital records only where named",
        remote="restart",
    )
    quiet_hours: str = setting(
        "",
        "when the link is left alone, in the machine's local time or UTC, like 22:00-06:00 or 22:00-06:00 UTC; not"
        " observed while the clock is not synced",
        remote="restart",
    )
    quiet_sends: str = setting(
        "vital",
        "what is sent in quiet hours: vital records (drift, adaptations, answers to labels), or nothing",
        choices=("vital", "nothing"),
        remote="restart",
    )
    drain_s: float = setting(
        2.0, "on a clean stop, wait so long for the server to confirm what is left", remote="restart"
    )

    state_dir: Path | None = setting(
        None, "where spool and snapshots are; default $STATE_DIRECTORY, else ~/.local/state/tinyml/<device>"
    )
    spool_mb: int = setting(64, "room on the disk for records that wait for the server, in MB", remote="restart")
    journal: str = setting(
        "off", "record what is let in, for `tinyml replay`: off, auto (in the state directory), a folder"
    )
    journal_mb: int = setting(16, "room on the disk for that, in MB; the oldest gives way")
    write_mb_per_day: float = setting(
        1000.0,
        "what may be written to the disk in a day, in MB; when it is more, that is a named fault, snapshots become"
        " fewer, records wait for each other, and the journal pauses; 0: as much as it likes",
        remote="restart",
    )
    snapshot_interval_s: float = setting(
        300.0, "save within so long what a drift changed; labels are saved at once", remote="restart"
    )
    snapshot_quiet_s: float = setting(3600.0, "save at least so often", remote="restart")

    privacy: str = setting(
        "thumbnail",
        "what of a quarantined sample leaves the device: only features, a thumbnail, or the whole picture",
        choices=PRIVACY,
        remote="restart",
    )
    redact: str = setting(
        "",
        "module:function that is shown the pixels (height x width x 3, uint8) and what is known of a sample before"
        " its picture leaves; it returns pixels, or None: no picture leaves. Where it fails, none does either",
    )
    predictions: str = setting(
        "summary",
        "report predictions summed up, or each of them as well",
        choices=("summary", "each"),
        remote="restart",
    )
    report_s: float = setting(60.0, "how often telemetry and predictions are reported, in seconds", remote="restart")
    reading_s: float = setting(30.0, "how often the device measures itself, in seconds", remote="live")

    detectors: str = setting(
        "scene-cusum,scene-mewma",
        "what watches for drift, one or several of: " + ", ".join(DETECTORS),
        remote="restart",
    )
    false_alarm_frames: int = setting(
        200_000,
        "wanted mean number of frames between two false drift alarms (at 5 a second, a million are 55 hours); more"
        " means later alarms",
        remote="restart",
    )
    commissioning_frames: int = setting(
        500, "frames after the first start in which the device learns what is usual here"
    )
    ph_threshold: float = setting(
        50.0, "page-hinkley: alarm above it, in the units of the distance", remote="restart"
    )
    ph_alpha: float = setting(0.005, "page-hinkley: slack of a frame, in the same units", remote="restart")
    ph_entry_factor: float = setting(
        0.0,
        "page-hinkley: a drift begins only at a frame farther than this times the mean; the seed names 1.5 and does"
        " not use it",
        remote="restart",
    )
    ph_exit_factor: float = setting(
        1.2, "page-hinkley: a frame nearer than this times the mean ends the drift", remote="restart"
    )
    ph_cooldown_s: float = setting(0.0, "page-hinkley: no second alarm within so long", remote="restart")
    ph_adaptive: bool = setting(
        False,
        "page-hinkley: alpha and threshold in learned spreads of the distance, from false_alarm_frames",
        remote="restart",
    )
    ph_reference: bool = setting(
        False, "page-hinkley: begin with the distances of the bundle's calibration frames", remote="restart"
    )
    quarantine_size: int = setting(200, "samples kept aside at most", remote="restart")
    policy: str = setting(
        "cautious",
        "what the device makes of strange samples by itself; cautious: re-centres where everything moved, makes"
        " classes of what is new, never guesses a label; seed: believes the predicted label of what lies close"
        " together; none: waits for people",
        choices=("cautious", "seed", "none"),
        remote="restart",
    )
    label_budget: int = setting(
        50, "samples that people are asked about within 30 days at most; 0: none", remote="restart"
    )
    seed: int = setting(0, "seed of all chance in the device")
    threads: int = setting(1, "threads of the interpreter", remote="restart")
    arithmetic: str = setting(
        "numpy",
        "how the memory is searched; python: without NumPy, a hundred times slower, the same labels",
        choices=ARITHMETICS,
        remote="restart",
    )

    clock: str = setting(
        "auto",
        "whether the wall clock can be trusted; auto: ask the kernel and systemd",
        choices=("auto", "synced", "unsynced"),
    )
    location: str = setting(
        "", "where the device is: latitude,longitude in degrees, or as people say it", remote="live"
    )
    location_precision_km: float = setting(
        1.0, "how exactly a latitude,longitude leaves the device: moved to the middle of a field so wide; 0: as it is"
    )
    log_level: str = setting(
        "warning", "what goes to standard error", choices=("debug", "info", "warning", "error"), remote="live"
    )
    status: str = setting(
        "auto",
        "print a line on how it goes: text every 5 s, json every second; auto: text where there is a terminal",
        choices=("auto", "text", "json", "none"),
    )

    def __post_init__(self) -> None:
        topics.check_device(self.device)
        for name in AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; it has to be at least 1")
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name} is {getattr(self, name)}; it has to be more than 0")
        for name in NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise SettingsError(f"{name} is {getattr(self, name)}; it cannot be negative")
        self.detector_names()  # says what is wrong with them
        self.link_budget()  # says what is wrong with it
        if bool(self.cert_file) != bool(self.key_file):
            raise SettingsError("cert_file and key_file belong together; one of them is missing")

    def address(self) -> BrokerAddress:
        """The broker and the credentials for it. Raises SettingsError."""
        return BrokerAddress.of(
            self.broker,
            username=self.username or (self.device if self.password else ""),
            password=self.password,
            ca_file=self.ca_file,
            cert_file=self.cert_file,
            key_file=self.key_file,
        )

    def detector_names(self) -> tuple[str, ...]:
        """The detectors to run, in their order. Raises SettingsError."""
        names = tuple(name.strip() for name in self.detectors.split(","))
        for name in names:
            if name not in DETECTORS:
                raise SettingsError(f"there is no detector {name!r}; there are {', '.join(DETECTORS)}")
        if len(set(names)) < len(names):
            raise SettingsError(f"detectors names one of them twice: {self.detectors}")
        return names

    def link_budget(self) -> LinkBudget:
        """What a metered link may carry. Raises SettingsError."""
        return LinkBudget(budgets(self.link_kb_per_hour), QuietHours.of(self.quiet_hours), self.quiet_sends)

    def directory(self) -> Path:
        """The state directory."""
        return state_directory(self.state_dir, self.device)

    def journal_directory(self) -> Path | None:
        """Where to record what is let in; None where not."""
        if self.journal == "off":
            return None
        return self.directory() / "journal" if self.journal == "auto" else Path(self.journal)

    @property
    def every_frame(self) -> bool:
        """Whether no picture may be dropped."""
        return self.pace == "source" or (self.pace == "auto" and (self.once or self.camera == "-"))

    @property
    def told_location(self) -> str:
        """The location as exactly as it may leave the device."""
        return told_place(self.location, self.location_precision_km)

    def as_text(self) -> str:
        """All but secrets, as JSON, for a recording."""
        open_ = {item.name: getattr(self, item.name) for item in fields(self) if not item.metadata["secret"]}
        open_["location"] = self.told_location
        open_["camera"] = without_password(self.camera)
        return json.dumps(open_, default=str, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> EdgeSettings:
        """The settings of a recording, made by this version or another. Raises SettingsError."""
        try:
            tree = json.loads(text)
            known = {item.name for item in fields(cls)}
            values = {name: value for name, value in tree.items() if name in known}
            for name in PATHS:
                values[name] = Path(values[name]) if values.get(name) else None
            return cls(**values)
        except (ValueError, TypeError, AttributeError) as error:
            raise SettingsError(f"the settings of the recording cannot be read: {error}") from None


def state_directory(given: Path | None, device: str) -> Path:
    """Where a device of this name keeps its state, unless another place is given."""
    if given is not None:
        return given
    if systemd := os.environ.get("STATE_DIRECTORY"):
        return Path(systemd.split(":")[0])
    return Path.home() / ".local" / "state" / "tinyml" / device


AT_LEAST_ONE = (
    "in_flight",
    "in_flight_kb",
    "spool_mb",
    "journal_mb",
    "quarantine_size",
    "threads",
    "false_alarm_frames",
)
POSITIVE = (
    "reconnect_s",
    "confirm_timeout_s",
    "snapshot_interval_s",
    "snapshot_quiet_s",
    "report_s",
    "reading_s",
    "ph_threshold",
    "ph_exit_factor",
)
NOT_NEGATIVE = (
    "fps",
    "camera_stale_s",
    "camera_frozen_s",
    "drain_s",
    "write_mb_per_day",
    "location_precision_km",
    "commissioning_frames",
    "ph_alpha",
    "ph_entry_factor",
    "ph_cooldown_s",
    "label_budget",
    "seed",
)
PATHS = ("bundle", "state_dir", "ca_file", "cert_file", "key_file")
