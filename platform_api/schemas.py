"""What clients send and get: every model with an example that the OpenAPI document shows."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import Path
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from broker import topics

from .examples import (
    ADAPTATION,
    BLOB,
    DEVICE,
    EPISODE,
    HEALTH,
    HISTORY,
    INCIDENT,
    LABEL,
    LINK,
    MEMBER,
    MODEL,
    NEXT,
    NOTIFICATION,
    PACKAGE_DONE,
    SAMPLE,
    STEP,
)

DeviceId = Annotated[str, Path(pattern=f"^{topics.DEVICE.pattern}$", description="device id", examples=["pi-07"])]
SampleId = Annotated[
    str, Path(pattern=f"^{topics.SAMPLE.pattern}$", description="sample id", examples=["3f9a1c20-000004-812"])
]
Sha256 = Annotated[
    str,
    Path(
        pattern="^[0-9a-f]{64}$",
        description="sha256 of the whole",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    ),
]
DeviceName = Annotated[str, StringConstraints(pattern=f"^{topics.DEVICE.pattern}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")]
EpisodeId = Annotated[
    str, Path(pattern=r"^[!-.0-~]{1,128}$", description="id of the episode", examples=["3f9a1c20-000004-d1"])
]

IncidentId = Annotated[
    str,
    Path(pattern=r"^[!-.0-~]{1,128}$", description="id of the incident", examples=["drift-20261123T1200-5b1e77f0"]),
]
NotificationId = Annotated[int, Path(ge=1, lt=1 << 63, description="number of the notification", examples=[42])]
Presence = Literal["online", "idle", "offline", "unknown"]
EpisodeStatus = Literal["open", "in-review", "resolved", "dismissed"]
IncidentKind = Literal["drift", "camera", "away"]
IncidentStatus = Literal["open", "closed", "merged", "dissolved"]
Severity = Literal["info", "warning", "critical"]
OrEmpty = Annotated[str, BeforeValidator(lambda value: value or "")]
Verdict = Literal["is", "is-not", "unknown", "retract"]
LabelState = Literal["queued", "published", "applied", "rejected", "superseded"]


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


class Device(BaseModel):
    """A device: presence, what it says of itself, and what is going on."""

    model_config = _example(DEVICE)

    device: str
    state: str = Field(description="online | offline | stopped | sleeping | unknown")
    reason: str
    faults: list[str] = Field(description="named states of the device: disk_full, camera_stalled ...")
    silent: bool = Field(description="nothing was heard for three of its report intervals")
    presence: Presence = Field(description="from its last status, and when it was heard, by its own report interval")
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
    model_config = _example({"items": [DEVICE], "next": NEXT})

    items: list[Device]
    next: str | None = Field(description="give it as `after` to get the next page; null on the last")


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
    status: EpisodeStatus = Field(description="what the server, or a person, made of it")
    status_reason: str = Field(description="quiet | followed | other-bundle | set-up-anew | lost, or a person's")
    status_by: str = Field(description="system, or who it was")
    status_at: datetime | None = Field(description="null until the server has judged it")


class EpisodePage(BaseModel):
    model_config = _example({"items": [EPISODE], "next": NEXT})

    items: list[Episode]
    next: str | None = Field(description="give it as `after` to get the next page; null on the last")


class Incident(BaseModel):
    """The same drift, camera fault or absence on many devices within a while."""

    model_config = _example(INCIDENT)

    incident: str
    kind: IncidentKind
    type: str = Field(description="drift: what the detectors watch; camera: the fault")
    bundle: str = Field(description="digest of the bundle that drifts; * where it does not matter")
    severity: Severity
    status: IncidentStatus = Field(
        description="merged: late records show that it is part of `merged_into`; dissolved: that it was none"
    )
    begin_at: datetime = Field(description="when its first episode began")
    last_at: datetime = Field(description="when its last one began")
    devices: int
    online: int = Field(description="devices that could have been concerned")
    restarted: int = Field(description="of its devices, that had just started")
    unresolved: int = Field(description="of its devices, that it still concerns")
    opened_at: datetime
    closed_at: datetime | None = None
    merged_into: OrEmpty


class IncidentPage(BaseModel):
    model_config = _example({"items": [INCIDENT], "next": NEXT})

    items: list[Incident]
    next: str | None = Field(description="give it as `after` to get the next page; null on the last")


class Member(BaseModel):
    """An episode of an incident."""

    device: str
    kind: IncidentKind
    episode: str
    type: str
    detector: str
    begin_at: datetime
    end_at: datetime | None = None
    severity: float
    status: EpisodeStatus
    reason: str


class IncidentDetail(Incident):
    """An incident with its episodes."""

    model_config = _example({**INCIDENT, "members": [MEMBER]})

    members: list[Member]


class Notification(BaseModel):
    """What a person should know: what happened, what to do, where to look."""

    model_config = _example(NOTIFICATION)

    id: int
    uid: UUID = Field(description="the same in every delivery of it")
    kind: str
    severity: Severity
    device: OrEmpty = Field(description="empty where it is about no device")
    episode: OrEmpty
    incident: OrEmpty
    title: str
    text: str
    action: str
    link: str = Field(description="path of this API")
    since: datetime = Field(description="when what it tells of began")
    notified_at: datetime
    over_at: datetime | None = None
    active: bool = Field(description="what it tells of still is so")
    times: int = Field(description="how often that came back within an hour, the first time included")
    acked_at: datetime | None = None
    acked_by: OrEmpty
    deliveries: dict[str, Literal["waiting", "sent", "failed"]] = Field(description="by channel")


class NotificationPage(BaseModel):
    model_config = _example({"items": [NOTIFICATION], "next": NEXT})

    items: list[Notification]
    next: str | None = Field(description="give it as `after` to get the next page; null on the last")


class Ack(BaseModel):
    """Who has seen a notification."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"by": "ada"}]})

    by: Words = Field(min_length=1, description="who says so, up to 64 characters")


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
    model_config = _example({"items": [LABEL], "next": NEXT})

    items: list[Label]
    next: str | None = Field(description="give it as `after` to get the next page; null on the last")


