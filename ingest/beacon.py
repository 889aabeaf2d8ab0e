"""Tells devices, in one retained message, whether anybody takes what they send."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

from broker import topics
from broker.codec import decode_as, encode
from broker.connection import Will
from broker.errors import DecodeError
from broker.messages import IngestState

Publish = Callable[[str, bytes, int, bool], object]


class Beacon:
    """Listening or not, and under which name: a new one when messages may have been lost on their way to us.

    Its will says that nobody listens. Other workers whose wills come while this one lives are corrected.
    """

    def __init__(self, root: str = topics.ROOT) -> None:
        self.topic = f"{root}/{topics.INGEST_STATE}"
        self.publish: Publish | None = None  # the connection's; it is made after its will, which comes from here
        self._lock = threading.Lock()
        self._names = 0
        self._token = secrets.token_hex(6)
        self._listening, self._reason, self._ready = True, "", False

    @property
    def worker(self) -> str:
        return f"{self._token}-{self._names}"

    def will(self, _session: int) -> Will:
        """What the broker says when this worker is gone; with its own first name, which is as good as any."""
        return Will(self.topic, encode(IngestState(listening=False, worker=self.worker, reason="the worker is gone")))

    def up(self) -> None:
        """All subscriptions of a new link are granted: from now on messages reach us, earlier ones may not have."""
        with self._lock:
            self._names += 1
            self._ready = True
            self._say()

    def down(self) -> None:
        """The link is gone; nothing can be said, and the will speaks."""
        with self._lock:
            self._ready = False

    def lost(self) -> None:
        """Messages were dropped for want of room: devices shall send them again at once."""
        with self._lock:
            self._names += 1
            self._say()

    def listen(self) -> None:
        """From now on messages are stored; says so if that is news."""
        self._change(True, "")

    def pause(self, reason: str) -> None:
        """Messages cannot be stored at the moment; devices hold back."""
        self._change(False, reason)

    def heard(self, payload: bytes) -> None:
        """What anybody said on the topic. While we listen, nobody may say that nobody does."""
        try:
            said = decode_as(IngestState, payload) if payload else IngestState()
        except DecodeError:
            said = IngestState()
        with self._lock:
            if not said.listening and self._listening:
                self._say()

    def _change(self, listening: bool, reason: str) -> None:
        with self._lock:
            news = (listening, reason) != (self._listening, self._reason)
            self._listening, self._reason = listening, reason
            if news:
                self._say()

    def _say(self) -> None:
        if self._ready and self.publish is not None:
            state = IngestState(listening=self._listening, worker=self.worker, reason=self._reason)
            self.publish(self.topic, encode(state), 1, True)
