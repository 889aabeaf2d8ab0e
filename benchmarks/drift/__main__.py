"""The protocol of drift detection and adaptation on labelled pictures: one command, one table, and plots.

    python -m benchmarks.drift --out build/drift                  the handwritten digits that come with scikit-learn
    python -m benchmarks.drift --images DIR --model FILE.tflite --out build/drift
    python -m benchmarks.drift ... --write FOLDER --only 'unseen-30*'    the streams, for `tinyml evaluate`

DIR holds <class>/*.jpg or *.png, or a labels.csv (file, class, part: ref or stream) in it or beside it. Each class in
turn is left out and comes as the unseen one. The embeddings of all views are made first and kept (--pool); that takes
some 38,000 model calls for 1,600 pictures. docs/drift.md says what each stream is and how to read the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from fnmatch import fnmatch
from pathlib import Path

from . import album as albums
from . import curves, plots, rivals, runs, streams, table
from .goals import Results
from .measures import Outcome
from .ours import Way
from .pool import Pool, fill
from .streams import FULL, QUICK, Extent


def main(argv: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(argv)
    if bool(chosen.images) != bool(chosen.model):
        raise SystemExit("--images and --model belong together")
    if not (chosen.without_rivals or chosen.write):
        rivals.river()  # what is missing is said before anything else is done
    if not (chosen.without_plots or chosen.write):
        plots.pyplot()
    album = albums.digits() if chosen.images is None else albums.folder(chosen.images, chosen.model)
    pool = fill(album, chosen.pool or chosen.out / f"pool-{album.name}", chosen.seed)
    extent = replace(QUICK if chosen.quick else FULL, seed=chosen.seed)
    if chosen.write:
        return _write(pool, extent, chosen.write, chosen.only)
    return _play(album, pool, extent, chosen)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--images", type=Path, metavar="DIR", help="labelled pictures; default: handwritten digits")
    add("--model", type=Path, metavar="FILE", help="their feature extractor, .tflite")
    add("--out", type=Path, default=Path("build/drift"), metavar="DIR", help="for the result (default build/drift)")
    add("--pool", type=Path, metavar="DIR", help="for the embeddings (default in --out)")
    add("--quick", action="store_true", help="three tasks, two severities, short controls")
    add("--seed", type=int, default=0, help="another one gives other streams (default 0)")
    add("--processes", type=int, default=os.cpu_count() or 1, help="default: one for each core")
    add("--detector", default="", metavar="NAME", help="of the device, as for `tinyml evaluate`")
    add("--policy", default="", metavar="NAME", help="of the device, as for `tinyml evaluate`")
    add("--without-rivals", action="store_true", help="ours and the seed's alone; needs no river")
    add("--rivals-of", type=Path, metavar="JSON", help="take the rivals' outcomes from an earlier run's result")
    add("--resume", action="store_true", help="go on with an interrupted run of the same code and options")
    add("--without-plots", action="store_true", help="needs no matplotlib")
    add("--render", type=Path, metavar="PAGE", help="also puts the tables between their markers in this page")
    add("--write", type=Path, metavar="DIR", help="only write streams, as S.npz, and R.npz of each task")
    add("--only", default="*", metavar="PATTERN", help="which streams to write, by name")
    return parser


def _play(album: albums.Album, pool: Pool, extent: Extent, chosen: argparse.Namespace) -> int:
    started = time.monotonic()
    way = Way("", detector=chosen.detector, policy=chosen.policy)
    chosen.out.mkdir(parents=True, exist_ok=True)
    stem = chosen.out / album.name
    known = _rivals_of(chosen.rivals_of) if chosen.rivals_of else []
    tried = {} if chosen.without_rivals or known else runs.tuned(pool.directory, extent)
    if tried:
        print("rivals as tuned: " + ", ".join(f"{name} {at:g}" for name, at in tried.items()), file=sys.stderr)
    diary = stem.with_suffix(".jsonl")
    if chosen.resume and diary.is_file():
        known += [Outcome.of_tree(json.loads(line)) for line in diary.read_text().splitlines()]
    outcomes = list(known)
    with diary.open("a" if chosen.resume else "w") as file:
        for one in runs.run(pool.directory, extent, way, tried=tried, done=known, processes=chosen.processes):
            outcomes.append(one)
            print(json.dumps(asdict(one)), file=file, flush=True)
    results = Results(sorted(outcomes, key=runs.rank))
    taken = time.monotonic() - started
    facts = _facts(album, pool, extent, chosen, taken)
    markdown = table.as_markdown(results, facts)
    stem.with_suffix(".md").write_text(markdown)
    about = {"album": album.name, "digest": album.digest(), "facts": facts, "seconds": taken}
    stem.with_suffix(".json").write_text(table.as_json(results, about))
    if chosen.render:
        table.render_into(chosen.render, album.name, markdown)
    print(table.as_text(results, facts))
    if not chosen.without_plots:
        for path in curves.draw(pool, extent, way, stem, with_rivals=not chosen.without_rivals):
            print(f"drawn: {path}")
    return 0


def _rivals_of(path: Path) -> list[Outcome]:
    """What the rivals said of the same streams before: nothing of ours changes that."""
    names = {rival.name for rival in rivals.RIVALS}
    return [Outcome.of_tree(one) for one in json.loads(path.read_text())["outcomes"] if one["way"] in names]


def _facts(album: albums.Album, pool: Pool, extent: Extent, chosen: argparse.Namespace, taken: float) -> str:
    count, tasks = len(pool.ref_labels) + len(pool.stream_labels), len(streams.tasks(pool, extent))
    return (
        f"{album.name}: {count:,} pictures of {len(pool.classes)} classes, {tasks} of them left out in turn; "
        f"{'quick' if chosen.quick else 'full'} protocol, seed {extent.seed}, "
        f"in {timedelta(seconds=round(taken))} on {os.cpu_count()} cores ({platform.machine()}, "
        f"Python {platform.python_version()}), embeddings apart."
        f"{' The rivals watched the streams of an earlier run.' if chosen.rivals_of else ''}"
    )


def _write(pool: Pool, extent: Extent, directory: Path, only: str) -> int:
    written = 0
    for task in streams.tasks(pool, extent):
        folder = directory / task
        folder.mkdir(parents=True, exist_ok=True)
        streams.write_reference(pool, task, folder / "R.npz")
        truth = {}
        for spec in streams.protocol(pool, task, extent):
            if fnmatch(spec.name, only):
                stream = streams.make(pool, spec)
                streams.write_stream(pool, stream, folder / f"{spec.name}.npz")
                truth[f"{spec.name}.npz"] = {"drifts": stream.drifts, "changed": stream.changed}
                written += 1
        (folder / "drifts.json").write_text(json.dumps(truth, indent=1))
    print(f"{written} streams and an R.npz a task in {directory}; drifts.json says where each drifts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
