"""Trains the demo's feature extractor on handwritten digits and measures the file it wrote."""

import argparse
import hashlib
import os
import platform
import textwrap
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_actors.training.digit_pictures import SIDE, digit_pictures
from edge_actors.training.quality import report

SEED = 7
TRAINED_ON = tuple("0123456")  # 7, 8 and 9 stay unseen, so that the demo's unseen class is one
POSES = 8  # four quarter turns, each also mirrored
FRAMES_PER_PICTURE = 4  # in one epoch, each with a pose and a distortion of its own
BATCH = 128
CHANNELS = 32  # times 2 x 2 places gives an embedding of 128
LEARNING_RATE = 3e-3
REPRESENTATIVES = 300  # pictures the converter sees to choose the int8 ranges

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Digits = NDArray[np.int64]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: train and write the file unless told only to measure; print its figures."""
    options = _parser().parse_args(arguments)
    if not options.measure:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_bytes(train(options.epochs))
    content = options.out.read_bytes()
    print(f"{options.out.name}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
    for line in report(options.out):
        print(line, flush=True)


def train(epochs: int) -> bytes:
    """A TFLite file: uint8 pixels [1, 32, 32, 1] -> uint8 embedding [1, 128], int8 inside."""
    tf = _tensorflow()
    rng = np.random.default_rng(SEED)
    pixels, digits = _training_pictures()
    print(f"{len(pixels)} reference pictures of {', '.join(TRAINED_ON)}; {epochs} epochs")
    classifier, extractor = _networks(tf)
    steps = epochs * -(-len(pixels) * FRAMES_PER_PICTURE // BATCH)
    rate = tf.keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    classifier.compile(
        tf.keras.optimizers.AdamW(rate, weight_decay=1e-3),
        # Soft targets: hard ones squeeze each class into a point and leave nothing to tell unseen ones by.
        tf.keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=["accuracy"],
    )
    for epoch in range(1, epochs + 1):
        frames, targets = _epoch(pixels, digits, rng)
        history = classifier.fit(frames, targets, batch_size=BATCH, verbose=0).history
        print(f"epoch {epoch}: loss {history['loss'][0]:.3f}, accuracy {history['accuracy'][0]:.3f}", flush=True)
    return _int8(tf, extractor, rng.permutation(pixels)[:REPRESENTATIVES])


def _training_pictures() -> tuple[Pixels, Digits]:
    """(n, 32, 32, 1) and (n,): the reference half of the classes it may see."""
    pictures = digit_pictures()
    rows = [
        row
        for row, (label, part) in enumerate(zip(pictures.labels, pictures.part, strict=True))
        if label in TRAINED_ON and part == "ref"
    ]
    return pictures.pixels[rows], np.array([int(pictures.labels[row]) for row in rows])


def _networks(tf: Any) -> tuple[Any, Any]:
    """The classifier that is trained, and the extractor within it, which is kept.

    The embedding is pooled over quarters of the picture and taken before any dense layer: what a stroke
    looks like and where it is serves digits never seen, what tells 0 from 6 does not.
    """
    layers = tf.keras.layers

    def block(x: Any, channels: int, stride: int = 1) -> Any:
        x = layers.Conv2D(channels, 3, stride, padding="same", use_bias=False)(x)
        # A hard ceiling keeps the int8 ranges narrow.
        return layers.ReLU(6)(layers.BatchNormalization()(x))

    pixels = layers.Input((SIDE, SIDE, 1))
    x = layers.Rescaling(1 / 255)(pixels)
    x = block(x, 16, stride=2)
    x = block(x, 32, stride=2)
    x = block(x, 48)
    x = block(x, 64, stride=2)
    x = layers.AveragePooling2D(2)(block(x, CHANNELS))
    embedding = layers.Flatten()(x)
    logits = layers.Dense(len(TRAINED_ON) * POSES)(layers.Dropout(0.2)(embedding))
    return tf.keras.Model(pixels, logits), tf.keras.Model(pixels, embedding)


def _epoch(pixels: Pixels, digits: Digits, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Frames (m, 32, 32, 1) of 0..255 and one-hot targets (m, 7 * 8).

    Naming the pose together with the digit makes 56 classes of 7: with more shapes to tell apart, the
    features describe strokes rather than these seven digits. (An upside-down 6 looks like the unseen 9,
    but is trained as a class of its own, and 9 is not the easiest unseen class for it.)
    """
    rows = np.tile(np.arange(len(pixels)), FRAMES_PER_PICTURE)
    poses = rng.integers(0, POSES, len(rows))
    frames = np.stack([_posed(_distorted(pixels[row], rng), pose) for row, pose in zip(rows, poses, strict=True)])
    targets = np.eye(len(TRAINED_ON) * POSES, dtype=np.float32)[digits[rows] * POSES + poses]
    return _relit(frames, rng), targets


