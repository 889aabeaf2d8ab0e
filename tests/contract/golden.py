"""The golden vectors: the bytes of one message of every kind, for ever.

`python tests/contract/golden.py` adds what is missing. A kind that gained a field gets a second line; the first one
stays, so that what old devices send is read for ever.
"""

from __future__ import annotations

import dataclasses
import typing
from collections import defaultdict
from pathlib import Path
from typing import Any

from broker import codec
from broker.messages import KINDS, Float32Array, Header, IngestState, Message
from broker.topics import TOPICS

FILE = Path(__file__).with_name("golden.txt")
ABOUT = "# kind and bytes; lines are added by tests/contract/golden.py and never changed\n"

BOOT = "5f3a9c01-000007"
WALL_US = 1_794_000_000_123_456
HEADER = Header(device="porch-1", boot=BOOT, seq=42, wall_us=WALL_US, mono_us=3_723_500_000, clock="synced")
# What a field of this name holds, whatever the message; other fields get something of their type.
VALUES: dict[str, Any] = {
    "at": 3723.5,
    "frame": f"{BOOT}-1042",
    "sample": f"{BOOT}-1042",
    "samples": (f"{BOOT}-1042", f"{BOOT}-1057"),
    "episode": f"{BOOT}-e3",
    "adaptation": f"{BOOT}-a1",
    "snapshot": f"{BOOT}-s9",
    "boot": BOOT,
    "command": "c-20261123-1",
    "verb": "snapshot",
    "settings": {"report_s": "30"},
    "applied": {"report_s": "30"},
    "rejected": {"broker": "it cannot be set from afar"},
    "arguments": {"reason": "before the visit"},
    "result": {"snapshot": f"{BOOT}-s9"},
    "deadline_us": WALL_US,
    "phase": "trial",
    "url": "https://example.org/digits.bundle",
    "label": "cat",
    "labels": ("cat", "dog"),
    "counts": (118, 2),
    "neighbours": ("cat", "cat", "dog"),
    "picture": b"\xff\xd8\xff\xe0 not really a picture \xff\xd9",
    "picture_type": "image/jpeg",
    "pixels": bytes(range(12)),
    "height": 2,
    "width": 2,
    "channels": 3,
    "wall_us": WALL_US,
    "clock": "synced",
    "state": "online",
    "session": 4,
    "detector": "residual-cusum",
    "drift_type": "residual",
    "kind": "novel-class",
    "names": ("fps", "rss_mb"),
    "ages": Float32Array.of([60, 0]),
    "metrics": {"fps": 3.9, "rss_mb": 71.25},
    "versions": {"tinymlops": "0.1.0"},
    "ranges": ((1, 40), (42, 42)),
    "payload": b"\x82\x64Tick\xa0",
    "statistic": 6.5,
    "threshold": 4.0,
    "severity": 1.625,
    "frames": 9600,
    "revision": 2,
    "faults": ("disk_full",),
    "verdict": "is",
    "outcome": "applied",
    "by": "ada",
    "where": "knn",
    "reason": "as an example",
    "digest": "9f86d081884c7d65",
    "bundle": "2c26b46b68ffc68f",
    "worker": "worker-1/7",
    "topic": "tinyml/porch-1/drift",
}
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
# The same for one kind only.
OF_KIND = {f"Blob{which}.sha256": SHA256 for which in ("Offered", "Chunk", "Wanted")}
BY_TYPE: dict[Any, Any] = {
    bool: True,
    int: 300,
    float: 0.75,
    str: "text",
    bytes: b"bytes",
    Float32Array: Float32Array.of([0.5, -1.25, 3.0, 4.5]),
    tuple[str, ...]: ("text",),
    tuple[int, ...]: (1, 300),
}


def sample(kind: type[Message]) -> Message:
    """A message of this kind in which no field has its default."""
    hints = typing.get_type_hints(kind)
    names = [item.name for item in dataclasses.fields(kind)]  # type: ignore[arg-type]
    values = {}
    for name in names:
        value = OF_KIND.get(f"{kind.__name__}.{name}", VALUES.get(name))
        kind_of = typing.get_origin(hints[name]) or hints[name]
        values[name] = value if isinstance(value, kind_of) else BY_TYPE[hints[name]]
    return kind(**values)


def header_of(kind: type[Message]) -> Header | None:
    """The header with which a device sends this kind; None for what does not come from a device."""
    topic = next((topic for topic in TOPICS if kind in topic.kinds), None)
    if topic is None or topic.way == "down" or kind is IngestState:
        return None
    return HEADER if topic.rank is not None else dataclasses.replace(HEADER, seq=0)


def encoded(kind: type[Message]) -> bytes:
    return codec.encode(sample(kind), header_of(kind))


def vectors() -> dict[str, list[bytes]]:
    """The committed vectors of each kind, the oldest first."""
    found: dict[str, list[bytes]] = defaultdict(list)
    for line in FILE.read_text().splitlines() if FILE.exists() else ():
        if not line.startswith("#"):
            name, data = line.split()
            found[name].append(bytes.fromhex(data))
    return found


def main() -> None:
    known = vectors()
    with FILE.open("a") as file:
        if not known:
            file.write(ABOUT)
        for name, kind in KINDS.items():
            if encoded(kind) not in known[name]:
                file.write(f"{name} {encoded(kind).hex()}\n")
                print(f"added: {name}")


if __name__ == "__main__":
    main()
