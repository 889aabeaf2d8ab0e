"""Settings of ingest: flags, environment (TINYML_INGEST_...), a file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from broker.address import BrokerAddress
from broker.errors import SettingsError
from broker.settings import setting
from broker.topics import ROOT

from .keeping.periods import default_text, periods
from .packages.limits import Limits, limits

PREFIX = "TINYML_INGEST_"


@dataclass(frozen=True, kw_only=True)
class IngestSettings:
    """What the commands of `tinyml ingest` can be told."""

    broker: str = setting("mqtt://127.0.0.1:1883", "URL of the MQTT broker; mqtts:// for TLS")
    username: str = setting("", "user name at the broker, where the URL has none")
    password: str = setting("", "password at the broker", secret=True)
    ca_file: str = setting("", "certificate authority of the broker, instead of the system's")
    cert_file: str = setting("", "client certificate for the broker")
    key_file: str = setting("", "key of the client certificate")
    root: str = setting(ROOT, "first level of all topics")
    database: str = setting("postgresql:///tinyml", "URL of the PostgreSQL database")
    objects: str = setting("data/objects", "object store: a folder, or s3://key:secret@host/bucket")
    objects_patience_s: float = setting(
        0.05, "how long a batch waits for its pictures to be in the object store; later ones wait in the database"
    )
    blob_mb: int = setting(64, "what a device may send in chunks, such as a snapshot, in MB; larger ones are refused")
    blob_device_mb: int = setting(256, "what is kept of these for a device, in MB; the oldest give way")
    blob_days: float = setting(7.0, "how long chunks that are missing are asked for")
    registry: str = setting("sqlite:///data/mlflow.db", "model registry: URL of MLflow, or sqlite:///FILE")
    batch: int = setting(4000, "messages that are stored in one transaction at most")
    receive_maximum: int = setting(8000, "messages the broker may have in flight to this worker")
    patience_s: float = setting(30.0, "how long to wait for the database at the start before giving up")
    heartbeat: str = setting(
        "", "file that is touched every second while the loop turns; tinyml ingest health reads it"
    )
    public_url: str = setting("", "where people reach the API, for links in notifications: https://tinyml.example")
    webhook: str = setting("", "URL that gets each notification as JSON by POST; without it none")
    webhook_secret: str = setting("", "signs what the webhook gets (docs/knowledge.md)", secret=True)
    smtp: str = setting(
        "", "mail server for notifications: smtp://user@host (STARTTLS), smtps://user@host (TLS), smtp+plain://host"
    )
    smtp_password: str = setting("", "password at the mail server", secret=True)
    smtp_ca_file: str = setting("", "certificate authority of the mail server, instead of the system's")
    mail_from: str = setting("", "who the mails come from; default: the first they go to")
    mail_to: tuple[str, ...] = setting((), "who gets mails, separated by commas")
    mail_digest_s: float = setting(900.0, "what is not critical goes into one mail in this time")
    notify_hold_s: float = setting(600.0, "what heals within this time is not told: faults, broken links, jobs")
    notify_drift_s: float = setting(14_400.0, "how long a device drifts with samples waiting before that is told")
    notify_offline_s: float = setting(3600.0, "how long a device is away before that is told")
    notify_waiting_s: float = setting(3600.0, "how long objects wait for the object store before that is told")
    notify_per_hour: int = setting(10, "notifications of a kind that are sent in an hour; more are only stored")
    notify_mute: tuple[str, ...] = setting((), "kinds of notifications nobody wants, separated by commas")
    incident_devices: int = setting(3, "from how many devices on the same drift or fault is an incident")
    incident_share: float = setting(0.2, "and from which share of those that are online")
    package_mb: int = setting(1024, "MB that a package, a file for `import`, may have")
    package_unpacked_mb: int = setting(8192, "MB that may come out of a package")
    package_ratio: int = setting(200, "how many times its own size a package may unpack to")
    package_entries: int = setting(10_000, "entries that an archive may have")
    retention: str = setting(
        default_text(),
        "how long each kind of row is kept: 90d, 12w, 2y or forever; kinds not named keep their default",
    )
    late_days: int = setting(30, "how long devices may be offline: hours this old are summed up again for late rows")
    log_level: str = setting("info", "how much to log", choices=("debug", "info", "warning", "error"))

    def __post_init__(self) -> None:
        for name, most in (("batch", 100_000), ("receive_maximum", 65_535)):
            if not 1 <= getattr(self, name) <= most:
                raise SettingsError(f"{name} is {getattr(self, name)}; it can be 1 to {most}")
        if not 0 <= self.patience_s <= 3600:
            raise SettingsError(f"patience_s is {self.patience_s}; it can be 0 to 3600")
        for name in ("blob_mb", "blob_device_mb", "blob_days"):
            if not 0 < getattr(self, name) <= 1_000_000:
                raise SettingsError(f"{name} is {getattr(self, name)}; it can be more than 0, to 1000000")
        if not 0 <= self.objects_patience_s <= 60:
            raise SettingsError(f"objects_patience_s is {self.objects_patience_s}; it can be 0 to 60")
        for name in ("mail_digest_s", "notify_hold_s", "notify_drift_s", "notify_offline_s", "notify_waiting_s"):
            if not 0 <= getattr(self, name) <= 30 * 86_400:
                raise SettingsError(f"{name} is {getattr(self, name)}; it can be 0 to {30 * 86_400}")
        if not 1 <= self.notify_per_hour <= 1000:
            raise SettingsError(f"notify_per_hour is {self.notify_per_hour}; it can be 1 to 1000")
        if not 2 <= self.incident_devices <= 1_000_000:
            raise SettingsError(f"incident_devices is {self.incident_devices}; it can be 2 to 1000000")
        if not 0 <= self.incident_share <= 1:
            raise SettingsError(f"incident_share is {self.incident_share}; it can be 0 to 1")
        if not 1 <= self.late_days <= 365:
            raise SettingsError(f"late_days is {self.late_days}; it can be 1 to 365")
        self.kept()
        if self.webhook or self.smtp or self.notify_mute:
            from .knowledge.delivery import check  # noqa: PLC0415  loads what only senders of mail need

            check(self)

    def package_limits(self) -> Limits:
        """How large and how strange a package may be."""
        return limits(self.package_mb, self.package_unpacked_mb, self.package_ratio, self.package_entries)

    def kept(self) -> dict[str, timedelta | None]:
        """How long each kind of row is kept, None for ever. Raises SettingsError."""
        return periods(self.retention, self.late())

    def late(self) -> timedelta:
        """How late a row may come and still count in its hour."""
        return timedelta(days=self.late_days)

    def broker_address(self) -> BrokerAddress:
        """The broker and the credentials for it. Raises SettingsError."""
        return BrokerAddress.of(
            self.broker,
            username=self.username,
            password=self.password,
            ca_file=Path(self.ca_file) if self.ca_file else None,
            cert_file=Path(self.cert_file) if self.cert_file else None,
            key_file=Path(self.key_file) if self.key_file else None,
        )
