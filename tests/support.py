"""What several tests need."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NoReturn

import pytest

SLOW_MACHINE = 4  # machines are shared: how much longer things may take than on a quiet one


def wait_until(predicate: Callable[[], object], timeout: float = 10.0) -> None:
    """Returns as soon as the predicate is true; fails the test when it is not within the time, several times over."""
    end = time.monotonic() + timeout * SLOW_MACHINE
    while not predicate():
        assert time.monotonic() < end, "what the test waits for did not happen"
        time.sleep(0.005)


def missing(what: str) -> NoReturn:
    """Skips the test on a person's machine; fails it in CI, where everything has to be there."""
    if os.environ.get("CI"):
        pytest.fail(f"CI has to have {what}")
    pytest.skip(f"there is no {what} on this machine")
