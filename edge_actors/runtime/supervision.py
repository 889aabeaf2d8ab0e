"""What happens when an actor fails: what is reported, and how often it may be tried again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import PurePath
from typing import Any, ParamSpec, TypeVar

from broker import codec
from broker.messages import DeadLetter, Frame, LogRecord, Message

MAX_PAYLOAD = 64 << 10
MAX_REASON = 500
REPORTS = frozenset({DeadLetter, LogRecord})  # a failure on one of these is not reported by another
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # differs from run to run; a replay has to give the same bytes

P = ParamSpec("P")
T = TypeVar("T")


def attempt(step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Exception:
    """What a step of an actor returns, or what it raised. This is the one broad except of the device."""
    try:
        return step(*args, **kwargs)
    except Exception as error:  # whatever is wrong with one actor must not end the others
        return error


class RestartBudget:
    """How often actors may be rebuilt within a time, which is message time."""

    def __init__(self, restarts: int, within_s: float) -> None:
        self.restarts, self.within_s = restarts, within_s
        self.spent: list[float] = []  # when, oldest first

    def resume(self, spent: Iterable[float]) -> None:
        self.spent = list(spent)

    def spend(self, now: float) -> bool:
        """Takes one restart; False when there is none left."""
        self.spent = [at for at in self.spent if at > now - self.within_s]
        if len(self.spent) >= self.restarts:
            return False
        self.spent.append(now)
        return True


def reason_of(error: Exception) -> str:
    """The error in one line of text that is the same in a replay."""
    text = f"{type(error).__name__}: {error}".encode(errors="replace").decode()
    return _ADDRESS.sub("", " ".join(text.split()))[:MAX_REASON]


def reports_of(actor: str, message: Message, error: Exception, now: float) -> list[Message]:
    """What a person gets to see of a failure: the message itself, and what happened."""
    kind, reason = type(message).__name__, reason_of(error)
    payload = codec.encode(without_pixels(message))[:MAX_PAYLOAD]
    text = f"{actor} failed on {kind}{_line_of(error)} and was rebuilt: {reason}"
    return [
        DeadLetter(at=now, where=actor, kind=kind, reason=reason, payload=payload),
        LogRecord(at=now, level="error", where=actor, text=text),
    ]


def without_pixels(message: Message) -> Message:
    """What of a message may leave the device with its failure: a raw picture never, whatever the privacy level."""
    return replace(message, pixels=b"") if isinstance(message, Frame) else message


def _line_of(error: Exception) -> str:
    trace: Any = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" at {PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
