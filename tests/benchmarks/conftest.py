from __future__ import annotations

import pytest

from benchmarks.drift.pool import Pool

from .synthetic import synthetic_pool


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return synthetic_pool(tmp_path_factory.mktemp("pool"))
