"""Prints the resident memory, in MB, of a bare interpreter or of the whole device, in a process that does only that.

python -m benchmarks.memory_of bare|device BUNDLE FRAMES
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from edge_actors.ports.interpreter import Interpreter


def bare(bundle: Path, frames: int) -> float:
    """A minimal process: NumPy, the interpreter, the model."""
    with zipfile.ZipFile(bundle) as archive:
        interpreter = Interpreter(archive.read("model.tflite"))
    pixels = np.zeros(interpreter.input_shape, np.uint8)
    for _ in range(frames):
        interpreter.embed(pixels)
    return rss_mb()


def device(bundle: Path, frames: int) -> float:
    """`tinyml edge run` as it is, on raw frames from a stream, its link looking for a broker that is not there."""
    from edge_actors.process import EdgeProcess  # noqa: PLC0415  a bare process must not have loaded it
    from edge_actors.settings import EdgeSettings  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as directory:
        settings = EdgeSettings(
            bundle=bundle,
            device="bench",
            camera="-",
            state_dir=Path(directory),
            broker="mqtt://127.0.0.1:9",
            journal="auto",
        )
        process = EdgeProcess(settings)
        found: list[float] = []

        def watch() -> None:
            if process.camera.frames >= frames and not found:
                found.append(rss_mb())
                process.stop("measured")

        process.run(watch)
        return found[0]


def rss_mb() -> float:
    """Resident memory of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


if __name__ == "__main__":
    what, path, count = sys.argv[1:]
    print((bare if what == "bare" else device)(Path(path), int(count)))
