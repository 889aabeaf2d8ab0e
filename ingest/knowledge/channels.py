"""Ways out of the house: a webhook and mail. Each sends one thing or raises `NotDelivered`."""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from email.utils import formatdate
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit

from broker.errors import SettingsError

from ..errors import IngestError

PATIENCE_S = 10.0


class NotDelivered(IngestError):  # noqa: N818  it reads as what happened
    """The other side did not take a notification; why is the sentence."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification as it leaves; `uid` is the same whenever it is sent again."""

    id: int
    uid: str
    kind: str
    severity: str
    device: str | None
    episode: str | None
    incident: str | None
    title: str
    text: str
    action: str
    link: str  # a URL where the API's is known, else a path
    since: str
    notified_at: str


# ---- webhook -----------------------------------------------------------------------------------------------------


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What is signed for one address is not carried to another."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Webhook:
    """POSTs a notice as JSON. With a secret, `Tinyml-Signature` is `sha256=` and the HMAC of "<timestamp>.<body>"."""

    url: str
    secret: str = ""
    patience_s: float = PATIENCE_S

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError("webhook has to be a URL with http or https and a host")

    def send(self, notice: Notice) -> None:
        """Raises NotDelivered unless the other side answers with 2xx."""
        body = json.dumps(asdict(notice)).encode()
        stamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "tinymlops",
            "Tinyml-Notification": notice.uid,  # the same again when it is sent again
            "Tinyml-Timestamp": stamp,
        }
        if self.secret:
            headers["Tinyml-Signature"] = f"sha256={signature(self.secret, stamp, body)}"
        request = urllib.request.Request(self.url, data=body, headers=headers, method="POST")  # noqa: S310  checked above
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.patience_s):
                return
        except urllib.error.HTTPError as error:
            error.close()
            raise NotDelivered(f"the webhook answers {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise NotDelivered(f"the webhook cannot be reached: {error.reason}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise NotDelivered(f"the webhook broke off: {str(error) or type(error).__name__}") from None


def signature(secret: str, stamp: str, body: bytes) -> str:
    """What a receiver compares, in hex."""
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


# ---- mail --------------------------------------------------------------------------------------------------------

_PORTS = {"smtp": 587, "smtps": 465, "smtp+plain": 25}


@dataclass(frozen=True, slots=True)
class Mail:
    """Sends mail: `smtp://user@host:587` demands STARTTLS, `smtps://` is TLS, `smtp+plain://` is neither."""

    url: str
    sender: str
    to: tuple[str, ...]
    password: str = ""
    ca_file: str = ""
    patience_s: float = PATIENCE_S

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise SettingsError(f"smtp has to be a URL with a host and one of {', '.join(f'{s}://' for s in _PORTS)}")
        if parts.password:
            raise SettingsError("smtp must not hold the password; it belongs into smtp_password")
        if not self.password.isascii():
            raise SettingsError("smtp_password can hold ASCII only; mail servers do not agree on more")
        if not self.to:
            raise SettingsError("mail_to has to name somebody where smtp names a server")
        for address in (self.sender, *self.to):
            if "@" not in address or not address.isprintable() or any(c in address for c in " ,;<>"):
                raise SettingsError(f"{address!r} is no mail address")

    def send(self, mail: str, notices: Sequence[Notice]) -> None:
        """One mail with all of them; `mail` names it, the same when it is sent again. Raises NotDelivered."""
        message = self._compose(mail, notices)
        try:
            with self._connected() as server:
                server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            raise NotDelivered(f"the mail server refuses {', '.join(sorted(error.recipients))}") from None
        except smtplib.SMTPResponseException as error:
            said = (
                error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
            )
            raise NotDelivered(f"the mail server answers {error.smtp_code} {said}") from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise NotDelivered(f"the mail server cannot be used: {str(error) or type(error).__name__}") from None

    def _connected(self) -> smtplib.SMTP:
        parts = urlsplit(self.url)
        host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if parts.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=self.patience_s, context=context)
        else:
            server = smtplib.SMTP(host, port, timeout=self.patience_s)
        try:
            if parts.scheme == "smtp":
                server.starttls(context=context)
            if parts.username:
                server.login(unquote(parts.username), self.password)
        except BaseException:
            server.close()
            raise
        return server

    def _compose(self, mail: str, notices: Sequence[Notice]) -> EmailMessage:
        message = EmailMessage()
        first = notices[0].title if len(notices) == 1 else f"{len(notices)} notifications, {notices[0].title} ..."
        message["Subject"] = f"[tinyml] {' '.join(first.split())}"
        message["From"], message["To"] = self.sender, ", ".join(self.to)
        message["Date"] = formatdate()
        message["Message-ID"] = f"<{mail}@{self.sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content("\n\n".join(map(_paragraph, notices)) + "\n")
        return message


def _paragraph(notice: Notice) -> str:
    return f"{notice.severity.upper()}: {notice.title}\n{notice.text}\n{notice.action}\n{notice.link}"
