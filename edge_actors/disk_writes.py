"""How much the device writes to its disk in a day, and whether people allow that: SD cards die of writes.

Two counts are kept. What spool, snapshots and journal hand to the operating system is known exactly. What the kernel
says the process has dirtied is usually more, for it counts whole pages and the spool's log. The larger one decides.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

DAY_S, SLOT_S = 86_400, 600  # the day is looked at in pieces of ten minutes
MB = 1_000_000
ENOUGH = 0.9  # of the budget; below it the device may write again as it likes


def kernel_written(root: Path = Path("/")) -> int | None:
    """Bytes that this process has sent towards the disk, by the kernel's count; None where it does not tell."""
    try:
        lines = (root / "proc/self/io").read_text().splitlines()
    except OSError:
        return None
    found = dict(line.partition(": ")[::2] for line in lines)
    return int(found["write_bytes"]) if found.get("write_bytes", "").isdecimal() else None


class DiskWrites:
    """Counts in this process; `spare` is told when the budget is exceeded and when it is kept again."""

    def __init__(
        self,
        ours: Mapping[str, Callable[[], int]],
        budget_mb: float = 0.0,
        *,
        spare: Callable[[bool], object] = lambda _sparing: None,
        kernel: Callable[[], int | None] = kernel_written,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ours, self._budget = ours, budget_mb * MB
        self._spare, self._kernel, self._monotonic = spare, kernel, monotonic
        self._began = (self._handed_over(), self._kernel() or 0)
        self._slots: deque[tuple[int, int]] = deque()  # number of the slot, bytes at its end; the latest day
        self._before = 0  # bytes before these
        self.sparing = False

    def metrics(self) -> dict[str, float]:
        """Takes a look, and tells it."""
        kernel = self._kernel()
        total = max(self._handed_over() - self._began[0], (kernel or 0) - self._began[1])
        slot = int(self._monotonic() // SLOT_S)
        if self._slots and self._slots[-1][0] == slot:
            self._slots.pop()
        self._slots.append((slot, total))
        while self._slots[0][0] < slot - DAY_S // SLOT_S:
            self._before = self._slots.popleft()[1]
        day = total - self._before
        self._judge(day)
        told = {f"written_{name}_mb": count() / MB for name, count in self._ours.items()}
        if kernel is not None:
            told["disk_written_mb"] = kernel / MB
        return told | {"disk_written_day_mb": day / MB}

    def faults(self) -> frozenset[str]:
        """What is wrong: write_budget."""
        return frozenset({"write_budget"}) if self.sparing else frozenset()

    def _judge(self, day: int) -> None:
        if not self._budget:
            return
        sparing = day > self._budget * (ENOUGH if self.sparing else 1.0)
        if sparing != self.sparing:
            self.sparing = sparing
            self._spare(sparing)

    def _handed_over(self) -> int:
        return sum(count() for count in self._ours.values())
