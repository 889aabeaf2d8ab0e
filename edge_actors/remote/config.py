"""Settings wanted from afar: which of them can be, kept over restarts, and what is reported of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

from broker.errors import SettingsError
from broker.messages import ConfigDesired, ConfigReported
from broker.settings import converted, from_afar

from ..errors import StateDirectoryError
from ..ports.kept import Kept
from ..settings import PRIVACY, EdgeSettings


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a wanted document."""

    settings: EdgeSettings
    rejected: dict[str, str]  # name -> reason


def judged(base: EdgeSettings, wanted: Mapping[str, str]) -> Verdict:
    """The settings with all that can be had of what is wanted; the rest is refused by name."""
    settings, rejected = base, {}
    for name, text in sorted(wanted.items()):
        try:
            from_afar(EdgeSettings, name)
            changes: dict[str, Any] = {name: converted(EdgeSettings, name, text)}
            if name == "privacy" and PRIVACY.index(changes[name]) > PRIVACY.index(base.privacy):
                raise SettingsError(f"from afar it cannot let out more than {base.privacy}, as the device is set up")
            settings = replace(settings, **changes)
        except SettingsError as error:
            rejected[name] = str(error)
    return Verdict(settings, rejected)


class RemoteConfig:
    """`base` is how the device was set up; what is not wanted otherwise stays like that.

    `settings` are what the device runs with, `reported` is what it says of them.
    """

    def __init__(self, kept: Kept, base: EdgeSettings, *, as_set_up: bool = False) -> None:
        self._kept, self.base = kept, base
        document = kept.read()
        self.revision = int(document.get("revision", 0))
        self.wanted: dict[str, str] = dict(document.get("settings", {}))
        verdict = self._judged("it was not tried" if as_set_up else document.get("refused", ""))
        self.settings = verdict.settings
        self.reported = self._report(verdict, waiting=set())

    def take(self, desired: ConfigDesired) -> tuple[EdgeSettings, set[str]] | None:
        """The settings to run with from now on, and the names among them that only a restart brings into force.

        None where nothing changes: an older revision, or one that is known. `reported` tells of it either way.
        """
        if desired.revision <= self.revision:
            return None
        document = {"revision": desired.revision, "settings": desired.settings}
        try:
            self._kept.write(document)
        except StateDirectoryError as error:
            reasons = dict.fromkeys(desired.settings, str(error))
            self.reported = replace(self.reported, rejected=reasons)
            return None
        self.revision, self.wanted = desired.revision, dict(desired.settings)
        verdict = self._judged("")
        changed = {
            item.name for item in fields(self.base) if getattr(verdict.settings, item.name) != self._now(item.name)
        }
        waiting = {name for name in changed if from_afar(EdgeSettings, name) == "restart"}
        live: dict[str, Any] = {name: getattr(verdict.settings, name) for name in changed - waiting}
        self.settings = replace(self.settings, **live)
        self.reported = self._report(verdict, waiting)
        return self.settings, waiting

    def refuse(self, reason: str) -> None:
        """Notes that the device does not start with what is wanted, but does as it was set up."""
        self.reported = self._report(self._judged(reason), waiting=set())
        with suppress(StateDirectoryError):  # then the next start finds out again
            self._kept.write({"revision": self.revision, "settings": self.wanted, "refused": reason})

    def _now(self, name: str) -> Any:
        return getattr(self.settings, name)

    def _judged(self, refused: str) -> Verdict:
        if refused:
            reason = f"the device does not start with these settings: {refused}"
            return Verdict(self.base, dict.fromkeys(self.wanted, reason))
        return judged(self.base, self.wanted)

    def _report(self, verdict: Verdict, waiting: set[str]) -> ConfigReported:
        held = {*verdict.rejected, *waiting}
        return ConfigReported(
            revision=self.revision,
            applied={name: text for name, text in self.wanted.items() if name not in held},
            rejected=verdict.rejected,
            restart=tuple(sorted(waiting)),
        )
