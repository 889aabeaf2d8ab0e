"""What several tests need."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(predicate: Callable[[], object], timeout: float = 10.0) -> None:
    """Returns as soon as the predicate is true; fails the test when it is not within the time."""
    end = time.monotonic() + timeout
    while not predicate():
        assert time.monotonic() < end, "what the test waits for did not happen"
        time.sleep(0.005)
