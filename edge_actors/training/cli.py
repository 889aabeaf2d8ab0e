"""`tinyml train`: makes a feature extractor of labelled pictures, and a bundle of it."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .. import bundle_cli
from ..bundle.folder import listed
from .album import Album, Split, split, table
from .errors import TrainingError
from .options import ALPHAS, EPOCHS, EPOCHS_FROM_SCRATCH, IMAGENET_SIZES, TrainOptions
from .report import report

ABOUT = f"""Trains a feature extractor on labelled pictures and writes it as the .tflite file that
`tinyml bundle build` wants: uint8 pixels in, one uint8 vector out, int8 inside.

  tinyml train --images DIR -o mine.tflite --bundle mine.bundle

Pictures are DIR/<class>/*.jpg or *.png, or what a labels.csv lists, as for `tinyml bundle build`. With ImageNet
weights, which Keras fetches once, a hundred pictures a class are plenty; without any (--weights none) it takes many
more pictures and {EPOCHS_FROM_SCRATCH // EPOCHS} times as long. A part is held out and tells how well it went.

Beside the model goes a table, mine.labels.csv: what was learned from becomes the bundle's memory, what was held out
calibrates it. Build the bundle with it, because pictures that were learned from look nearer than new ones ever will.
A report, mine.report.json, keeps options, passes and results; `tinyml ingest register --report` puts it into MLflow.

Nothing is written before the end, so an interrupted training leaves no files. The same seed gives the same weights on
the same machine. Needs TensorFlow, which ./tinyml train installs."""

BIG_LOSS = 0.05  # of accuracy, on the way to int8: worth a note


def main(argv: Sequence[str]) -> int:
    arguments = _parser().parse_args(argv)
    options = TrainOptions(
        backbone=arguments.backbone,
        alpha=arguments.alpha,
        size=arguments.size,
        weights=arguments.weights,
        head_epochs=arguments.head_epochs,
        epochs=arguments.epochs,
        held_out=arguments.held_out,
        batch=arguments.batch,
        mirror=arguments.mirror,
        seed=arguments.seed,
    )
    for path in filter(None, (arguments.output, arguments.save_weights, arguments.bundle)):
        _check_place(path)
    if arguments.save_weights and not arguments.save_weights.name.endswith(".weights.h5"):
        raise TrainingError(
            f"Keras wants the name of a file of weights to end in .weights.h5: {arguments.save_weights}"
        )
    found = listed(arguments.images, arguments.labels, _names(arguments.classes), _names(arguments.exclude))
    made = split(found, options.held_out, options.seed)
    try:
        with _interruptible() as heed:
            _train(arguments, options, made, heed)
    except KeyboardInterrupt:
        _progress("")
        print("interrupted; nothing was written", file=sys.stderr)
        raise
    command = _next(arguments)
    if arguments.bundle is None:
        print(f"next: tinyml {shlex.join(command)} -o {arguments.output.with_suffix('.bundle')}")
        return 0
    return bundle_cli.main([*command[1:], "-o", str(arguments.bundle)])


def _train(arguments: argparse.Namespace, options: TrainOptions, made: Split, heed: Callable[[], None]) -> None:
    from .transfer import Training, tensorflow  # noqa: PLC0415  wrong arguments are told without the wait for it

    def progress(text: str) -> None:
        heed()
        _progress(text)

    progress("loading TensorFlow")
    tf = tensorflow(options.seed)
    progress("reading pictures")
    learn, held_out = (Album(part, options.size, _say) for part in (made.learn, made.held_out))
    _say(f"{len(made.classes)} classes; {len(learn)} pictures to learn from, {len(held_out)} held out")
    training = Training(tf, options, made.classes)
    weights = {"imagenet": "ImageNet weights", "none": "from scratch"}.get(options.weights, options.weights)
    _say(
        f"{options.backbone}, alpha {options.alpha}, {options.size} x {options.size} pixels, {weights}:"
        f" {training.parameters:,} parameters"
    )
    training.learn(learn, held_out, _say, progress)
    progress("converting to int8")
    model = training.quantised(learn)
    progress("measuring")
    plain, quantised = training.accuracy(held_out), training.quantised_accuracy(model, held_out)
    told = report(training, model, (len(learn), held_out), {"float": plain, "int8": quantised})
    progress("")
    if arguments.save_weights:
        with _beside(arguments.save_weights) as path:
            training.save_weights(path)
        print(f"{arguments.save_weights}: weights of the network")
    with _beside(_table(arguments.output)) as path:
        path.write_text(table(made, arguments.images), encoding="utf-8")
    with _beside(_report(arguments.output)) as path:
        path.write_text(told, encoding="utf-8")
    with _beside(arguments.output) as path:
        path.write_bytes(model)
    print(f"{arguments.output}: {len(model):,} bytes; {_table(arguments.output)}: what it has learned from")
    print(f"{_report(arguments.output)}: how, for tinyml ingest register --report")
    print(f"recognises of {len(held_out)} held-out pictures: {plain:.1%} as float, {quantised:.1%} as int8")
    if plain - quantised > BIG_LOSS:
        print("note: int8 costs much here; more pictures, or a larger --alpha, usually help", file=sys.stderr)


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Ctrl-C arrives, also where TensorFlow's C++ swallows the exception: what is yielded raises it once more."""
    came = False

    def interrupt(*_: object) -> None:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    def heed() -> None:
        if came:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # as a shell leaves it for what runs in the background
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield heed
    finally:
        signal.signal(signal.SIGINT, before)


def _next(arguments: argparse.Namespace) -> list[str]:
    """The command that makes a bundle of it."""
    labels = ["--labels", str(_table(arguments.output))]
    return ["bundle", "build", "--images", str(arguments.images), *labels, "--model", str(arguments.output)]


def _table(output: Path) -> Path:
    return output.with_suffix(".labels.csv")


def _report(output: Path) -> Path:
    return output.with_suffix(".report.json")


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A file to write that becomes `path` when all of it is there."""
    new = path.with_name(f".new-{path.name}")
    try:
        yield new
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def _check_place(path: Path) -> None:
    """Whether a file can be written there, before an hour goes into it."""
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise TrainingError(f"{path} cannot be written: its folder has to be there and writable")


def _say(text: str) -> None:
    _progress("")
    print(text, file=sys.stderr, flush=True)


def _progress(text: str) -> None:
    """One line that is written over, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _parser() -> argparse.ArgumentParser:
    usual = TrainOptions()
    parser = argparse.ArgumentParser(
        prog="tinyml train", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--images", type=Path, required=True, metavar="DIR", help="folder with the pictures")
    add("-o", "--output", type=Path, required=True, metavar="X.tflite", help="file to write")
    add("--bundle", type=Path, metavar="X.bundle", help="build a bundle of it as well")
    add("--labels", type=Path, metavar="CSV", help="table of the pictures; default DIR/labels.csv")
    add("--classes", default="", metavar="A,B", help="use these classes only")
    add("--exclude", default="", metavar="C", help="leave these classes out")
    add("--backbone", choices=tuple(ALPHAS), default=usual.backbone, help="the network; default %(default)s")
    add(
        "--alpha",
        type=float,
        default=usual.alpha,
        metavar="X",
        help="width of the network; default %(default)s; "
        + "; ".join(f"{name}: {', '.join(map(str, alphas))}" for name, alphas in ALPHAS.items()),
    )
    add(
        "--size",
        type=int,
        default=usual.size,
        metavar="N",
        help=f"side of the pictures in pixels; default %(default)s; with ImageNet weights {IMAGENET_SIZES}",
    )
    add(
        "--weights",
        default=usual.weights,
        metavar="imagenet|none|FILE",
        help="what the network knows before: ImageNet, nothing, or a .h5 file of the same backbone without its top,"
        " from Keras or from --save-weights; default %(default)s",
    )
    add("--save-weights", type=Path, metavar="X.weights.h5", help="keep the network's weights for another training")
    add(
        "--head-epochs",
        type=int,
        default=usual.head_epochs,
        metavar="N",
        help="passes over the pictures in which only the head learns; default %(default)s; from scratch none",
    )
    add(
        "--epochs",
        type=int,
        metavar="N",
        help=f"passes in which the top third of the network learns; default {EPOCHS};"
        f" from scratch all of it learns, {EPOCHS_FROM_SCRATCH} by default",
    )
    add(
        "--held-out",
        type=float,
        default=usual.held_out,
        metavar="X",
        help="share of the pictures that are not learned from; default %(default)s",
    )
    add("--batch", type=int, default=usual.batch, metavar="N", help="pictures a step; default %(default)s")
    add("--no-mirror", dest="mirror", action="store_false", help="left and right matter, as in writing")
    add("--seed", type=int, default=usual.seed, metavar="N", help="seed of all chance; default %(default)s")
    return parser
