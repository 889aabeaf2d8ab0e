"""acl.conf: who may read and write what at Mosquitto, rendered from the table of topics."""

from __future__ import annotations

from .messages import BlobWanted, Stored
from .topics import DEAD, INGEST_STATE, ROOT, TOPICS, of_kind

HEAD = """# Who may do what. Rendered from broker/topics.py by `tinyml contract render`; do not edit.
#
# A device's user name is its device id, and %u keeps it in its own topics. The other users begin with an underscore,
# which no device id can. Everything that is not named here is denied.
"""


def access_list() -> str:
    """The whole file."""
    up = [topic.filter for topic in TOPICS if topic.way == "up"]
    down = [topic.filter for topic in TOPICS if topic.way == "down"]
    device = [f"pattern write {ROOT}/%u/{path}" for path in up]
    device += [f"pattern read {ROOT}/%u/{path}" for path in down]
    device += [f"pattern read {ROOT}/{INGEST_STATE}"]
    ingest = [f"topic read {ROOT}/+/{path}" for path in up]
    answers = [of_kind(kind).filter for kind in (Stored, BlobWanted)]
    ingest += [
        *(f"topic write {ROOT}/+/{path}" for path in answers),
        f"topic readwrite {ROOT}/{INGEST_STATE}",
        f"topic write {ROOT}/{DEAD}/+",
    ]
    api = [f"topic readwrite {ROOT}/+/{path}" for path in down if path not in answers]
    api += [f"topic read {ROOT}/+/{path}" for path in up] + [f"topic read {ROOT}/{INGEST_STATE}"]
    return "\n".join(
        [
            HEAD,
            *_section("every device: up its own topics, down what is addressed to it", device),
            *_section(
                "ingest workers: all that comes up; what is stored; whether they listen", ["user _ingest", *ingest]
            ),
            *_section(
                "the platform API: what people want of a device, read again to reconcile; live views",
                ["user _api", *api],
            ),
            *_section(
                "whoever erases what the broker keeps of a device (tinyml forget)",
                ["user _admin", f"topic readwrite {ROOT}/+/#"],
            ),
            *_section("people and programs that only watch", ["user _viewer", f"topic read {ROOT}/#"]),
        ]
    )


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"# {title}", *lines, ""]
