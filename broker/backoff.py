"""How long to wait before the next attempt, so that a fleet does not come back all at once."""

from __future__ import annotations

import random


class Backoff:
    """Decorrelated jitter: each pause is drawn between `base_s` and three times the last one, at most `cap_s`."""

    def __init__(self, rng: random.Random, base_s: float = 0.5, cap_s: float = 60.0, stable_s: float = 60.0) -> None:
        self.rng, self.base_s, self.cap_s, self.stable_s = rng, base_s, cap_s, stable_s
        self._last = base_s

    def pause(self, lasted_s: float = 0.0) -> float:
        """Seconds to wait after an attempt whose link held for `lasted_s`; a stable link starts anew."""
        if lasted_s >= self.stable_s:
            self._last = self.base_s
        self._last = min(self.cap_s, self.rng.uniform(self.base_s, 3 * self._last))
        return self._last

    def refused(self) -> float:
        """Seconds to wait where only a person can help: the cap, less a little so that a fleet stays spread."""
        self._last = self.cap_s
        return self.cap_s * self.rng.uniform(0.75, 1.0)
