"""Where the device is, as exactly as that may leave it."""

from __future__ import annotations

import math
import re

KM_PER_DEGREE = 111.32  # of latitude; of longitude on the equator
COORDINATES = re.compile(r"\s*([-+]?\d+(?:\.\d*)?)\s*[,; ]\s*([-+]?\d+(?:\.\d*)?)\s*")


def told_place(location: str, precision_km: float) -> str:
    """A location as it may leave: "latitude,longitude" moved to the middle of a field so wide; other text as it is.

    Fields are the same for all devices, so that several readings of one place tell no more than one of them.
    """
    found = COORDINATES.fullmatch(location)
    if found is None or precision_km <= 0:
        return location
    latitude, longitude = (float(number) for number in found.groups())
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return location
    step = min(precision_km / KM_PER_DEGREE, 180.0)
    middle = max(-90.0, min(90.0, _middle(latitude, step)))
    across = step / max(math.cos(math.radians(middle)), 1e-9)
    east = _middle(longitude, across) if across < 180 else 0.0
    digits = max(0, math.ceil(-math.log10(step)))  # more would look more exact than it is
    return f"{middle:.{digits}f},{(east + 180) % 360 - 180:.{digits}f}"


def _middle(value: float, step: float) -> float:
    return (math.floor(value / step) + 0.5) * step
