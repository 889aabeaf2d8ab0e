"""How long each kind of row is kept, as a person writes it: "telemetry=90d,log=30d,drift=forever"."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import timedelta

from broker.errors import SettingsError

DAYS = {"d": 1, "w": 7, "y": 365}
_PERIOD = re.compile(r"([1-9]\d{0,4})([dwy])")
FOREVER = "forever"
# What is kept unless somebody says otherwise; None: for ever. What people decided and what devices learned stays.
DEFAULTS: dict[str, timedelta | None] = {
    "telemetry": timedelta(days=45),  # of a device with its usual settings, 10 MB a day
    "prediction": timedelta(days=180),
    "hourly": timedelta(days=730),
    "log": timedelta(days=30),
    "snapshot": timedelta(days=180),
    "camera": timedelta(days=365),
    "command": timedelta(days=365),
    "dead-letter": timedelta(days=90),
    "traffic": timedelta(days=90),
    "presence": timedelta(days=365),
    "notification": timedelta(days=365),
    "incident": timedelta(days=730),
    "package": timedelta(days=365),
    "drift": None,
    "sample": None,
    "adaptation": None,
}


def periods(text: str, late: timedelta) -> dict[str, timedelta | None]:
    """The kinds with how long each is kept. Raises SettingsError for what cannot be meant.

    `late` is how long devices may be offline: rows that are summed up into hours are kept longer than that.
    """
    chosen = dict(DEFAULTS)
    for part in filter(None, (part.strip() for part in text.split(","))):
        kind, equals, value = (piece.strip() for piece in part.partition("="))
        if kind not in DEFAULTS:
            close = difflib.get_close_matches(kind, DEFAULTS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(DEFAULTS)}"
            raise SettingsError(f"retention of {kind!r}: there is no such kind; {hint}")
        chosen[kind] = _period(kind, value if equals else "")
    _check_order(chosen, late)
    return chosen


def default_text() -> str:
    """The defaults as a person would write them."""
    return ",".join(f"{kind}={_text(kept)}" for kind, kept in DEFAULTS.items())


def _period(kind: str, text: str) -> timedelta | None:
    if text == FOREVER:
        return None
    found = _PERIOD.fullmatch(text)
    if not found or int(found[1]) * DAYS[found[2]] > 36_500:
        raise SettingsError(
            f"retention of {kind} cannot be {text!r}: 90d, 12w, 2y (up to 100y) or forever is expected"
        )
    return timedelta(days=int(found[1]) * DAYS[found[2]])


def _text(kept: timedelta | None) -> str:
    return FOREVER if kept is None else f"{kept.days}d"


def _check_order(chosen: Mapping[str, timedelta | None], late: timedelta) -> None:
    for kind in ("telemetry", "prediction", "drift"):
        kept, hours = chosen[kind], chosen["hourly"]
        if kept is not None and kept <= late:
            raise SettingsError(
                f"retention of {kind} is {_text(kept)}; it has to be longer than the {late.days} days that devices "
                "may be offline (late_days), or hours would be lost before they are summed up"
            )
        if hours is not None and (kept is None or kept > hours) and kind != "drift":
            raise SettingsError(f"retention of hourly is {_text(hours)}; it cannot be shorter than that of {kind}")
