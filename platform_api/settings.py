"""Settings of the API: flags, environment (TINYML_API_...), a file."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from broker.address import BrokerAddress
from broker.errors import SettingsError
from broker.settings import setting
from broker.topics import ROOT
from ingest.packages.limits import Limits, limits

PREFIX = "TINYML_API_"


@dataclass(frozen=True, kw_only=True)
class ApiSettings:
    """What `tinyml api run` can be told."""

    host: str = setting("127.0.0.1", "address to listen on; one that other machines reach needs a token")
    port: int = setting(8080, "port to listen on; 0 takes a free one")
    database: str = setting("postgresql:///tinyml", "URL of the PostgreSQL database")
    broker: str = setting("mqtt://127.0.0.1:1883", "URL of the MQTT broker; mqtts:// for TLS")
    username: str = setting("", "user name at the broker, where the URL has none")
    password: str = setting("", "password at the broker", secret=True)
    ca_file: Path | None = setting(None, "certificate authorities to trust at the broker, instead of the system's")
    cert_file: Path | None = setting(None, "client certificate for the broker")
    key_file: Path | None = setting(None, "key of the client certificate")
    objects: str = setting("data/objects", "object store: a folder, or s3://key:secret@host/bucket")
    registry: str = setting("sqlite:///data/mlflow.db", "model registry: URL of MLflow, or sqlite:///FILE")
    packages: Path = setting(Path("data/packages"), "folder in which uploaded packages lie until they are worked off")
    package_mb: int = setting(1024, "MB that an uploaded package may have")
    package_unpacked_mb: int = setting(8192, "MB that may come out of a package")
    package_ratio: int = setting(200, "how many times its own size a package may unpack to")
    package_entries: int = setting(10_000, "entries that an archive may have")
    token: str = setting("", "whoever changes something has to show this word, at least 16 characters", secret=True)
    root: str = setting(ROOT, "first level of all topics")
    connections: int = setting(8, "connections to the database that requests share")
    outstanding: int = setting(256, "labels a device may have on the broker at a time; more wait in the database")
    backoff_cap_s: float = setting(30.0, "longest pause between two attempts to reach a broker that is away")
    log_level: str = setting("info", "how much to log", choices=("debug", "info", "warning", "error"))

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"port is {self.port}; it can be 0 to 65535")
        for name in ("connections", "outstanding", "backoff_cap_s"):
            if getattr(self, name) <= 0:
                raise SettingsError(f"{name} is {getattr(self, name)}; it has to be more than 0")
        if self.token and (len(self.token) < 16 or not self.token.isascii() or not self.token.isprintable()):
            raise SettingsError(
                "the token has to be at least 16 printable ASCII characters; try `openssl rand -hex 16`"
            )
        if not self.token and not is_loopback(self.host):
            raise SettingsError(
                f"whoever reaches {self.host} could label: set a token ({PREFIX}TOKEN), or listen on 127.0.0.1"
            )

    def package_limits(self) -> Limits:
        """How large and how strange a package may be."""
        return limits(self.package_mb, self.package_unpacked_mb, self.package_ratio, self.package_entries)

    def broker_address(self) -> BrokerAddress:
        """Where the broker is; raises SettingsError where the URL or a file of TLS cannot be used."""
        address = BrokerAddress.of(
            self.broker,
            username=self.username,
            password=self.password,
            ca_file=self.ca_file,
            cert_file=self.cert_file,
            key_file=self.key_file,
        )
        if address.tls:
            address.tls_context()
        return address


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
