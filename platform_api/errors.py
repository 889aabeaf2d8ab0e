"""Errors of the API. A client is told each of them as a problem (RFC 9457)."""

from __future__ import annotations

from typing import ClassVar

from broker.errors import TinymlError


class DemoError(TinymlError):
    """The demo cannot be played, and what would help."""


class SimulateError(TinymlError):
    """The fleet cannot be simulated, and what would help."""


class ReadmeError(TinymlError):
    """The README does not show what the code is."""


class ApiError(TinymlError):
    """A request that cannot be answered as it was meant; the sentence is the problem's detail."""

    status: ClassVar[int] = 500
    name: ClassVar[str] = "internal"  # the problem's type is urn:tinyml:<name>
    title: ClassVar[str] = "The server failed"
    headers: ClassVar[dict[str, str]] = {}


class UnknownDeviceError(ApiError):
    """No device of that name was ever heard of."""

    status, name, title = 404, "unknown-device", "Unknown device"

    def __init__(self, device: str) -> None:
        super().__init__(f"No device named {device!r} was ever heard of.")
        self.device = device


class UnknownEpisodeError(ApiError):
    """The device has no such drift episode."""

    status, name, title = 404, "unknown-episode", "Unknown drift episode"

    def __init__(self, device: str, episode: str) -> None:
        super().__init__(f"{device!r} has no drift episode {episode!r}.")
        self.device, self.episode = device, episode


class UnknownIncidentError(ApiError):
    """There is no such incident."""

    status, name, title = 404, "unknown-incident", "Unknown incident"

    def __init__(self, incident: str) -> None:
        super().__init__(f"There is no incident {incident!r}.")
        self.incident = incident


class UnknownNotificationError(ApiError):
    """There is no such notification, or nobody was told of it yet."""

    status, name, title = 404, "unknown-notification", "Unknown notification"

    def __init__(self, notification: int) -> None:
        super().__init__(f"There is no notification {notification}.")
        self.notification = notification


class UnknownSampleError(ApiError):
    """The device has quarantined no such sample, or it has not arrived yet."""

    status, name, title = 404, "unknown-sample", "Unknown sample"

    def __init__(self, device: str, sample: str) -> None:
        super().__init__(f"{device!r} has no quarantined sample {sample!r}, or it has not arrived yet.")
        self.device, self.sample = device, sample


class NoPictureError(ApiError):
    """The sample came without a picture, or the picture is gone."""

    status, name, title = 404, "no-picture", "No picture"


class NoBlobError(ApiError):
    """The device offered nothing of this sha256, or it is not here whole."""

    status, name, title = 404, "no-blob", "Not here"


class NoBundleError(ApiError):
    """Nobody put the file of this bundle into the object store."""

    status, name, title = 404, "no-bundle", "No such bundle here"

    def __init__(self, digest: str) -> None:
        super().__init__(
            f"No bundle {digest[:12]} is in the object store; `tinyml ingest register --upload` puts it there."
        )
        self.digest = digest


class NoLinkError(ApiError):
    """The object store gives no links, or has not got the object yet."""

    status, name, title = 409, "no-link", "No link"


class NotLabelledError(ApiError):
    """Nobody has said anything about the sample."""

    status, name, title = 404, "not-labelled", "Not labelled"

    def __init__(self, device: str, sample: str) -> None:
        super().__init__(f"Nobody has labelled sample {sample!r} of {device!r}.")
        self.device, self.sample = device, sample


class NothingToRetractError(ApiError):
    """A label can be taken back only where there is one."""

    status, name, title = 409, "nothing-to-retract", "Nothing to retract"

    def __init__(self, device: str, sample: str) -> None:
        super().__init__(f"Sample {sample!r} of {device!r} has no label that could be taken back.")
        self.device, self.sample = device, sample


class KeyReusedError(ApiError):
    """An Idempotency-Key belongs to one request for ever."""

    status, name, title = 422, "key-reused", "Idempotency-Key used for another request"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key came with another label before; use a new key for a new label.")


class InvalidRequestError(ApiError):
    """A parameter, a header or the body does not follow the API's description."""

    status, name, title = 422, "invalid-request", "Invalid request"


class TokenNeededError(ApiError):
    """Whoever changes something has to show the API's token."""

    status, name, title = 401, "token-needed", "API token needed"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}

    def __init__(self) -> None:
        super().__init__("Send the header `Authorization: Bearer <token>` with the token this API was started with.")


class ForeignHostError(ApiError):
    """A web page elsewhere must not reach a loopback API through a name of its own (DNS rebinding)."""

    status, name, title = 421, "foreign-host", "Not a name of this server"

    def __init__(self) -> None:
        super().__init__("Without a token this API answers only to localhost, 127.0.0.1 and [::1].")


class BodyTooLargeError(ApiError):
    """No request of this API needs a body of that size."""

    status, name, title = 413, "body-too-large", "Body too large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A request's body may have {limit} bytes.")
        self.limit = limit


class UnknownPackageError(ApiError):
    """No such package was ever brought."""

    status, name, title = 404, "unknown-package", "Unknown package"

    def __init__(self, package: str) -> None:
        super().__init__(f"No package {package!r} was ever brought.")
        self.package = package


class DeskFullError(ApiError):
    """Many packages wait already; the same request may work a little later."""

    status, name, title = 503, "desk-full", "Too many packages wait"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "30"}

    def __init__(self, room: int) -> None:
        super().__init__(f"{room} packages wait to be worked off; try again later.")
        self.room = room


class NoRoomError(ApiError):
    """The disk does not take the upload."""

    status, name, title = 507, "no-room", "No room for the upload"

    def __init__(self, why: str) -> None:
        super().__init__(f"The server cannot keep the upload: {why.lower() or 'its disk refuses'}.")


class DatabaseAwayError(ApiError):
    """The database does not answer, or not in time; the same request may work a little later."""

    status, name, title = 503, "database-away", "Database away"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}


class ObjectsAwayError(ApiError):
    """The object store does not answer; the same request may work a little later."""

    status, name, title = 503, "objects-away", "Object store away"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}


class RegistryAwayError(ApiError):
    """The model registry does not answer; the same request may work a little later."""

    status, name, title = 503, "registry-away", "Model registry away"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}
