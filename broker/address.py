"""Where the broker is and who asks: a URL and the files of TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .errors import SettingsError

_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """A broker and the credentials for it. As text it is the URL without them."""

    host: str = "127.0.0.1"
    port: int = 1883
    tls: bool = False
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None  # instead of the system's authorities
    cert_file: Path | None = None  # the client's own certificate, where the broker asks for one
    key_file: Path | None = None

    @classmethod
    def of(
        cls,
        url: str,
        *,
        username: str = "",
        password: str = "",
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
    ) -> BrokerAddress:
        """What `mqtt://user:pass@host:port` or `mqtts://...` says; arguments beat the URL. Raises SettingsError."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            raise SettingsError("the port in the URL of the broker is not a number up to 65535") from None
        if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
            raise SettingsError("the URL of the broker has to read mqtt://host:port or mqtts://host:port")
        return cls(
            host=parts.hostname,
            port=port or _PORTS[parts.scheme],
            tls=parts.scheme == "mqtts",
            username=username or unquote(parts.username or ""),
            password=password or unquote(parts.password or ""),
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
        )

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"

    def tls_context(self) -> ssl.SSLContext:
        """What to trust and what to show. Raises SettingsError when a file cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the certificate and the host name
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = _ClosingSocket
        try:
            if self.ca_file:
                context.load_verify_locations(self.ca_file)
            else:
                context.load_default_certs()
        except OSError as error:
            raise SettingsError(f"{self.ca_file} cannot be used as certificate authority: {_why(error)}") from None
        try:
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:
            raise SettingsError(f"{self.cert_file} cannot be used as client certificate: {_why(error)}") from None
        return context


def _why(error: OSError) -> str:
    return error.strerror or error.__class__.__name__


class _ClosingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho leaves that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise
