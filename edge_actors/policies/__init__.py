"""What to make of strange samples: ideas that the memory then checks. One file a policy, chosen by the setting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from broker.messages import QuarantineFilled


class Idea(NamedTuple):
    """Something to try, or with a reason: why not."""

    kind: str  # novel-class | grow-class | pseudo-label | recentring
    rows: Sequence[int] = ()  # of the samples in the quarantine
    label: str = ""  # of the class they go to; empty: a new one
    statistic: float = 0.0
    threshold: float = 0.0
    reason: str = ""
    confidence: float = 0.0


class Policy(Protocol):
    name: str

    def ideas(self, filled: QuarantineFilled) -> Iterator[Idea]:
        """What to do about what waits in the quarantine."""
