"""Numbers as numpy knows them and as they travel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from broker.messages import Float32Array

Floats = NDArray[np.float32]


def floats(packed: Float32Array, columns: int = 0) -> Floats:
    """The numbers of a typed array, read-only and without a copy; rows of `columns` where that is given."""
    flat = np.frombuffer(packed, "<f4")
    return flat.reshape(-1, columns) if columns else flat


def packed(array: Floats) -> Float32Array:
    """The numbers of an array, row by row, as they travel."""
    return Float32Array(array.astype("<f4", copy=False).tobytes())
