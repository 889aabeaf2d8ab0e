"""What clients send and get: every model with an example that the OpenAPI document shows."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from broker import topics

DeviceId = Annotated[str, Path(pattern=f"^{topics.DEVICE.pattern}$", description="device id", examples=["pi-07"])]
SampleId = Annotated[
    str, Path(pattern=f"^{topics.SAMPLE.pattern}$", description="sample id", examples=["3f9a1c20-000004-812"])
]
DeviceName = Annotated[str, StringConstraints(pattern=f"^{topics.DEVICE.pattern}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")]
EpisodeId = Annotated[
    str, Path(pattern=r"^[!-.0-~]{1,128}$", description="id of the episode", examples=["3f9a1c20-000004-d1"])
]

Verdict = Literal["is", "is-not", "unknown", "retract"]
LabelState = Literal["queued", "published", "applied", "rejected", "superseded"]

_DEVICE, _SAMPLE, _EPISODE, _BUNDLE = "pi-07", "3f9a1c20-000004-812", "3f9a1c20-000004-d1", "9b74c98e"
_NEXT = "WyIyMDI2LTExLTIzVDEyOjAwOjAwWiJd"
_NOON, _LATER = "2026-11-23T12:00:00Z", "2026-11-23T12:00:07Z"


def _plain(text: str) -> str:
    """Text a person wrote, in one spelling, without what a screen does not show."""
    text = unicodedata.normalize("NFC", text.strip())
    if not text.isprintable():
        raise ValueError("only printable characters are allowed")
    if len(text) > 64:
        raise ValueError("at most 64 characters are allowed")
    return text


Words = Annotated[str, StringConstraints(max_length=256), AfterValidator(_plain)]


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    at: str = Field(description="where: body.label, query.limit ...")
    why: str


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(description="urn:tinyml:<what>, or about:blank where the status says it all")
    title: str
    status: int
    detail: str = Field(description="one sentence for a person")
    instance: str = Field(description="path of the request")
    errors: list[Fault] = Field(default_factory=list, description="what is wrong with the request, one by one")


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


DEVICE: dict[str, Any] = {
    "device": _DEVICE,
    "state": "online",
    "reason": "",
    "faults": [],
    "silent": False,
    "first_heard_at": "2026-11-02T08:00:00Z",
    "heard_at": _NOON,
    "mode": "validated",
    "privacy": "thumbnail",
    "bundle": _BUNDLE,
    "config": 3,
    "versions": {"tinymlops": "0.1.0", "ai-edge-litert": "2.3.0"},
    "actors": ["extractor", "knn", "drift_monitor"],
    "detectors": ["residual-cusum"],
    "location": "hall 2, line 4",
    "location_source": "config",
    "report_s": 60.0,
    "in_drift": True,
    "episode": _EPISODE,
    "drift_since": _NOON,
    "samples_pending": 12,
    "labels_outstanding": 1,
}


class Device(BaseModel):
    """A device: presence, what it says of itself, and what is going on."""

    model_config = _example(DEVICE)

    device: str
    state: str = Field(description="online | offline | stopped | sleeping | unknown")
    reason: str
    faults: list[str] = Field(description="named states of the device: disk_full, camera_stalled ...")
    silent: bool = Field(description="nothing was heard for three of its report intervals")
    first_heard_at: datetime
    heard_at: datetime
    mode: str
    privacy: str
    bundle: str = Field(description="digest of the bundle it runs")
    config: int
    versions: dict[str, str]
    actors: list[str]
    detectors: list[str]
    location: str
    location_source: str
    report_s: float
    in_drift: bool
    episode: str | None = Field(description="the drift episode that goes on")
    drift_since: datetime | None
    samples_pending: int = Field(description="quarantined samples nobody has labelled yet")
    labels_outstanding: int = Field(description="labels on their way to the device, not yet answered")


class DevicePage(BaseModel):
    model_config = _example({"items": [DEVICE], "next": _NEXT})

    items: list[Device]
    next: str | None = Field(description="give it as `after` to get the next page; null on the last")


EPISODE: dict[str, Any] = {
    "device": _DEVICE,
    "episode": _EPISODE,
    "open": False,
    "begin_at": _NOON,
    "end_at": "2026-11-23T12:20:00Z",
    "last_at": "2026-11-23T12:20:00Z",
    "detector": "residual-cusum",
    "drift_type": "residual",
    "peak_statistic": 31.2,
    "threshold": 26.4,
    "peak_severity": 1.18,
    "frames": 6004,
    "reason": "stream is in distribution again",
    "events": 9,
    "samples": 14,
}


class Episode(BaseModel):
    """A drift episode of a device, from the events that have arrived."""

    model_config = _example(EPISODE)

    device: str
    episode: str
    open: bool = Field(description="its end has not arrived")
    begin_at: datetime | None = Field(description="null while only later events have arrived")
    end_at: datetime | None
    last_at: datetime
    detector: str
    drift_type: str | None
    peak_statistic: float
    threshold: float
    peak_severity: float
    frames: int | None = Field(description="frames since it began, of the latest event")
    reason: str | None = Field(description="why it ended")
    events: int
    samples: int = Field(description="samples quarantined in it")


class EpisodePage(BaseModel):
    model_config = _example({"items": [EPISODE], "next": _NEXT})

    items: list[Episode]
    next: str | None = Field(description="give it as `after` to get the next page; null on the last")


LABEL: dict[str, Any] = {
    "device": _DEVICE,
    "sample": _SAMPLE,
    "revision": 1,
    "verdict": "is",
    "label": "pear",
    "by": "ada",
    "bundle": _BUNDLE,
    "state": "applied",
    "reason": "",
    "current": True,
    "made_at": _NOON,
    "published_at": _NOON,
    "answered_at": _LATER,
    "cleared_at": _LATER,
}
_ON_ITS_WAY = ("published_at", "answered_at", "cleared_at")
QUEUED: dict[str, Any] = {k: v for k, v in {**LABEL, "state": "queued"}.items() if k not in _ON_ITS_WAY}


class Label(BaseModel):
    """What a person says a sample is, and how far it has come on its way into the device's memory."""

    model_config = _example(LABEL)

    device: str
    sample: str
    revision: int = Field(description="counts what was said about the sample, from 1")
    verdict: Verdict
    label: str
    by: str
    bundle: str = Field(description="digest of the bundle whose feature space the sample belongs to")
    state: LabelState = Field(
        description="queued here, published to the broker, applied or rejected by the device, superseded by a newer"
    )
    reason: str = Field(description="why the device rejected it")
    current: bool = Field(description="there is no newer revision")
    made_at: datetime
    published_at: datetime | None = None
    answered_at: datetime | None = None
    cleared_at: datetime | None = Field(default=None, description="when its topic was emptied or overwritten")


