"""What a quiet device writes to its disk and sends over its link in a day, with the settings as they come.

    python -m benchmarks.storage --minutes 12

A device looks at pictures such as its bundle was made of, at 5 a second, and a server beside it stores what comes.
What is measured is what the kernel says that this process sent towards the disk, the bytes the device handed over
itself, and the bytes of its records by topic. Snapshots are hourly: few or none fall into the time, so their share is
worked out of the size of one.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

import edge_actors.training
from broker import codec, topics
from broker.address import BrokerAddress
from broker.connection import Connection, Delivery
from broker.embedded import BrokerProcess
from broker.messages import IngestState, Stored
from broker.mqtt import Options
from edge_actors.bundle.build import BuildOptions, build_bundle
from edge_actors.disk_writes import MB
from edge_actors.process import EdgeProcess
from edge_actors.settings import EdgeSettings
from edge_actors.training.digit_pictures import digit_pictures

DAY_S = 86_400.0
WARM_UP_S = 10.0
MODEL = Path(edge_actors.training.__file__).parent / "artifacts" / "digits_extractor.tflite"


class Storing:
    """A server that says of every record that it is stored."""

    def __init__(self, url: str) -> None:
        options = Options(address=BrokerAddress.of(url), client_id="storing")
        self._connection = Connection(options, on_message=self._on_message, on_up=lambda *_: self._up())
        self._connection.subscribe([(name, 1) for name in topics.filters("up")])
        self._connection.start()

    def stop(self) -> None:
        self._connection.stop()

    def _up(self) -> None:
        state = codec.encode(IngestState(listening=True, worker="storing"))
        self._connection.publish(f"{topics.ROOT}/{topics.INGEST_STATE}", state, retain=True)

    def _on_message(self, topic: str, payload: bytes, _delivery: Delivery) -> None:
        header = codec.decode_header(payload)
        if header.seq:
            stored = Stored(boot=header.boot, ranges=((header.seq, header.seq),))
            self._connection.publish(f"{topics.ROOT}/{header.device}/stored", codec.encode(stored))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--minutes", type=float, default=12.0, help="how long to measure (default 12)")
    parser.add_argument("--no-server", action="store_true", help="nobody stores: the records stay on the device")
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=Path()) as name, BrokerProcess(Path(name)) as broker:
        server = None if chosen.no_server else Storing(broker.url)
        process = _device(Path(name), broker.url)
        runner = threading.Thread(target=process.run)
        runner.start()
        try:
            time.sleep(WARM_UP_S)
            before, began = _next_reading(process)
            time.sleep(60 * chosen.minutes)
            after, ended = _next_reading(process)
        finally:
            process.stop("measured")
            runner.join()
            if server is not None:
                server.stop()
        snapshot = max(path.stat().st_size for path in (process.state.path / "snapshots").iterdir())
        print(f"{process.camera.frames} frames, {process.left} records wait, {sorted(process.faults())}")
    _print(before, after, DAY_S / (ended - began), snapshot)
    return 0


def _next_reading(process: EdgeProcess) -> tuple[dict[str, float], float]:
    """What the device measures of itself when it does so next, and when that was."""
    last = process.probe.latest
    while process.probe.latest is last:
        time.sleep(0.1)
    return dict(process.probe.latest.metrics), time.monotonic()


def _device(directory: Path, url: str) -> EdgeProcess:
    """A device that sees nothing new: one half of the pictures is its bundle, the other half its camera."""
    known = [(pixels, label, "") for pixels, label, part in zip(*digit_pictures(), strict=True) if part == "ref"]
    build_bundle(known[::2], MODEL.read_bytes(), BuildOptions()).write(directory / "digits.bundle")
    (directory / "pictures").mkdir()
    for number, (pixels, _, _) in enumerate(known[1::2]):
        Image.fromarray(pixels[:, :, 0]).save(directory / "pictures" / f"{number:05d}.png")
    settings = EdgeSettings(
        bundle=directory / "digits.bundle",
        device="quiet-1",
        camera=str(directory / "pictures"),
        state_dir=directory / "state",
        broker=url,
        drain_s=0.0,
    )
    return EdgeProcess(settings)


def _print(before: Mapping[str, float], after: Mapping[str, float], a_day: float, snapshot: int) -> None:
    grown = {name: (value - before.get(name, 0.0)) * a_day for name, value in after.items()}
    print("\nto the disk, MB a day")
    print(f"  all, as the kernel counts       {grown.get('disk_written_mb', 0.0):8.1f}")
    print(f"  records, as they are handed over{grown['written_spool_mb']:8.1f}")
    print(f"  24 snapshots of {snapshot / 1000:6.1f} KB       {24 * snapshot / MB:8.1f}")
    print("\nover the link, KB a day")
    for name in sorted(name for name in grown if name.startswith("uplink_") and name.endswith("_bytes")):
        print(f"  {name.removeprefix('uplink_').removesuffix('_bytes'):<32}{grown[name] / 1000:8.0f}")


if __name__ == "__main__":
    raise SystemExit(main())
