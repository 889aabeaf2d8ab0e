"""Scaler and PCA as one affine map, and the part of a frame that the map does not explain."""

from __future__ import annotations

from math import log

import numpy as np

from ..arrays import Floats

# Dimensions in which the fitting pictures hardly differ would dominate every new picture if they were scaled to one.
SMALLEST_SPREAD = 0.1  # of the median spread
# Float32 sums of a thousand squares are exact to about this share; a smaller remainder is rounding, not residual.
ROUNDING = 1e-6
LARGEST = 1e12  # feature: the square of what a projection makes of larger ones may be too large for a float32


class Projection:
    """z = matrix x + offset with the scaler folded in; the residual is the log norm of what z leaves out."""

    def __init__(self, matrix: Floats, offset: Floats, centre: Floats, inverse_spread: Floats) -> None:
        self.matrix, self.offset = matrix, offset  # (D, E), (D,)
        self.centre, self.inverse_spread = centre, inverse_spread  # (E,), (E,)
        self.dimension, self.embedding = matrix.shape
        self._scaled = np.empty(self.embedding, np.float32)
        self._least = ROUNDING * self.embedding

    @classmethod
    def fit(cls, embeddings: Floats, dimension: int) -> Projection:
        """The `dimension` directions of largest variance of the scaled (n, E) embeddings, D < min(n, E).

        PCA by singular value decomposition (Jolliffe 2002, section 3.5). The sign of a direction is arbitrary;
        its largest entry is made positive, so that the same pictures give the same bundle.
        """
        numbers = embeddings.astype(np.float64)
        spread = numbers.std(axis=0)
        alive = spread > 0
        floor = SMALLEST_SPREAD * float(np.median(spread[alive])) if alive.any() else 1.0
        inverse = 1.0 / np.maximum(spread, floor)
        centre = numbers.mean(axis=0)
        directions = np.linalg.svd((numbers - centre) * inverse, full_matrices=False)[2][:dimension]
        largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
        matrix = directions * np.sign(largest) * inverse
        return cls(
            np.ascontiguousarray(matrix, np.float32),
            (-matrix @ centre).astype(np.float32),
            centre.astype(np.float32),
            inverse.astype(np.float32),
        )

    def project(self, embedding: Floats) -> tuple[Floats, float]:
        """(E,) -> z (D,) and the residual 0.5 log(|s|^2 - |z|^2), s the scaled embedding (Wang et al. 2022, ViM)."""
        z: Floats = self.matrix @ embedding
        z += self.offset
        scaled = self._scaled
        np.subtract(embedding, self.centre, out=scaled)
        np.multiply(scaled, self.inverse_spread, out=scaled)
        unexplained = float(scaled @ scaled) - float(z @ z)
        return z, 0.5 * log(max(unexplained, self._least))

    def project_all(self, embeddings: Floats) -> tuple[Floats, Floats]:
        """(n, E) -> (n, D) and (n,), each row exactly what `project` gives."""
        pairs = [self.project(row) for row in embeddings]
        return np.array([z for z, _ in pairs], np.float32), np.array([r for _, r in pairs], np.float32)
