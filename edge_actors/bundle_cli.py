"""`tinyml bundle`: builds a bundle from labelled pictures, shows what is in one, verifies one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import pictures
from .algorithms.calibration import measure
from .algorithms.votes import CONFIDENCES, DISTANCES
from .bundle import Bundle
from .bundle.build import BuildOptions, Labelled, build_bundle, build_features_bundle
from .bundle.bundle import memory_of
from .bundle.features import read_table
from .bundle.folder import PARTS, Listed, listed
from .errors import BundleBuildError, BundleError, PictureError
from .ports.interpreter import Interpreter

MOST_ROOM = 50_000

BUILD = f"""Makes a bundle, the one file a device runs, of labelled pictures and a feature extractor, or of features.

Pictures are DIR/<class>/*.jpg or *.png, or what labels.csv in DIR or beside it lists: columns file (below DIR),
class, and part, which says what a picture may be used for:
{chr(10).join(f"  {part or '(empty)':<12} {use}" for part, use in PARTS.items())}

The model is a .tflite file that takes one picture (uint8 or int8) and gives one vector, such as a classifier
without its last layer. Of each class 55 % of the pictures become the memory that votes, the rest calibrates what
is usual, so 200 pictures or more in all make drift detection dependable.

Where something else extracts the features, give a NumPy archive R.npz in the place of both. It holds the arrays
  features   n x D, uint8 or float32, one row a picture
  labels     n strings, the class of each
  part       n strings, memory, calibration or empty, as above; may be left out
The bundle then has no model and takes features; `tinyml evaluate` plays recorded streams of them."""


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tinyml bundle", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_build(commands.add_parser("build", help="make a bundle", description=BUILD, formatter_class=_Formatter))
    show = commands.add_parser("show", help="print what a bundle holds", description="Prints what a bundle holds.")
    show.add_argument("bundle", type=Path)
    show.add_argument("--json", action="store_true", help="print the manifest and the statistics as JSON")
    show.set_defaults(run=_show)
    verify = commands.add_parser(
        "verify",
        help="check a bundle as a device would",
        description="Checks digests, sizes and numbers, loads the model, and measures the statistics again.",
    )
    verify.add_argument("bundle", type=Path)
    verify.set_defaults(run=_verify)
    arguments = parser.parse_args(argv)
    run: Any = arguments.run
    return int(run(arguments))


class _Formatter(argparse.RawDescriptionHelpFormatter):
    pass


def _add_build(parser: argparse.ArgumentParser) -> None:
    usual = BuildOptions()
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder with the pictures")
    parser.add_argument("--model", type=Path, metavar="FILE", help="feature extractor, .tflite")
    parser.add_argument("--features", type=Path, metavar="R.npz", help="labelled features instead of both")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="X.bundle", help="file to write")
    parser.add_argument("--labels", type=Path, metavar="CSV", help="table of the pictures; default DIR/labels.csv")
    parser.add_argument("--classes", default="", metavar="A,B", help="use these classes only")
    parser.add_argument("--exclude", default="", metavar="C", help="leave these classes out")
    parser.add_argument(
        "--dimension", type=int, metavar="N", help="numbers a frame is reduced to; default 64 or half the embedding"
    )
    parser.add_argument(
        "--k", type=int, default=usual.k, metavar="N", help=f"neighbours that vote; default {usual.k}"
    )
    parser.add_argument(
        "--seed", type=int, default=usual.seed, metavar="N", help="which pictures go where; default 0"
    )
    parser.add_argument(
        "--augment", type=int, default=usual.augment, metavar="N", help="further jittered views a picture; default 1"
    )
    parser.add_argument(
        "--distance", choices=DISTANCES, default=usual.distance, help=f"between samples; default {usual.distance}"
    )
    parser.add_argument(
        "--confidence",
        choices=CONFIDENCES,
        default=usual.confidence,
        help="share of the votes (default, steadier for drift detection), or of votes weighed by their distance",
    )
    parser.add_argument(
        "--room", type=int, default=usual.room, metavar="N", help=f"samples a device may add; default {usual.room}"
    )
    parser.add_argument(
        "--quota", type=int, default=usual.quota, metavar="N", help="of one class at most; default 0: any"
    )
    parser.add_argument(
        "--condense", action="store_true", help="a full memory first lets go of guesses that it can do without"
    )
    parser.set_defaults(run=_build)


def _build(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.k <= 100 or arguments.augment < 0 or arguments.seed < 0:
        raise BundleBuildError("--k has to be 1 to 100, --augment and --seed 0 or more")
    if not 0 <= arguments.room <= MOST_ROOM or not 0 <= arguments.quota <= MOST_ROOM:
        raise BundleBuildError(f"--room and --quota have to be 0 to {MOST_ROOM}")
    taken = ("dimension", "k", "seed", "augment", "distance", "confidence", "room", "quota", "condense")
    options = BuildOptions(**{name: getattr(arguments, name) for name in taken})
    bundle = _of_features(arguments, options) if arguments.features else _of_pictures(arguments, options)
    bundle.write(arguments.output)
    for warning in bundle.warnings:
        print(f"note: {warning}", file=sys.stderr)
    accuracy = bundle.contents.statistics.accuracy
    print(f"{arguments.output}: {bundle.digest[:12]}, {accuracy:.1%} of the calibration frames recognised")
    return 0


def _of_features(arguments: argparse.Namespace, options: BuildOptions) -> Bundle:
    if arguments.images or arguments.model or arguments.labels or arguments.classes or arguments.exclude:
        raise BundleBuildError("--features stands for itself: no pictures, model or classes are chosen beside it")
    return build_features_bundle(read_table(arguments.features), options)


def _of_pictures(arguments: argparse.Namespace, options: BuildOptions) -> Bundle:
    if arguments.images is None or arguments.model is None:
        raise BundleBuildError("give --images and --model, or --features")
    try:
        model = arguments.model.read_bytes()
    except OSError as error:
        raise BundleBuildError(f"the model {arguments.model} cannot be read: {error.strerror}") from None
    found = listed(arguments.images, arguments.labels, _names(arguments.classes), _names(arguments.exclude))
    reader = _Reader(found, Interpreter(model).input_shape)
    bundle = build_bundle(reader.pictures(), model, options, lineage=reader.lineage)
    if skipped := reader.lineage["skipped"]:
        print(f"pictures left out because they could not be read: {skipped}", file=sys.stderr)
    return bundle


class _Reader:
    """Reads pictures one by one, tells how far it is, and leaves out what is no picture."""

    def __init__(self, found: Sequence[Listed], shape: tuple[int, int, int]) -> None:
        self.found, self.shape = found, shape
        self.lineage = {"listed": len(found), "skipped": 0}

    def pictures(self) -> Iterator[Labelled]:
        for number, one in enumerate(self.found, start=1):
            try:
                pixels = pictures.load(one.path, *self.shape)
            except PictureError as error:
                self.lineage["skipped"] += 1
                _progress("")
                print(f"left out: {error}", file=sys.stderr)
                continue
            _progress(f"{number} of {len(self.found)} pictures, {one.label}")
            yield pixels, one.label, one.part
        _progress("")


def _progress(text: str) -> None:
    """One line that is written over, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _show(arguments: argparse.Namespace) -> int:
    bundle = Bundle.load(arguments.bundle)
    statistics = bundle.contents.statistics
    if arguments.json:
        numbers = {"accuracy": statistics.accuracy, "nearest": statistics.nearest}
        about = {**bundle.manifest, "digest": bundle.digest, "statistics": numbers, "warnings": list(bundle.warnings)}
        print(json.dumps(about, indent=2, ensure_ascii=False))
        return 0
    manifest, lineage = bundle.manifest, bundle.manifest.get("lineage", {})
    rows = {
        "digest": bundle.digest,
        "made with": bundle.runtime,
        "takes": _input_of(bundle),
        "projection": f"{manifest['embedding']} -> {manifest['dimension']} numbers",
        "vote": f"{manifest['k']} neighbours, {manifest['distance']}",
        "memory": f"{len(bundle.contents.reference.labels)} samples, room for {bundle.contents.settings.capacity}",
        "calibration": f"{len(bundle.contents.calibration.labels)} frames, {statistics.accuracy:.1%} recognised",
        "usual distance": f"{statistics.nearest:.3g} to the nearest sample",
        "made of": str(lineage.get("pictures") or lineage.get("features") or "not told"),
    }
    print("\n".join(f"{name:<17}{value}" for name, value in rows.items()))
    print("\nclass                    memory  calibration")
    for label in bundle.contents.classes:
        counts = (bundle.contents.reference.labels.count(label), bundle.contents.calibration.labels.count(label))
        print(f"{label:<23}{counts[0]:>8}{counts[1]:>13}")
    for warning in bundle.warnings:
        print(f"\nnote: {warning}")
    return 0


def _input_of(bundle: Bundle) -> str:
    if bundle.interpreter is None:
        return f"{bundle.manifest['embedding']} features a frame; it has no model"
    height, width, channels = bundle.input_shape
    return f"pictures, {width} x {height}, {'grey' if channels == 1 else 'colour'}"


def _verify(arguments: argparse.Namespace) -> int:
    bundle = Bundle.load(arguments.bundle)
    again = measure(memory_of(bundle.contents), bundle.contents.calibration)
    said = bundle.contents.statistics
    if abs(again.accuracy - said.accuracy) > 0.005 or abs(again.nearest - said.nearest) > 1e-3 * said.nearest:
        raise BundleError(str(arguments.bundle), "its statistics are not those of its calibration frames")
    for warning in bundle.warnings:
        print(f"note: {warning}", file=sys.stderr)
    print(f"{arguments.bundle}: sound, {bundle.digest}")
    return 0


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
