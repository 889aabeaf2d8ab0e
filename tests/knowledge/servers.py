"""A web server and a mail server that take what they get, or do what they are told to do instead."""

from __future__ import annotations

import base64
import contextlib
import email.policy
import socketserver
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self, cast


class _Serving:
    """Runs a server of socketserver in a thread for the length of a block."""

    server: socketserver.TCPServer

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def __enter__(self) -> Self:
        self._thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@dataclass
class Post:
    headers: dict[str, str]
    body: bytes


class Web(_Serving):
    """Answers with `answers` one after the other, then with 200; 0 stands for breaking off after the request."""

    def __init__(self, *answers: int) -> None:
        posts: list[Post] = []
        left = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posts.append(Post(dict(self.headers), body))
                status = left.pop(0) if left else 200
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.posts = posts
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


class _Box:
    """What the server and its connections share."""

    def __init__(self, context: ssl.SSLContext | None, tls_from_start: bool, user: str, password: str) -> None:
        self.context, self.tls_from_start, self.user, self.password = context, tls_from_start, user, password
        self.mails: list[EmailMessage] = []
        self.answers: list[str] = []


class _MailServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    post: _Box


class MailBox(_Serving):
    """A mail server with STARTTLS or TLS and a password where it is given them.

    `answers` are given to the next mails instead of 250; "" stands for breaking off after the mail.
    """

    def __init__(
        self,
        context: ssl.SSLContext | None = None,
        *,
        tls_from_start: bool = False,
        user: str = "",
        password: str = "",
    ) -> None:
        server = _MailServer(("127.0.0.1", 0), _Conversation)
        self._post = server.post = _Box(context, tls_from_start, user, password)
        self.server = server

    @property
    def mails(self) -> list[EmailMessage]:
        return self._post.mails

    @property
    def answers(self) -> list[str]:
        return self._post.answers


class _Conversation(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self._talk(cast(_MailServer, self.server).post)

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def _talk(self, post: _Box) -> None:
        self.secure = False
        if post.tls_from_start and post.context:
            self._secure(post.context)
        allowed = not post.user
        self._say("220 box")
        while line := self.rfile.readline().decode().rstrip("\r\n"):
            verb, _, rest = line.partition(" ")
            match verb.upper():
                case "EHLO":
                    starttls = ["STARTTLS"] if post.context and not self.secure else []
                    words = ["box", *starttls, *(["AUTH PLAIN"] if post.user else []), "8BITMIME"]
                    for word in words[:-1]:
                        self._say(f"250-{word}")
                    self._say(f"250 {words[-1]}")
                case "STARTTLS" if post.context:
                    self._say("220 go on")
                    self._secure(post.context)
                case "AUTH":
                    expected = base64.b64encode(f"\0{post.user}\0{post.password}".encode()).decode()
                    allowed = rest.partition(" ")[2] == expected
                    self._say("235 welcome" if allowed else "535 who are you")
                case "MAIL":
                    self._say("250 ok" if allowed else "530 who are you")
                case "RCPT":
                    self._say("550 nobody here" if "nobody@" in rest else "250 ok")
                case "DATA":
                    self._say("354 go on")
                    if not self._take(post):
                        return
                case "QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("250 ok")

    def _take(self, post: _Box) -> bool:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b".") else line)
        answer = post.answers.pop(0) if post.answers else "250 taken"
        if answer[:1] in ("2", ""):
            post.mails.append(email.message_from_bytes(b"".join(lines), policy=email.policy.default))
        if answer:
            self._say(answer)
        return bool(answer)

    def _secure(self, context: ssl.SSLContext) -> None:
        plain = (self.rfile, self.wfile)
        self.connection = context.wrap_socket(self.connection, server_side=True, do_handshake_on_connect=False)
        self.connection.do_handshake()
        for file in plain:
            file.close()
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.secure = True

    def _say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")
