"""What holds for all tests: slow ones run when asked for, and no test is judged by the clock of a busy machine."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Tests run side by side, a file at a time: the longest begin first, so that nobody waits for one at the end.
    items.sort(key=lambda item: (not item.get_closest_marker("slow"), "system" not in item.path.parts))
    if not config.getoption("--slow") and not os.environ.get("CI"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: runs with --slow and in CI"))
