"""The one table of topics: which message travels where, which way, at what QoS, retained or not.

`CONTRACT.md` and the broker's access list are rendered from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from .errors import TopicError
from .messages import (
    AdaptationDecided,
    Birth,
    DeadLetter,
    DriftCleared,
    DriftContinued,
    DriftDetected,
    LabelAcknowledged,
    LabelAssigned,
    LogRecord,
    Message,
    Predictions,
    SampleQuarantined,
    SnapshotTaken,
    Status,
    Stored,
    Telemetry,
)

ROOT = "tinyml"
DEVICE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
SAMPLE = re.compile(r"[a-z0-9][a-z0-9-]{0,95}")


class Rank(IntEnum):
    """The order in which a full spool gives way, lowest first. Pictures go before the samples they belong to."""

    PREDICTION = 0
    TELEMETRY = 1
    PICTURE = 2
    SAMPLE = 3
    VITAL = 4


@dataclass(frozen=True, slots=True)
class Topic:
    path: str  # under <root>/<device>/; "<sample>" stands for one level
    kinds: tuple[type[Message], ...]
    way: str  # up | down
    what: str
    retained: bool = False
    rank: Rank | None = None  # None: not spooled, published as it is when there is a link
    qos: int = 1


TOPICS: tuple[Topic, ...] = (
    Topic("status", (Status,), "up", "presence; the will says offline", retained=True),
    Topic("birth", (Birth,), "up", "versions, actors, detectors, bundle, mode, privacy", retained=True),
    Topic("telemetry", (Telemetry,), "up", "readings in batches", rank=Rank.TELEMETRY),
    Topic("prediction", (Predictions,), "up", "windowed summary of predictions", rank=Rank.PREDICTION),
    Topic(
        "drift",
        (DriftDetected, DriftContinued, DriftCleared),
        "up",
        "drift begins, continues, ends",
        rank=Rank.VITAL,
    ),
    Topic("sample/<sample>", (SampleQuarantined,), "up", "a quarantined sample", rank=Rank.SAMPLE),
    Topic("adaptation", (AdaptationDecided,), "up", "decision records", rank=Rank.VITAL),
    Topic("snapshot", (SnapshotTaken,), "up", "state saved on the device", rank=Rank.TELEMETRY),
    Topic("log", (LogRecord,), "up", "warnings and errors", rank=Rank.TELEMETRY),
    Topic("dead", (DeadLetter,), "up", "what the device could not handle", rank=Rank.VITAL),
    Topic("labelack", (LabelAcknowledged,), "up", "a label applied or refused", rank=Rank.VITAL),
    Topic("stored", (Stored,), "down", "sequence ranges that are committed"),
    Topic("label/<sample>", (LabelAssigned,), "down", "what a person says a sample is", retained=True),
)

# Topics outside any device; devices may read `_ingest/state` and nothing else here.
INGEST_STATE = "_ingest/state"  # IngestState, retained, will
DEAD = "_dead"  # _dead/<device>: DeadLetter, what ingest could not handle

_BY_KIND: dict[type[Message], Topic] = {kind: topic for topic in TOPICS for kind in topic.kinds}
_BY_HEAD: dict[str, Topic] = {topic.path.split("/")[0]: topic for topic in TOPICS}


def of_kind(kind: type[Message]) -> Topic:
    """The topic a message travels on. Raises TopicError for messages that stay inside the device."""
    try:
        return _BY_KIND[kind]
    except KeyError:
        raise TopicError(f"{kind.__name__} never leaves the device") from None


def path_of(message: Message) -> str:
    """The path under <root>/<device>/ of a message: `drift`, `sample/<id>` ..."""
    topic = of_kind(type(message))
    if not topic.path.endswith("/<sample>"):
        return topic.path
    sample: str = getattr(message, "sample")  # noqa: B009  both kinds with such a topic have it
    if not SAMPLE.fullmatch(sample):
        raise TopicError(f"{sample!r} is not a sample id")
    return topic.path.replace("<sample>", sample)


def rank_of(message: Message) -> Rank:
    """How late a full spool gives this message up. Raises TopicError for what is not spooled."""
    rank = of_kind(type(message)).rank
    if rank is None:
        raise TopicError(f"{type(message).__name__} is not spooled")
    return Rank.PICTURE if isinstance(message, SampleQuarantined) and message.picture else rank


def full(device: str, path: str, root: str = ROOT) -> str:
    """The whole topic of a path of a device."""
    return f"{root}/{check_device(device)}/{path}"


def check_device(device: str) -> str:
    """The device id itself. Raises TopicError where it cannot be one."""
    if not DEVICE.fullmatch(device):
        raise TopicError(
            f"{device!r} is not a device id: lower-case letters, digits and hyphens, at most 63, no hyphen first"
        )
    return device


@dataclass(frozen=True, slots=True)
class Address:
    """A topic taken apart."""

    device: str
    path: str
    topic: Topic
    sample: str = ""


@lru_cache(maxsize=4096)  # a fleet says the same names all the time
def parse(name: str, root: str = ROOT) -> Address:
    """Takes a full topic name of a device apart. Raises TopicError when it is not in the table."""
    if not name.startswith(root + "/"):
        raise TopicError(f"{name!r} is not under {root}/")
    device, _, path = name[len(root) + 1 :].partition("/")
    check_device(device)
    head, slash, tail = path.partition("/")
    topic = _BY_HEAD.get(head)
    if topic is None or ("/" in topic.path) != bool(slash) or (slash and not SAMPLE.fullmatch(tail)):
        raise TopicError(f"{name!r} is not a topic of the contract")
    return Address(device, path, topic, tail)


def filters(way: str, retained: bool | None = None, device: str = "+", root: str = ROOT) -> list[str]:
    """Subscription filters for all topics of one way (of one device, or of all)."""
    return [
        f"{root}/{device}/{topic.path.replace('<sample>', '+')}"
        for topic in TOPICS
        if topic.way == way and retained in (None, topic.retained)
    ]