def _posed(picture: Pixels, pose: int) -> Pixels:
    """(32, 32, 1) turned by quarters, mirrored first in the second four poses."""
    return np.rot90(picture[:, ::-1] if pose >= 4 else picture, pose % 4)


def _distorted(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """(32, 32, 1) slightly turned, sheared, scaled and moved about its centre."""
    angle = np.deg2rad(rng.uniform(-12, 12))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1, rng.uniform(-0.12, 0.12)], [0, 1]])
    matrix = turn @ shear @ np.diag(rng.uniform(0.9, 1.12, 2))
    centre = np.full(2, SIDE / 2)
    offset = centre - matrix @ centre + rng.uniform(-2.5, 2.5, 2)
    image = Image.fromarray(picture[..., 0]).transform(
        (SIDE, SIDE),
        Image.Transform.AFFINE,
        np.column_stack([matrix, offset]).ravel().tolist(),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(image, dtype=np.uint8)[..., np.newaxis]


def _relit(frames: Pixels, rng: np.random.Generator) -> Floats:
    """(m, 32, 32, 1) with other brightness and contrast and the faint noise of a sensor."""
    each = (len(frames), 1, 1, 1)
    mean = frames.mean(axis=(1, 2, 3), keepdims=True)
    lit = ((frames - mean) * rng.uniform(0.85, 1.15, each) + mean) * rng.uniform(0.85, 1.15, each)
    # Without noise here a noisy frame is nothing but saturated features: alarming, but beyond adaptation.
    noisy = lit + rng.normal(0, 255, frames.shape) * rng.uniform(0, 0.06, each)
    return np.asarray(np.clip(noisy, 0, 255).round(), dtype=np.float32)


def _int8(tf: Any, extractor: Any, pictures: Pixels) -> bytes:
    """The extractor as TFLite, calibrated on `pictures` (n, 32, 32, 1)."""
    calibration = pictures.astype(np.float32)
    # Both ends of the range occur, so the input's scale is 1 and its zero point 0: pixels go in as they are.
    calibration[0, 0, :2, 0] = 0, 255

    def representatives() -> Iterator[list[Floats]]:
        for picture in calibration:
            yield [picture[np.newaxis]]

    with TemporaryDirectory() as folder:
        one_picture = tf.TensorSpec((1, SIDE, SIDE, 1), tf.float32)
        extractor.export(folder, input_signature=[one_picture], verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representatives
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        return bytes(converter.convert())


def _tensorflow() -> Any:
    """TensorFlow, hushed and repeatable; loaded here because measuring and --help do without it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tf: Any = import_module("tensorflow")
    tf.keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    names = ("tensorflow-cpu", "keras", "numpy", "pillow", "scikit-learn", "ai-edge-litert")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names))
    return tf


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edge_actors.training.digits",
        description=textwrap.dedent(
            """\
            Train the demo's feature extractor and measure it.

            The pictures are the 1797 handwritten digits inside scikit-learn, enlarged to 32 x 32. Only the
            reference half of 0 to 6 is trained on; 7, 8 and 9 are unseen classes. The result is one TFLite
            file, int8 inside: uint8 pixels [1, 32, 32, 1] in, uint8 embedding [1, 128] out. Training takes
            about two minutes on two cores, measuring half a minute. The result is repeatable on one
            machine; another processor may round differently and write another, equally good file.
            """
        ),
        epilog=textwrap.dedent(
            """\
            examples:
              python -m edge_actors.training.digits --out digits_extractor.tflite
              python -m edge_actors.training.digits --out digits_extractor.tflite --measure
            """
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the TFLite file to write")
    parser.add_argument("--epochs", type=int, default=70, help="passes over the pictures (default: %(default)s)")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="only measure the FILE that is there; needs no TensorFlow",
    )
    return parser


if __name__ == "__main__":
    main()
