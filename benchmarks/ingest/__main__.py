"""What the server side carries: `python -m benchmarks.ingest`.

    python -m benchmarks.ingest                                    every measure, three runs, medians
    python -m benchmarks.ingest --only drained,live --runs 1       two of them, once

Needs Mosquitto; TINYML_TIMESCALE_BIN names the server programs of a PostgreSQL with TimescaleDB (else the embedded
PostgreSQL serves). The database keeps its promises (fsync on), Mosquitto has the limits we ship. `*_us` is processor
time a message, which a busy machine changes less than it changes rates.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from . import numbers
from .numbers import Figures
from .place import Place, others_busy

NAIVE_SHARE = 10  # the naive worker gets a tenth of the messages, or it would take all day
RIVALS = ("naive", "bare-mqtt5", "bare-paho", "copy")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", default="", metavar="NAMES", help="only these measures, separated by commas")
    parser.add_argument("--count", type=int, default=80_000, help="messages of a run; default 80000")
    parser.add_argument("--runs", type=int, default=3, help="runs of each measure; default 3")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory, Place(Path(directory)) as place:
        print(f"others use {others_busy():.0%} of the processors", flush=True)
        chosen = measures(place, given.count)
        for name in given.only.split(",") if given.only else chosen:
            runs = [chosen[name]() for _ in range(given.runs)]
            figures = {figure: median(run[figure] for run in runs) for figure in runs[0]}
            print(f"{name:12} " + "  ".join(f"{key} {value:,.1f}" for key, value in figures.items()), flush=True)
    return 0


def measures(place: Place, count: int) -> dict[str, Callable[[], Figures]]:
    """Every measure by name."""
    found: dict[str, Callable[[], Figures]] = {
        "drained": lambda: numbers.drained(place, count),
        "live": lambda: numbers.live(place, count),
        "two": lambda: numbers.drained(place, count, workers=2),
        "poison": lambda: numbers.drained(place, count, poison_every=10_000),
    }
    for name in RIVALS:
        share = count // NAIVE_SHARE if name == "naive" else count
        found[name] = lambda name=name, share=share: numbers.rival(place, name, share)  # type: ignore[misc]
    return found


if __name__ == "__main__":
    sys.exit(main())