class LabelPage(BaseModel):
    model_config = _example({"items": [LABEL], "next": _NEXT})

    items: list[Label]
    next: str | None = Field(description="give it as `after` to get the next page; null on the last")


class LabelHistory(BaseModel):
    """Everything said about one sample, the newest first."""

    model_config = _example(
        {"items": [{**LABEL, "revision": 2}, {**LABEL, "label": "apple", "state": "superseded", "current": False}]}
    )

    items: list[Label]


NEW_LABELS: dict[str, Any] = {
    name: {"summary": summary, "value": {"device": _DEVICE, "sample": _SAMPLE, **said, "by": "ada"}}
    for name, summary, said in (
        ("is", "it is a pear", {"verdict": "is", "label": "pear"}),
        ("is-not", "it is no apple", {"verdict": "is-not", "label": "apple"}),
        ("unknown", "nobody can tell", {"verdict": "unknown"}),
        ("retract", "what was said before was wrong", {"verdict": "retract"}),
    )
}


class NewLabel(BaseModel):
    """What a person says about a sample."""

    model_config = ConfigDict(extra="forbid")

    device: DeviceName
    sample: Annotated[str, StringConstraints(pattern=f"^{topics.SAMPLE.pattern}$")]
    verdict: Verdict = Field(description="`retract` takes back what was said before")
    label: Words = Field(
        default="",
        description="the class, up to 64 characters; needed with `is`; with `is-not` it defaults to what the device "
        "took the sample for; not allowed otherwise",
    )
    by: Words = Field(description="who says so, up to 64 characters")

    @model_validator(mode="after")
    def _label_fits_verdict(self) -> Self:
        if not self.by:
            raise ValueError("by: say who you are")
        if self.verdict == "is" and not self.label:
            raise ValueError("the verdict `is` needs a label")
        if self.verdict == "is" and self.label == "unknown":
            raise ValueError("`unknown` is no class; use the verdict `unknown`")
        if self.verdict in ("unknown", "retract") and self.label:
            raise ValueError(f"the verdict `{self.verdict}` takes no label")
        return self


