"""CONTRACT.md: the bus contract for people who write the other end; prose from the template, tables from the code."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import codec
from .describe import describe
from .messages import KINDS, DeadLetter, Float32Array, Header, IngestState, Message, Uint8Array
from .source import Documented, documented
from .topics import DEAD, INGEST_STATE, ROOT, TOPICS, Rank

TEMPLATE = Path(__file__).with_name("contract.template.md")
GOLDEN = Path(__file__).parent.parent / "tests" / "contract" / "golden.txt"
EXAMPLES = ("Status", "DriftDetected", "Telemetry", "LabelAssigned", "LabelAcknowledged", "Stored", "IngestState")
WIDTH = 112  # hex digits a line


def reference() -> str:
    """The whole file."""
    text = TEMPLATE.read_text()
    for name, render in _PARTS.items():
        text = text.replace(f"<!-- {name} -->", render())
    return text


def _topics() -> str:
    rows = [("topic", "way", "QoS", "retained", "spool rank", "kinds", "what"), ("---",) * 7]
    for topic in TOPICS:
        retained = "yes" if topic.retained else "no"
        rank = topic.rank.name.lower() if topic.rank is not None else ""
        path = f"`{ROOT}/<device>/{topic.path}`"
        rows.append((path, topic.way, str(topic.qos), retained, rank, _links(topic.kinds), topic.what))
    state, dead = f"`{ROOT}/{INGEST_STATE}`", f"`{ROOT}/{DEAD}/<device>`"
    rows.append((state, "down", "1", "yes, and will", "", _links([IngestState]), "whether ingest listens"))
    rows.append((dead, "up", "1", "no", "", _links([DeadLetter]), "what ingest could not handle"))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _links(kinds: Iterable[type[Message]]) -> str:
    return ", ".join(f"[{kind.__name__}](#{kind.__name__.lower()})" for kind in kinds)


def _ranks() -> str:
    return ", ".join(rank.name.lower() for rank in Rank)


def _messages(travelling: bool) -> str:
    on_topics = {kind for topic in TOPICS for kind in topic.kinds} | {IngestState}
    return "\n\n".join(_message(kind) for kind in KINDS.values() if (kind in on_topics) == travelling)


def _message(kind: type[Message]) -> str:
    made = documented(kind)
    return f"### {made.name}\n\n{made.meaning}\n\n{_table(made)}"


def _table(made: Documented) -> str:
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for item in made.fields:
        default = f"`{item.default}`" if item.default else ""
        meaning = item.meaning.replace("|", "\\|").replace("<", "&lt;")
        rows.append(f"| `{item.name}` | {type_name(item.hint)} | {default} | {meaning} |")
    return "\n".join(rows)


def type_name(hint: Any) -> str:
    """A type hint in the words of the contract."""
    if hint in _NAMES:
        return _NAMES[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and inner[-1] is Ellipsis:
        return f"list of {type_name(inner[0])}"
    if origin is tuple:
        return f"({', '.join(map(type_name, inner))})"
    if origin is dict:
        return f"map of text to {type_name(inner[1])}"
    if origin is types.UnionType:
        return " or ".join("null" if part is types.NoneType else type_name(part) for part in inner)
    return str(hint.__name__)


_NAMES = {Float32Array: "float32 array", Uint8Array: "uint8 array", str: "text"}


def _examples() -> str:
    """Some of the golden vectors as bytes and as what they say."""
    vectors = dict(line.split() for line in GOLDEN.read_text().splitlines() if line and not line.startswith("#"))
    return "\n\n".join(_example(bytes.fromhex(vectors[kind])) for kind in EXAMPLES)


def _example(data: bytes) -> str:
    header = codec.decode_record(data)[0] if data[:1] == b"\x83" else None
    spelled = data.hex()
    lines = [spelled[at : at + WIDTH] for at in range(0, len(spelled), WIDTH)]
    lines += ["", *describe(codec.decode(data), header)]
    return "\n".join(f"    {line}".rstrip() for line in lines)


_PARTS: dict[str, Callable[[], str]] = {
    "topics": _topics,
    "header": lambda: _table(documented(Header)),
    "ranks": _ranks,
    "travelling": lambda: _messages(travelling=True),
    "inside": lambda: _messages(travelling=False),
    "examples": _examples,
}