class LabelHistory(BaseModel):
    """Everything said about one sample, the newest first."""

    model_config = _example(HISTORY)

    items: list[Label]


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
    asked_at: datetime | None = Field(None, description="when the device asked for a label; null: it did not")
    asked_reason: str | None = Field(None, description="dense | random | unsure: why it asked about this one")
    label: CurrentLabel | None


class SamplePage(BaseModel):
    model_config = _example({"items": [SAMPLE], "next": NEXT})

    items: list[Sample]
    next: str | None = Field(description="give it as `after` to get the next page; null on the last")


class Blob(BaseModel):
    """Something a device offered that is too large for one message, and how far it has come."""

    model_config = _example(BLOB)

    sha256: str
    what: str = Field(description="snapshot: the state of all actors")
    name: str = Field(description="as the device calls it")
    size: int
    state: str = Field(description="wanted | stored | refused | expired | dropped")
    reason: str
    chunks: int
    got: int = Field(description="chunks that are here")
    offered_at: datetime
    stored_at: datetime | None


class BlobPage(BaseModel):
    model_config = _example({"items": [BLOB], "next": NEXT})

    items: list[Blob]
    next: str | None = Field(description="give it as `after` to get the next page; null on the last")


class Link(BaseModel):
    """Reads one object of the object store until it expires, without a token."""

    model_config = _example(LINK)

    url: str
    expires_at: datetime


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
    model_config = _example({"items": [ADAPTATION], "next": NEXT})

    items: list[Adaptation]
    next: str | None = Field(description="give it as `after` to get the next page; null on the last")


PackageState = Literal["waiting", "running", "interrupted", "done", "failed", "refused"]
PackageId = Annotated[
    str, Path(pattern="^[0-9a-f]{64}$", description="sha256 of the file", examples=[PACKAGE_DONE["package"]])
]


class Package(BaseModel):
    """A file that a person brought, and what came of it."""

    model_config = ConfigDict(populate_by_name=True, json_schema_extra={"examples": [PACKAGE_DONE]})

    package: str = Field(description="sha256 of the file: the same file is the same package")
    name: str
    kind: str = Field(description="how it is packed and what it is: gzip export, zip ...; empty before it is opened")
    size: int = Field(description="bytes of the file")
    state: PackageState = Field(
        description="failed: a step failed, the others were done; refused: nothing of it was taken; interrupted: "
        "whoever worked on it is gone, bring it again"
    )
    reason: str
    times: int = Field(description="how often it was brought")
    received_at: datetime = Field(description="when it was brought first")
    ended_at: datetime | None = None
    steps: int
    failed: int = Field(description="steps that failed")
    progress: float = Field(description="0 to 1")
    records: int
    new: int = Field(validation_alias=AliasChoices("new_rows", "new"), description="rows that were not there before")
    known: int = Field(validation_alias=AliasChoices("known_rows", "known"))
    dead_letters: int = Field(
        validation_alias=AliasChoices("letters", "dead_letters"), description="records that nobody can take"
    )


class PackagePage(BaseModel):
    model_config = _example({"items": [PACKAGE_DONE], "next": NEXT})

    items: list[Package]
    next: str | None = Field(description="give it as `after` to get the next page; null on the last")


class Step(BaseModel):
    """One thing that is done with a package: open, inspect, then one step for each thing in it."""

    step: int
    name: str
    kind: str = Field(description="open | inspect | export | records | picture | bundle | archive | other")
    state: Literal["waiting", "running", "done", "failed", "skipped"]
    reason: str
    device: str = Field(description="whose records these are, where that is known")
    progress: float = Field(description="0 to 1")
    size: int = Field(description="unpacked bytes")
    records: int
    new: int = Field(validation_alias=AliasChoices("new_rows", "new"))
    known: int = Field(validation_alias=AliasChoices("known_rows", "known"))
    dead_letters: int = Field(validation_alias=AliasChoices("letters", "dead_letters"))
    began_at: datetime | None = None
    ended_at: datetime | None = None


class PackageSteps(Package):
    """A package with its steps in their order."""

    model_config = _example({**PACKAGE_DONE, "items": [STEP], "next": NEXT})

    items: list[Step]
    next: str | None = Field(description="give it as `after` to get more steps; null on the last page")


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

    model_config = _example(HEALTH)

    database: Part
    broker: Part
    objects: Part
    registry: Part
