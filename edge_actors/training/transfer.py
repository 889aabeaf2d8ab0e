"""Transfer learning in Keras: a classifier on a MobileNet is trained, the extractor within it goes to the device."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..ports.interpreter import Interpreter
from .album import Album, varied
from .errors import TrainingError
from .options import IMAGENET, NONE, TrainOptions

HEAD_RATE, FINE_RATE, SCRATCH_RATE = 1e-3, 1e-4, 1e-3
REPRESENTATIVES = 200  # pictures the converter sees to choose the int8 ranges

Floats = NDArray[np.float32]
Say = Callable[[str], None]


def tensorflow(seed: int) -> Any:
    """TensorFlow, hushed and repeatable. Raises TrainingError where it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        tf: Any = import_module("tensorflow")
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"training needs TensorFlow, and {error.name} is not installed: ./tinyml train installs all it takes,"
            " or pip install 'tinymlops[train]'"
        ) from None
    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    return tf


class Training:
    """One classifier from its first weights to the file for the device."""

    def __init__(self, tf: Any, options: TrainOptions, classes: Sequence[str]) -> None:
        self.tf, self.options, self.classes = tf, options, tuple(classes)
        self.chance = np.random.default_rng(options.seed)
        layers = tf.keras.layers
        self.backbone = _backbone(tf, options)
        pixels = layers.Input((options.size, options.size, 3))
        scaled = layers.Rescaling(1 / 127.5, offset=-1)(pixels)
        # What batch normalisation knows of ImageNet is worth more than what a few pictures would tell it.
        maps = self.backbone(scaled, training=False) if options.pretrained else self.backbone(scaled)
        embedding = layers.GlobalAveragePooling2D()(maps)
        self.head = layers.Dense(len(self.classes))
        logits = self.head(layers.Dropout(0.2)(embedding))
        self.extractor = tf.keras.Model(pixels, embedding)
        self.passes: list[dict[str, float | str]] = []  # what became of each pass over the pictures
        self.classifier = tf.keras.Model(pixels, logits)

    @property
    def parameters(self) -> int:
        return int(self.extractor.count_params())

    def learn(self, album: Album, held_out: Album, say: Say, progress: Say) -> None:
        """Trains the head, then the top of the network; from scratch the whole of it at once."""
        if not self.options.pretrained:
            self._phase("whole network", self.options.passes, SCRATCH_RATE, album, held_out, say, progress)
            return
        self.backbone.trainable = False
        self._phase("head", self.options.head_epochs, HEAD_RATE, album, held_out, say, progress)
        self.backbone.trainable = True
        for layer in self.backbone.layers[: len(self.backbone.layers) * 2 // 3]:
            layer.trainable = False
        self._phase("top third", self.options.passes, FINE_RATE, album, held_out, say, progress)

    def accuracy(self, album: Album) -> float:
        """Share of pictures whose class the float network names."""
        targets = album.targets(self.classes)
        right = 0
        for rows in _batches(np.arange(len(album)), self.options.batch):
            logits = self.classifier(_stacked(album[row] for row in rows), training=False)
            right += int((np.argmax(logits, axis=1) == targets[rows]).sum())
        return right / len(album)

    def quantised(self, album: Album) -> bytes:
        """The extractor as TFLite, int8 inside: uint8 pixels -> uint8 embedding. Raises TrainingError."""
        tf, side = self.tf, self.options.size
        rows = self.chance.permutation(len(album))[:REPRESENTATIVES].tolist()

        def representatives() -> Iterator[list[Floats]]:
            for place, row in enumerate(rows):
                picture = _stacked([album[row]])
                if place == 0:
                    # Both ends of the range occur, so the scale is 1 and zero is 0: pixels go in as they are.
                    picture[0, 0, :2] = [[0, 0, 0], [255, 255, 255]]
                yield [picture]

        with TemporaryDirectory() as folder:
            signature = [tf.TensorSpec((1, side, side, 3), tf.float32)]
            self.extractor.export(folder, input_signature=signature, verbose=False)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = representatives
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.uint8
            return bytes(converter.convert())

    def quantised_accuracy(self, model: bytes, album: Album) -> float:
        """The same share with the file for the device in the device's own runtime, and the trained head on top."""
        return float(np.mean(self._named(model, album) == album.targets(self.classes)))

    def confusion(self, model: bytes, album: Album) -> list[list[int]]:
        """How many pictures of class i the file for the device takes for class j, in the order of `classes`."""
        counts = np.zeros((len(self.classes), len(self.classes)), np.int64)
        np.add.at(counts, (album.targets(self.classes), self._named(model, album)), 1)
        return [[int(count) for count in row] for row in counts]

    def _named(self, model: bytes, album: Album) -> NDArray[np.int64]:
        kernel, bias = (np.asarray(weights) for weights in self.head.get_weights())
        try:
            interpreter = Interpreter(model)
        except ModelError as error:
            raise TrainingError(f"the converted model cannot be used: {error}") from None
        named = [int(np.argmax(interpreter.embed(album[row]) @ kernel + bias)) for row in range(len(album))]
        return np.array(named, np.int64)

    def save_weights(self, path: Path) -> None:
        """Keeps the network's weights for another training, which takes them as --weights."""
        self.backbone.save_weights(path)

    def _phase(
        self, name: str, passes: int, rate: float, album: Album, held_out: Album, say: Say, progress: Say
    ) -> None:
        if not passes:
            return
        keras = self.tf.keras
        steps = passes * -(-len(album) // self.options.batch)
        self.classifier.compile(
            keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(rate, steps), weight_decay=1e-4),
            # Soft targets: hard ones squeeze each class into a point and leave nothing to tell unseen ones by.
            keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
            metrics=["accuracy"],
        )
        for number in range(1, passes + 1):
            began = monotonic()
            loss, accuracy = self._epoch(album, lambda share, n=number: progress(f"{name} {n}/{passes}: {share:.0%}"))
            known = self.accuracy(held_out)
            seconds = monotonic() - began
            say(
                f"{name} {number}/{passes}: loss {loss:.3f}, recognises {accuracy:.1%} of what it learns from,"
                f" {known:.1%} of what is held out ({seconds:.0f} s)"
            )
            measured = {"loss": loss, "accuracy": accuracy, "held_out_accuracy": known, "seconds": seconds}
            self.passes.append({"phase": name, **measured, "ended_s": time()})

    def _epoch(self, album: Album, progress: Callable[[float], None]) -> tuple[float, float]:
        """One pass over all pictures in chance order, each as it might be seen another time; loss and accuracy."""
        wanted = np.eye(len(self.classes), dtype=np.float32)[album.targets(self.classes)]
        totals = np.zeros(2)
        for place, rows in enumerate(_batches(self.chance.permutation(len(album)), self.options.batch)):
            shown = _stacked(varied(album[row], self.chance, self.options.mirror) for row in rows)
            self.classifier.reset_metrics()  # so that the numbers are those of this batch
            totals += len(rows) * np.array(self.classifier.train_on_batch(shown, wanted[rows]), np.float64)
            progress(min(1.0, (place + 1) * self.options.batch / len(album)))
        loss, accuracy = totals / len(album)
        return float(loss), float(accuracy)


def _backbone(tf: Any, options: TrainOptions) -> Any:
    make = {"mobilenet-v2": tf.keras.applications.MobileNetV2, "mobilenet-v1": tf.keras.applications.MobileNet}
    wanted = {IMAGENET: IMAGENET, NONE: None}.get(options.weights)
    shape = (options.size, options.size, 3)
    try:
        network = make[options.backbone](alpha=options.alpha, input_shape=shape, include_top=False, weights=wanted)
    except Exception as error:  # Keras raises nothing narrower when it cannot fetch a file
        if "fetch failure" not in str(error):
            raise
        raise TrainingError(
            "the ImageNet weights cannot be fetched from here; fetch the file elsewhere and give it as --weights FILE"
            f" ({_where(str(error))}), or train from scratch with --weights none"
        ) from None
    if options.weights not in (IMAGENET, NONE):
        _load(network, Path(options.weights))
    if not options.pretrained:
        for layer in network.layers:
            if isinstance(layer, tf.keras.layers.BatchNormalization):
                layer.momentum = 0.9  # 0.999 needs thousands of steps before its averages are those of the pictures
    return network


def _where(text: str) -> str:
    return next((word.rstrip(":") for word in text.split() if word.startswith("http")), "Keras did not say where")


def _load(network: Any, path: Path) -> None:
    try:
        network.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise TrainingError(
            f"the weights in {path} do not fit {network.name}: {str(error).splitlines()[0]}."
            " They have to be of the same backbone and --alpha, without the classifier on top"
        ) from None


def _batches(rows: NDArray[np.int64], size: int) -> Iterator[list[int]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size].tolist()


def _stacked(pictures: Any) -> Floats:
    return np.stack([np.asarray(picture, np.float32) for picture in pictures])
