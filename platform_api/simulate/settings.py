"""What a person can tell the simulated fleet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from broker.address import BrokerAddress
from broker.errors import SettingsError
from broker.settings import setting
from broker.topics import DEVICE, ROOT

PREFIX = "TINYML_SIMULATE_"
MOST_DEVICES = 20_000  # one address has hardly more ports than that


@dataclass(frozen=True, kw_only=True)
class SimulateSettings:
    """How many devices do what for how long, and where."""

    devices: int = setting(100, "devices, each with a connection of its own")
    rate: float = setting(100.0, "records a second that all devices together make; 0: none but the backlog")
    duration: float = setting(30.0, "seconds in which records are made")
    drain: float = setting(60.0, "seconds to wait at the end until everything is stored")
    broker: str = setting("mqtt://127.0.0.1:1883", "URL of an MQTT 5 broker; mqtts:// for TLS")
    username: str = setting("", "user name at the broker; default: the id of each device")
    password: str = setting("", "password at the broker, the same for all devices", secret=True)
    ca_file: str = setting("", "certificate authority of the broker, instead of the system's")
    root: str = setting(ROOT, "first level of all topics")
    name: str = setting("sim", "what the ids of the devices begin with")
    database: str = setting("", "URL of the database: what arrived is counted there")
    api: str = setting("", "URL of the API: samples are labelled through it")
    token: str = setting("", "token of the API", secret=True)
    labels: float = setting(5.0, "labels a second that people give; needs the API")
    answer_s: float = setting(2.0, "longest time a device takes to apply a label and save it")
    storm: float = setting(0.0, "every so many seconds devices lose their links at once; 0: never")
    storm_share: float = setting(1.0, "share of the devices that a storm hits")
    reboots: float = setting(0.1, "share of those that also start anew: another boot, the same spool")
    reconnect_s: float = setting(5.0, "longest pause between two attempts to connect")
    outage_h: float = setting(0.0, "the fleet was offline for so many hours before the run")
    backlog: int = setting(0, "records each device made in these hours")
    unsynced: float = setting(0.0, "share of the boots whose clock is wrong at first, until 5 s after they connect")
    duplicate: float = setting(0.0, "share of the records that are sent twice for no reason")
    reorder: float = setting(0.0, "share of the sendings that go out in a random order")
    batch: int = setting(1, "readings in each telemetry record")
    thumbnails: float = setting(0.2, "share of the quarantined samples that come with a picture")
    confirm_timeout_s: float = setting(10.0, "how long a device waits for `stored` before it sends again; it doubles")
    window: int = setting(200, "records a device has under way at most")
    spool: int = setting(2000, "records a device keeps at most; when that is full it makes no more")
    seed: int = setting(1, "seed of what devices see and when")
    stack: bool = setting(
        False, "start Mosquitto, a database, a worker and the API for the run, and remove them after"
    )
    keep: Path | None = setting(None, "keep what --stack writes, logs too, in this folder; default: a temporary one")
    json: Path | None = setting(None, "also write the report to this file")
    progress: float = setting(2.0, "seconds between two lines of progress; 0: none")

    def __post_init__(self) -> None:
        for name, least, most in (
            ("devices", 1, MOST_DEVICES),
            ("rate", 0, 1e6),
            ("duration", 0, 7 * 86_400),
            ("drain", 0, 3600),
            ("labels", 0, 1000),
            ("answer_s", 0, 3600),
            ("storm", 0, 86_400),
            ("reconnect_s", 0.1, 3600),
            ("outage_h", 0, 24 * 365),
            ("backlog", 0, 100_000),
            ("batch", 1, 10_000),
            ("confirm_timeout_s", 0.5, 3600),
            ("window", 1, 10_000),
            ("spool", 1, 100_000),
        ):
            if not least <= getattr(self, name) <= most:
                raise SettingsError(
                    f"--{name.replace('_', '-')} is {getattr(self, name):g}; {least:g} to {most:g} can be"
                )
        for name in ("storm_share", "reboots", "unsynced", "duplicate", "reorder", "thumbnails"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(f"--{name.replace('_', '-')} is a share: 0 to 1")
        if not DEVICE.fullmatch(f"{self.name}-00000"):
            raise SettingsError(
                f"--name {self.name!r} cannot begin the id of a device: lower-case letters and digits"
            )
        if self.backlog > self.spool:
            raise SettingsError(f"a backlog of {self.backlog} records needs --spool {self.backlog} or more")
        if self.backlog and not self.outage_h:
            raise SettingsError("a backlog needs the hours in which it was made: --outage-h")
        if self.stack and (self.database or self.api):
            raise SettingsError("--stack brings its own database and API; leave --database and --api away")

    def address(self, device: str) -> BrokerAddress:
        """The broker, and the credentials of a device. Raises SettingsError."""
        return BrokerAddress.of(
            self.broker,
            username=self.username or (device if self.password else ""),
            password=self.password,
            ca_file=Path(self.ca_file) if self.ca_file else None,
        )
