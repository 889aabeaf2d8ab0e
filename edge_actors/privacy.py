"""What of a picture may leave the device: every picture that leaves passes here."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from broker.errors import SettingsError
from broker.messages import Frame

from . import pictures
from .pictures import Pixels
from .runtime.supervision import attempt, reason_of

log = logging.getLogger(__name__)

Redact = Callable[[Pixels, Mapping[str, Any]], "Pixels | None"]


class Picture(NamedTuple):
    """A picture as it leaves: encoded, with the size of the frame it was made of; or nothing at all."""

    data: bytes = b""
    kind: str = ""
    height: int = 0
    width: int = 0


class Showing:
    """Makes what may be shown of a frame. `redact` changes the pixels first, or says that nothing may be shown.

    A hook that fails, or gives what is no picture, sends nothing: never the picture as it was.
    """

    def __init__(self, level: str = "thumbnail", redact: Redact | None = None) -> None:
        self.level, self.redact = level, redact
        self.failures = 0

    def of(self, frame: Frame, about: Mapping[str, Any]) -> Picture:
        """The picture that leaves with a sample; `about` is what the hook is told of it."""
        if self.level == "features":
            return Picture()
        shape = (frame.height, frame.width, frame.channels)
        seen = np.frombuffer(frame.pixels, np.uint8).reshape(shape)
        pixels = seen if self.redact is None else self._redacted(self.redact, seen, about)
        if pixels is None:
            return Picture()
        data = pictures.jpeg(pixels) if self.level == "picture" else pictures.thumbnail(pixels)
        return Picture(data, "image/jpeg", pixels.shape[0], pixels.shape[1])

    def _redacted(self, redact: Redact, pixels: Pixels, about: Mapping[str, Any]) -> Pixels | None:
        grey = pixels.shape[2] == 1
        seen = pixels.repeat(3, axis=2) if grey else pixels.copy()  # the hook's own: height x width x 3
        made = attempt(redact, seen, dict(about))
        if made is None:
            return None
        if isinstance(made, Exception):
            self._failed(reason_of(made))
            return None
        if reason := _problem(made):
            self._failed(reason)
            return None
        return np.ascontiguousarray(made)

    def _failed(self, reason: str) -> None:
        self.failures += 1
        if self.failures == 1:
            log.error("the redaction hook failed: %s; its pictures stay on the device", reason)

    def faults(self) -> frozenset[str]:
        """What is wrong: redaction_failing."""
        return frozenset({"redaction_failing"}) if self.failures else frozenset()


def _problem(made: object) -> str:
    """What is wrong with what the hook gave; empty when nothing is."""
    if not (isinstance(made, np.ndarray) and made.dtype == np.uint8 and made.ndim == 3 and made.shape[2] == 3):
        return "it gave something else than pixels: height x width x 3, uint8"
    return "it gave a picture without pixels" if 0 in made.shape else ""


def hook(text: str) -> Redact | None:
    """The function that a setting "module:function" names; None where it names none. Raises SettingsError."""
    if not text:
        return None
    module, _, function = text.partition(":")
    if not module or not function:
        raise SettingsError(f"redact is {text!r}; it has to be module:function")
    found = attempt(importlib.import_module, module)  # a module of somebody else's may fail in any way
    if isinstance(found, Exception):
        raise SettingsError(f"redact is {text!r}, which cannot be imported: {reason_of(found)}")
    named: Redact | None = getattr(found, function, None)
    if not callable(named):
        raise SettingsError(f"redact is {text!r}, and {module} has no such function")
    return named
