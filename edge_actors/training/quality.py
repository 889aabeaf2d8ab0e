"""Measures an extractor file the way a device uses it: neighbours, unseen classes, corruption, speed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from edge_actors.training.digit_pictures import digit_pictures, jittered

Pixels = NDArray[np.uint8]  # (n, 32, 32, 1)
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Labels = NDArray[np.str_]

UNSEEN = ("7", "8", "9")  # the extractor was trained without them; each is left out of the memory in turn
PCA_SIZES = (16, 24, 32, 48, 64)
NEIGHBOURS = 5
MEMORY_SHARE = 0.55  # of the reference pictures; the others calibrate
SHRINKAGE = 10  # frames: the weight of all classes' statistics in those of one class
ROUNDS = 5  # each with a split and jitter of its own
CORRUPTION_UNSEEN, CORRUPTION_PCA = "9", 32


class Extractor:
    """The file in LiteRT on one thread, as on a device."""

    def __init__(self, path: Path) -> None:
        self.interpreter: Any = Interpreter(model_path=str(path), num_threads=1)
        self.interpreter.allocate_tensors()
        self.input: dict[str, Any] = self.interpreter.get_input_details()[0]
        self.output: dict[str, Any] = self.interpreter.get_output_details()[0]

    def __call__(self, pixels: Pixels) -> Floats:
        """(n, 32, 32, 1) -> (n, embedding size), dequantised."""
        scale, zero_point = self.output["quantization"]
        raw = np.stack([self._invoke(picture) for picture in pixels]).astype(np.float64)
        return np.asarray((raw - zero_point) * scale)

    def microseconds(self, pixels: Pixels) -> float:
        """Median time of one call, one picture each."""
        times = []
        for picture in pixels:
            start = perf_counter()
            self._invoke(picture)
            times.append(perf_counter() - start)
        return median(times) * 1e6

    def _invoke(self, picture: Pixels) -> Pixels:
        self.interpreter.set_tensor(self.input["index"], picture[np.newaxis])
        self.interpreter.invoke()
        return np.asarray(self.interpreter.get_tensor(self.output["index"])[0])


class PerClass:
    """Mean and spread of a score for each predicted class, shrunk towards those of all classes."""

    def __init__(self, score: Floats, voted: Labels) -> None:
        self.all = (float(score.mean()), float(score.std()))
        self.of = {str(label): self._shrunk(score[voted == label]) for label in np.unique(voted)}

    def standardised(self, score: Floats, voted: Labels) -> Floats:
        """(n,) score, (n,) predicted class -> (n,), clipped to +-6."""
        mean, spread = np.array([self.of.get(str(label), self.all) for label in voted]).T
        return np.asarray(np.clip((score - mean) / spread, -6, 6))

    def _shrunk(self, score: Floats) -> tuple[float, float]:
        mean, spread = self.all
        weight = len(score) + SHRINKAGE
        centre = (float(score.sum()) + SHRINKAGE * mean) / weight
        return centre, float(np.sqrt((((score - centre) ** 2).sum() + SHRINKAGE * spread**2) / weight))


@dataclass(frozen=True)
class Seen:
    """What the device says about n frames, each field (n,)."""

    labels: Labels  # vote of the nearest neighbours
    residual: Floats  # log PCA residual, standardised per predicted class
    distance: Floats  # mean distance to the nearest neighbours, standardised per predicted class


class Device:
    """A memory with scaler and PCA, and the statistics of calibration frames that none of these saw."""

    def __init__(self, memory: Floats, labels: Labels, calibration: Floats, pca_size: int) -> None:
        self.scaler = StandardScaler().fit(memory)
        self.pca = PCA(pca_size, random_state=0).fit(self.scaler.transform(memory))
        self.neighbours = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(self._project(memory)[0])
        self.labels = labels
        voted, residual, distance = self._raw(calibration)
        self.residual, self.distance = PerClass(residual, voted), PerClass(distance, voted)

    def look(self, features: Floats) -> Seen:
        """(n, embedding size) -> votes and scores."""
        voted, residual, distance = self._raw(features)
        return Seen(voted, self.residual.standardised(residual, voted), self.distance.standardised(distance, voted))

    def _project(self, features: Floats) -> tuple[Floats, Floats]:
        """(n, embedding size) -> inside the PCA (n, pca_size), log of what it does not explain (n,)."""
        scaled = self.scaler.transform(features)
        inside = self.pca.transform(scaled)
        outside = np.maximum((scaled**2).sum(1) - (inside**2).sum(1), 1e-9)
        return inside, 0.5 * np.log(outside)

    def _raw(self, features: Floats) -> tuple[Labels, Floats, Floats]:
        inside, residual = self._project(features)
        distances, rows = self.neighbours.kneighbors(inside)
        return np.array([_vote(self.labels[row]) for row in rows]), residual, distances.mean(1)


class Round:
    """One split of the reference pictures and one fresh frame of every picture."""

    def __init__(self, extract: Callable[[Pixels], Floats], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        pictures = digit_pictures()
        part = np.array(pictures.part)
        self.extract = extract
        self.labels: Labels = np.array(pictures.labels)
        self.stream: Rows = np.flatnonzero(part == "stream")
        self.memory, self.calibration = self._split(np.flatnonzero(part == "ref"))
        self.frames = jittered(pictures.pixels, self.rng)
        self.features = extract(self.frames)

    def device(self, unseen: str, pca_size: int) -> Device:
        """A device that knows every class but `unseen`."""
        memory, calibration = (rows[self.labels[rows] != unseen] for rows in (self.memory, self.calibration))
        return Device(self.features[memory], self.labels[memory], self.features[calibration], pca_size)

    def _split(self, reference: Rows) -> tuple[Rows, Rows]:
        shuffled = self.rng.permutation(reference)
        size = round(MEMORY_SHARE * len(shuffled))
        return shuffled[:size], shuffled[size:]


def report(path: Path) -> Iterator[str]:
    """The figures of the file at `path`, line by line as they are measured."""
    extractor = Extractor(path)
    rounds = [Round(extractor, seed) for seed in range(ROUNDS)]
    yield f"one call, 1 thread: {extractor.microseconds(rounds[0].frames):.0f} us (median)"
    yield ""
    yield f"Stream frames, mean of {ROUNDS} rounds. Known: the 9 other classes. AUROC: unseen against known."
    yield "Scores are standardised: calibration frames have mean 0 and spread 1; +-6 is the limit."
    yield "unseen  PCA  accuracy known  AUROC residual  AUROC distance  mean residual, distance of known"
    for unseen in UNSEEN:
        for pca_size in PCA_SIZES:
            accuracy, residual, distance, *means = _mean_of(_unseen(one, unseen, pca_size) for one in rounds)
            yield (
                f"{unseen:>6}  {pca_size:>3}  {accuracy:>14.3f}  {residual:>14.3f}  {distance:>14.3f}"
                f"  {means[0]:>+15.2f}, {means[1]:+.2f}"
            )
    yield ""
    yield f"Known stream frames, corrupted. {CORRUPTION_UNSEEN} left out, PCA {CORRUPTION_PCA}."
    yield "corruption    accuracy  mean residual  mean distance"
    for name, corrupt in CORRUPTIONS.items():
        accuracy, residual, distance = _mean_of(_corrupted(one, corrupt) for one in rounds)
        yield f"{name:<12}  {accuracy:>8.3f}  {residual:>+13.2f}  {distance:>+13.2f}"


def _unseen(one: Round, unseen: str, pca_size: int) -> tuple[float, ...]:
    seen = one.device(unseen, pca_size).look(one.features[one.stream])
    labels = one.labels[one.stream]
    known = labels != unseen
    return (
        float(np.mean(seen.labels[known] == labels[known])),
        float(roc_auc_score(~known, seen.residual)),
        float(roc_auc_score(~known, seen.distance)),
        float(seen.residual[known].mean()),
        float(seen.distance[known].mean()),
    )


def _corrupted(one: Round, corrupt: Callable[[Pixels, np.random.Generator], Pixels]) -> tuple[float, ...]:
    known = one.stream[one.labels[one.stream] != CORRUPTION_UNSEEN]
    features = one.extract(corrupt(one.frames[known], one.rng))
    seen = one.device(CORRUPTION_UNSEEN, CORRUPTION_PCA).look(features)
    return (
        float(np.mean(seen.labels == one.labels[known])),
        float(seen.residual.mean()),
        float(seen.distance.mean()),
    )


def _mean_of(rows: Iterator[tuple[float, ...]]) -> list[float]:
    return [fmean(column) for column in zip(*rows, strict=True)]


def _vote(labels: Labels) -> str:
    """The most frequent label; of equals the one whose first neighbour is nearest."""
    names, first, counts = np.unique(labels, return_index=True, return_counts=True)
    return str(names[np.lexsort((first, -counts))[0]])


def _clean(pixels: Pixels, _rng: np.random.Generator) -> Pixels:
    return pixels


def _noise(sigma: float) -> Callable[[Pixels, np.random.Generator], Pixels]:
    """Gaussian noise of `sigma` of the full range."""

    def corrupt(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        return np.clip(pixels + rng.normal(0, sigma * 255, pixels.shape), 0, 255).astype(np.uint8)

    return corrupt


def _blur(sigma: float) -> Callable[[Pixels, np.random.Generator], Pixels]:
    """Gaussian blur of `sigma` pixels."""

    def corrupt(pixels: Pixels, _rng: np.random.Generator) -> Pixels:
        return np.asarray(gaussian_filter(pixels, (0, sigma, sigma, 0)), dtype=np.uint8)

    return corrupt


# Noise has the severities 3 to 5 of ImageNet-C. Blur is wider than there, because these pictures are 8 x 8
# enlarged four times: a blur below 2 px takes nothing away that they hold.
CORRUPTIONS: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "none": _clean,
    "noise 0.18": _noise(0.18),
    "noise 0.26": _noise(0.26),
    "noise 0.38": _noise(0.38),
    "blur 2 px": _blur(2.0),
    "blur 3 px": _blur(3.0),
    "blur 4 px": _blur(4.0),
}
