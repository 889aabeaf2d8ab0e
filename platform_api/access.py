"""Who may do what: the API token, and what a loopback API without one refuses."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import BodyTooLargeError, ForeignHostError, TokenNeededError
from .problems import of_error

MAX_BODY = 64 << 10
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_bearer = HTTPBearer(auto_error=False, description="the token the API was started with, where it has one")


async def may_write(
    request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    """Lets pass who shows the token, or everybody where there is none. Raises TokenNeededError."""
    token: str = request.app.state.token
    if token and not (shown and hmac.compare_digest(shown.credentials.encode(), token.encode())):
        raise TokenNeededError


class Gate:
    """In front of the app: caps bodies before they are read, and keeps other names out where there is no token."""

    def __init__(self, app: ASGIApp, any_host: bool, larger: Mapping[tuple[str, str], int] | None = None) -> None:
        self.app, self.any_host = app, any_host
        self.larger = larger or {}  # (method, path) -> bytes that a body may have there

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self.any_host and _host_name(headers.get("host", "")) not in LOOPBACK:
            await of_error(ForeignHostError(), scope["path"])(scope, receive, send)
        elif int(headers.get("content-length", "0")) > (most := self._most(scope)):  # the server checked the number
            await of_error(BodyTooLargeError(most), scope["path"])(scope, receive, send)
        else:
            await self.app(scope, _capped(receive, most), send)

    def _most(self, scope: Scope) -> int:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return self.larger.get((scope["method"], path), MAX_BODY)


def _capped(receive: Receive, most: int) -> Receive:
    size = 0

    async def counting() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:  # sent in chunks, without saying how long it is
            raise HTTPException(BodyTooLargeError.status, str(BodyTooLargeError(most)))
        return message

    return counting


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
