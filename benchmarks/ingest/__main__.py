"""What the server side carries: `python -m benchmarks.ingest`.

    python -m benchmarks.ingest                                    every measure, three runs, medians
    python -m benchmarks.ingest --only drained,live --runs 1       two of them, once
    python -m benchmarks.ingest --quick                            all of them small: whether they work
    python -m benchmarks.ingest --only kills --events 100000       20 kills of workers, 10 of the broker
    python -m benchmarks.ingest --only memory --messages 10000000  memory over ten million messages

Needs Mosquitto; TINYML_TIMESCALE_BIN names the server programs of a PostgreSQL with TimescaleDB (else the embedded
PostgreSQL serves). The database keeps its promises (fsync on), Mosquitto has the limits we ship, everything shares
the processors of this machine, the publisher too. Every run counts the rows: one too few or too many ends it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from . import numbers, table
from .numbers import Figures
from .place import Place, others_busy

RIVALS = ("naive", "bare-mqtt5", "bare-paho", "copy")
ONCE = ("memory", "fleet", "kills")  # these are long, and what they show is no matter of medians
NAIVE_SHARE = 10  # the naive worker gets a tenth of the messages, or it would take all day


def main(argv: Sequence[str] | None = None) -> int:
    given = _arguments(argv)
    results: dict[str, list[Figures]] = {}
    with tempfile.TemporaryDirectory() as directory, Place(Path(directory)) as place:
        busy = others_busy()
        print(f"{place.about()}; others use {busy:.0%} of the processors", flush=True)
        chosen = measures(place, given)
        for turn in range(given.runs):
            for name in given.only.split(",") if given.only else chosen:
                if turn == 0 or name not in ONCE:
                    figures = chosen[name]()
                    results.setdefault(name, []).append(figures)
                    print(f"  {name:11} " + "  ".join(f"{k} {v:,.1f}" for k, v in figures.items()), flush=True)
        medians = {name: _medians(runs) for name, runs in results.items()}
        text = table.render(medians, place.about(), given.runs, busy)
    print("\n" + text, end="")
    if given.json:
        given.json.write_text(json.dumps({"busy": busy, "runs": results, "medians": medians}, indent=2) + "\n")
    if given.render:
        given.render.write_text(text)
    return 0


def measures(place: Place, given: argparse.Namespace) -> dict[str, Callable[[], Figures]]:
    """Every measure by name, in the order of the table."""
    count: int = given.count
    found: dict[str, Callable[[], Figures]] = {
        "drained": lambda: numbers.drained(place, count),
        "live": lambda: numbers.live(place, count),
        "two": lambda: numbers.drained(place, count, workers=2),
        "poison": lambda: numbers.drained(place, count, poison_every=given.poison),
        "latency": lambda: numbers.latency(place, count, given.rate),
        "telemetry": lambda: numbers.telemetry(place, count // 4),
        "long": lambda: numbers.telemetry(place, count // 20, "long telemetry"),
        "start": lambda: numbers.start(place),
        "memory": lambda: numbers.memory(place, given.messages),
        "fleet": lambda: numbers.fleet(place, given.devices, given.devices / 5, given.seconds),
        "kills": lambda: numbers.kills(place, given.events, given.kills, given.kills // 2),
    }
    for name in RIVALS:
        share = count // NAIVE_SHARE if name == "naive" else count
        found[name] = lambda name=name, share=share: numbers.rival(place, name, share)  # type: ignore[misc]
    return found


def _medians(runs: Sequence[Figures]) -> Figures:
    return {name: median(run[name] for run in runs) for name in runs[0]}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", default="", metavar="NAMES", help="only these measures, separated by commas")
    parser.add_argument("--quick", action="store_true", help="everything once and small")
    parser.add_argument("--count", type=int, default=80_000, help="messages of a run; default 80000")
    parser.add_argument("--runs", type=int, default=3, help="runs of each measure; default 3")
    parser.add_argument("--rate", type=float, default=10_000, help="messages a second for the latency; default 10000")
    parser.add_argument("--poison", type=int, default=10_000, help="one message in so many is poison; default 10000")
    parser.add_argument("--messages", type=int, default=1_000_000, help="messages for the memory; default 1000000")
    parser.add_argument("--devices", type=int, default=5000, help="devices of the fleet; default 5000")
    parser.add_argument("--seconds", type=float, default=20, help="seconds the fleet works; default 20")
    parser.add_argument("--events", type=int, default=100_000, help="records while parts are killed; default 100000")
    parser.add_argument(
        "--kills", type=int, default=20, help="kills of workers, half as many of the broker; default 20"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    parser.add_argument("--render", type=Path, metavar="FILE", help="write the table to this Markdown file")
    given = parser.parse_args(argv)
    if given.quick:
        small = {"count": 2000, "runs": 1, "rate": 1000.0, "poison": 500, "messages": 4000, "devices": 50}
        vars(given).update(small, seconds=2.0, events=2000, kills=2)
    return given


if __name__ == "__main__":
    sys.exit(main())
