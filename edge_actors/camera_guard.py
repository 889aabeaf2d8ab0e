"""Looks at every picture before it is recognised; says when the camera shows nothing of the world, and when again.

What a broken camera shows is no drift: while it is doubted nobody takes it for evidence, and nobody keeps it. Frames
are recognised all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from broker.messages import CameraDoubted, CameraFaulted, CameraRecovered, Embedded, Frame

from .algorithms.camera_faults import BLANK_FRAMES, FROZEN_FRAMES, HOPELESS, Fault, Look, look_at
from .runtime.actor import Actor

Inbox = Frame | Embedded
Outbox = CameraDoubted | CameraFaulted | CameraRecovered


class CameraGuard(Actor[Inbox, Outbox]):
    """A camera is doubted from the first black or saturated picture on, which becomes a fault after 10 of them.

    It is frozen when its picture has been the same 30 times and `frozen_s` seconds of message time; 0: never.
    """

    def __init__(self, frozen_s: float = 10.0) -> None:
        self.frozen_s = frozen_s
        self.found = {"frozen": Fault(FROZEN_FRAMES, frozen_s), "black": Fault(BLANK_FRAMES)}
        self.found["saturated"] = Fault(BLANK_FRAMES)
        self.doubted: tuple[str, ...] = ()
        self._last: bytes | None = None  # what of the picture before was looked at

    def receive(self, message: Inbox) -> Iterator[Outbox]:
        look = _look(message)
        bad = {
            "frozen": look.few == self._last and self.frozen_s > 0,
            "black": look.dark >= HOPELESS,
            "saturated": look.bright >= HOPELESS,
        }
        self._last = look.few
        for name, fault in self.found.items():
            if change := fault.update(bad[name], message.frame, message.at):
                yield self._told(change, name, look, message)
        doubted = tuple(name for name, fault in self.found.items() if fault.on or (bad[name] and name != "frozen"))
        if doubted != self.doubted:
            self.doubted = doubted
            yield CameraDoubted(at=message.at, frame=message.frame, reasons=doubted)

    def faults(self) -> frozenset[str]:
        """What is wrong, by name: camera_frozen, camera_black, camera_saturated."""
        return frozenset(f"camera_{name}" for name, fault in self.found.items() if fault.on)

    def state(self) -> dict[str, Any]:
        found = {name: fault.state() for name, fault in self.found.items()}
        return {"found": found, "doubted": list(self.doubted), "last": self._last}

    def restore(self, state: dict[str, Any]) -> None:
        for name, fault in self.found.items():
            fault.restore(state["found"][name])
        self.doubted, self._last = tuple(state["doubted"]), state["last"]

    def _told(self, change: str, name: str, look: Look, message: Inbox) -> CameraFaulted | CameraRecovered:
        fault = self.found[name]
        seconds = message.at - fault.began
        if change == "end":
            return CameraRecovered(
                at=message.at,
                frame=message.frame,
                episode=fault.episode,
                fault=name,
                frames=fault.lasted,
                seconds=seconds,
            )
        shares = {"frozen": (seconds, self.frozen_s), "black": (look.dark, HOPELESS)}
        statistic, threshold = shares.get(name, (look.bright, HOPELESS))
        return CameraFaulted(
            at=message.at,
            frame=message.frame,
            episode=fault.episode,
            fault=name,
            statistic=statistic,
            threshold=threshold,
            frames=fault.lasted,
            seconds=seconds,
        )


def _look(message: Inbox) -> Look:
    """Features have no light; of them only those are told that never change."""
    if isinstance(message, Frame):
        return look_at(message.pixels, message.width * message.channels)
    return Look(bytes(message.values))
