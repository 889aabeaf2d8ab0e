"""The comparison of neighbour searches compares searches that find the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import knn


def test_all_searches_find_the_same_neighbours() -> None:
    rows, labels, asked = knn.world(60, 16, 3)
    found = knn.searches(rows, labels)
    for x in asked:
        nearest = set(np.argsort(((rows - x) ** 2).sum(axis=1))[: knn.K].tolist())
        for name, search in found.items():
            answer: Any = search(x)
            if "ours" in name:
                assert len(answer.labels) == knn.K
            elif "manhattan" not in name:
                rows_found = answer[1] if isinstance(answer, tuple) else answer
                assert set(np.ravel(rows_found).tolist()) == nearest, name


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(knn, "SIZES", ((20, 4),))
    monkeypatch.setattr(knn, "_found", lambda name: None)
    assert knn.main(["--queries", "50"]) == 0
    said = capsys.readouterr().out
    assert "not compared, because not installed: faiss, sklearn" in said
    assert "ours, pure Python, cosine" in said