class CurrentLabel(BaseModel):
    """The newest thing said about a sample."""

    revision: int
    verdict: Verdict
    label: str
    by: str
    state: LabelState
    reason: str
    made_at: datetime
    answered_at: datetime | None


SAMPLE: dict[str, Any] = {
    "device": _DEVICE,
    "sample": _SAMPLE,
    "at": _NOON,
    "received_at": _LATER,
    "episode": _EPISODE,
    "bundle": _BUNDLE,
    "predicted": "apple",
    "confidence": 0.6,
    "score": 2.1,
    "neighbours": ["apple", "apple", "pear", "apple", "plum"],
    "distances": [3.1, 3.2, 3.4, 3.9, 4.0],
    "picture": f"/samples/{_DEVICE}/{_SAMPLE}/picture",
    "width": 96,
    "height": 96,
    "label": {
        "revision": 1,
        "verdict": "is",
        "label": "pear",
        "by": "ada",
        "state": "applied",
        "reason": "",
        "made_at": _NOON,
        "answered_at": _LATER,
    },
}


class Sample(BaseModel):
    """A strange frame that a device kept aside for a person to look at."""

    model_config = _example(SAMPLE)

    device: str
    sample: str
    at: datetime
    received_at: datetime
    episode: str
    bundle: str
    predicted: str = Field(description="what the device took it for")
    confidence: float
    score: float = Field(description="0 usual, above 1 strange")
    neighbours: list[str] = Field(description="labels of the nearest in the device's memory, nearest first")
    distances: list[float]
    picture: str | None = Field(description="path of the picture; null where the privacy level gave none")
    width: int
    height: int
    label: CurrentLabel | None


class SamplePage(BaseModel):
    model_config = _example({"items": [SAMPLE], "next": _NEXT})

    items: list[Sample]
    next: str | None = Field(description="give it as `after` to get the next page; null on the last")


ADAPTATION: dict[str, Any] = {
    "device": _DEVICE,
    "adaptation": "3f9a1c20-000004-a1",
    "at": _LATER,
    "received_at": _LATER,
    "episode": _EPISODE,
    "kind": "novel-class",
    "outcome": "applied",
    "reason": "",
    "label": "novel-1",
    "samples": 25,
    "statistic": 0.61,
    "threshold": 0.8,
    "accuracy_before": 0.958,
    "accuracy_after": 0.957,
    "memory": 225,
}


class Adaptation(BaseModel):
    """The decision record of one adaptation of a device's memory."""

    model_config = _example(ADAPTATION)

    device: str
    adaptation: str
    at: datetime
    received_at: datetime
    episode: str
    kind: str
    outcome: str = Field(description="applied | rolled-back | rejected")
    reason: str
    label: str
    samples: int
    statistic: float
    threshold: float
    accuracy_before: float = Field(description="on the bundle's labelled calibration set")
    accuracy_after: float
    memory: int = Field(description="samples in the memory afterwards")


class AdaptationPage(BaseModel):
    model_config = _example({"items": [ADAPTATION], "next": _NEXT})

    items: list[Adaptation]
    next: str | None = Field(description="give it as `after` to get the next page; null on the last")


MODEL: dict[str, Any] = {
    "model": "digits",
    "version": 4,
    "digest": "9b74c9897bac770ffc029102a200c5de0dd4b8d6b3a3e4a35dd4b0c2ac5bbd36",
    "aliases": ["champion"],
    "tags": {"runtime": "ai-edge-litert 2.3.0", "dimension": "64"},
}


class Model(BaseModel):
    """A version of a bundle in the registry."""

    model_config = _example(MODEL)

    model: str
    version: int
    digest: str = Field(description="sha256 of the bundle file")
    aliases: list[str] = Field(description="champion, candidate ...")
    tags: dict[str, str]


class ModelList(BaseModel):
    model_config = _example({"items": [MODEL]})

    items: list[Model]


class Part(BaseModel):
    """The state of one thing the API needs."""

    ok: bool
    why: str = Field(default="", description="what is wrong, or what it is doing; empty when there is nothing to say")


class Health(BaseModel):
    """Whether the API can do its work; `database` alone decides the status."""

    model_config = _example(
        {
            "database": {"ok": True, "why": ""},
            "broker": {"ok": True, "why": ""},
            "objects": {"ok": True, "why": ""},
            "registry": {"ok": False, "why": "the model registry did not answer within 3 seconds"},
        }
    )

    database: Part
    broker: Part
    objects: Part
    registry: Part
