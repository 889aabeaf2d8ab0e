"""The one table of topics: which message travels where, which way, at what QoS, retained or not.

`CONTRACT.md` and the broker's access list are rendered from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from .errors import TopicError
from .messages import (
    AdaptationDecided,
    Birth,
    BlobChunk,
    BlobOffered,
    BlobWanted,
    CameraFaulted,
    CameraRecovered,
    CommandIssued,
    CommandReported,
    ConfigDesired,
    ConfigReported,
    DeadLetter,
    DriftCleared,
    DriftContinued,
    DriftDetected,
    LabelAcknowledged,
    LabelAssigned,
    LabelRequested,
    LogRecord,
    Message,
    ModelDesired,
    ModelReported,
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
# What may stand in the place of "<name>" in a path; the message has a field of that name.
NAMES = {
    "sample": SAMPLE,
    "command": SAMPLE,
    "sha256": re.compile(r"[0-9a-f]{64}"),
    "index": re.compile(r"0|[1-9][0-9]{0,8}"),
}
PLACE = re.compile(r"<(\w+)>")
MODES = ("autonomous", "monitor", "validated", "managed")  # each takes what the one before it takes, and more


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
    mode: str = "monitor"  # down: the first of MODES in which a device takes it
    qos: int = 1

    @property
    def filter(self) -> str:
        """The path as a subscription filter: any name in each place."""
        return PLACE.sub("+", self.path)


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
    Topic(
        "camera",
        (CameraFaulted, CameraRecovered),
        "up",
        "the camera is frozen, black or saturated, or shows the world again",
        rank=Rank.VITAL,
    ),
    Topic(
        "sample/<sample>",
        (SampleQuarantined, LabelRequested),
        "up",
        "a quarantined sample; that the device would like to know what it is",
        rank=Rank.SAMPLE,
    ),
    Topic("adaptation", (AdaptationDecided,), "up", "decision records", rank=Rank.VITAL),
    Topic("snapshot", (SnapshotTaken,), "up", "state saved on the device", rank=Rank.TELEMETRY),
    Topic("log", (LogRecord,), "up", "warnings and errors", rank=Rank.TELEMETRY),
    Topic("dead", (DeadLetter,), "up", "what the device could not handle", rank=Rank.VITAL),
    Topic("labelack", (LabelAcknowledged,), "up", "a label applied or refused", rank=Rank.VITAL),
    Topic("config/reported", (ConfigReported,), "up", "the settings in force, and what was refused", retained=True),
    Topic(
        "model/reported",
        (ModelReported,),
        "up",
        "the bundle that runs, and what became of the wanted one",
        retained=True,
    ),
    Topic("command/<command>/result", (CommandReported,), "up", "what became of a command", rank=Rank.VITAL),
    Topic("blob/<sha256>", (BlobOffered,), "up", "something too large for one message", rank=Rank.SAMPLE),
    Topic("blob/<sha256>/<index>", (BlobChunk,), "up", "a piece of it, when the server asks"),
    Topic("stored", (Stored,), "down", "sequence ranges that are committed"),
    Topic(
        "label/<sample>", (LabelAssigned,), "down", "what a person says a sample is", retained=True, mode="validated"
    ),
    Topic(
        "blob-wanted/<sha256>",
        (BlobWanted,),
        "down",
        "which pieces the server has not got; none: the device need not keep it",
        mode="managed",
    ),
    Topic("config/desired", (ConfigDesired,), "down", "all settings that are wanted", retained=True, mode="managed"),
    Topic("model/desired", (ModelDesired,), "down", "the bundle that is wanted", retained=True, mode="managed"),
    Topic(
        "command/<command>",
        (CommandIssued,),
        "down",
        "something to do once; cleared by the server when it is done",
        retained=True,
        mode="managed",
    ),
)

# Topics outside any device; devices may read `_ingest/state` and nothing else here.
INGEST_STATE = "_ingest/state"  # IngestState, retained, will
DEAD = "_dead"  # _dead/<device>: DeadLetter, what ingest could not handle

_BY_KIND: dict[type[Message], Topic] = {kind: topic for topic in TOPICS for kind in topic.kinds}
# Tried in this order; few topics begin with the same level.
_BY_HEAD: dict[str, list[tuple[re.Pattern[str], Topic]]] = {}
for _topic in TOPICS:
    _pattern = PLACE.sub(lambda place: f"(?P<{place[1]}>{NAMES[place[1]].pattern})", _topic.path)
    _BY_HEAD.setdefault(_topic.path.split("/")[0], []).append((re.compile(_pattern), _topic))


def of_kind(kind: type[Message]) -> Topic:
    """The topic a message travels on. Raises TopicError for messages that stay inside the device."""
    try:
        return _BY_KIND[kind]
    except KeyError:
        raise TopicError(f"{kind.__name__} never leaves the device") from None


def path_of(message: Message) -> str:
    """The path under <root>/<device>/ of a message: `drift`, `sample/<id>` ..."""
    path = of_kind(type(message)).path
    return path if "<" not in path else PLACE.sub(lambda place: _named(message, place[1]), path)


def _named(message: Message, name: str) -> str:
    value = str(getattr(message, name))
    if not NAMES[name].fullmatch(value):
        raise TopicError(f"{value!r} is not a {name} id")
    return value


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
    names: Mapping[str, str]  # what stands in the places of the topic's path

    @property
    def sample(self) -> str:
        return self.names.get("sample", "")

    def check(self, message: Message) -> None:
        """Raises TopicError for a message that speaks of something else than its topic."""
        for name, value in self.names.items():
            if str(getattr(message, name)) != value:
                raise TopicError(f"the topic says {name} {value!r}, the message another")


@lru_cache(maxsize=4096)  # a fleet says the same names all the time
def parse(name: str, root: str = ROOT) -> Address:
    """Takes a full topic name of a device apart. Raises TopicError when it is not in the table."""
    if not name.startswith(root + "/"):
        raise TopicError(f"{name!r} is not under {root}/")
    device, _, path = name[len(root) + 1 :].partition("/")
    check_device(device)
    for pattern, topic in _BY_HEAD.get(path.partition("/")[0], ()):
        if found := pattern.fullmatch(path):
            return Address(device, path, topic, found.groupdict())
    raise TopicError(f"{name!r} is not a topic of the contract")


def filters(
    way: str, retained: bool | None = None, device: str = "+", root: str = ROOT, mode: str = MODES[-1]
) -> list[str]:
    """Subscription filters for all topics of one way (of one device, or of all) that matter in a mode."""
    return [
        f"{root}/{device}/{topic.filter}"
        for topic in TOPICS
        if topic.way == way and retained in (None, topic.retained) and taken_in(topic, mode)
    ]


def taken_in(topic: Topic, mode: str) -> bool:
    """Whether a device in this mode has to do with a topic."""
    return MODES.index(topic.mode) <= MODES.index(mode)
