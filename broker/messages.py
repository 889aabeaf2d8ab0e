"""Every message of the system: one frozen dataclass each, every field with a default.

Fields are added and never renamed, so old and new peers understand each other. `at` is *message time*: seconds
of operation of the device, which continues over restarts and never jumps, whatever the wall clock does. What
leaves the device travels with a `Header`, which carries the wall time.

Field types are what the codec knows: bool, int (64 bit), float (finite), str, bytes, `Float32Array`,
`Uint8Array`, tuples and string-keyed dicts of these, and `None` where a field says so.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

SCHEMA_VERSION = 1
BLOB_CHUNK = 1 << 16  # bytes of what is too large for one message that travel in one


class Float32Array(bytes):
    """Little-endian float32 numbers as they travel (RFC 8746 tag 85); `numpy.frombuffer(a, "<f4")` is free."""

    @classmethod
    def of(cls, numbers: Iterable[float]) -> Float32Array:
        packed = array.array("f", numbers)
        if sys.byteorder == "big":
            packed.byteswap()
        return cls(packed.tobytes())

    def numbers(self) -> list[float]:
        packed = array.array("f", bytes(self))
        if sys.byteorder == "big":
            packed.byteswap()
        return packed.tolist()


class Uint8Array(bytes):
    """Unsigned bytes that are numbers, not a picture (RFC 8746 tag 64)."""


class Message:
    """Base of everything that travels between actors or processes."""

    __slots__ = ()


KINDS: dict[str, type[Message]] = {}  # the wire name of a message is the name of its class
M = TypeVar("M", bound=Message)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def message(cls: type[M]) -> type[M]:
    """Makes a message of a class: frozen, slotted, keyword-only, and known to the codec by its name."""
    made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
    KINDS[cls.__name__] = made
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Travels with every message that leaves a device. (device, boot, seq, wall_us) names a record for ever."""

    version: int = SCHEMA_VERSION
    device: str = ""
    boot: str = ""  # "<installation>-<count>": 8 hex digits drawn once per state directory, then the starts since
    seq: int = 0  # counts the spooled records of a boot from 1 without a gap; 0 for what is not spooled
    wall_us: int = 0  # microseconds since 1970 UTC by the device's clock
    mono_us: int = 0  # microseconds of message time
    clock: str = "unsynced"  # synced | unsynced: whether wall_us can be trusted


# ---- what comes in through the doors -------------------------------------------------------------------------


@message
class Frame(Message):
    """One picture from the camera, already in the size and channel order of the extractor's input."""

    at: float = 0.0
    frame: str = ""  # "<boot>-<number>"; also the id of the sample, if it becomes one
    pixels: bytes = b""  # height x width x channels, uint8, row by row
    height: int = 0
    width: int = 0
    channels: int = 3


@message
class Embedded(Message):
    """What a feature extractor elsewhere made of a picture, in the place of a frame."""

    at: float = 0.0
    frame: str = ""
    values: Float32Array = Float32Array()  # as many numbers as the bundle's projection takes


@message
class Tick(Message):
    """The clock, once a second: the only source of wall time inside the device."""

    at: float = 0.0
    wall_us: int = 0
    clock: str = "unsynced"
    last: bool = False  # the device is about to stop: say now what you still hold back


@message
class Vitals(Message):
    """What the rim measured since the last one; actors never measure themselves, so that replay gives the same."""

    at: float = 0.0
    metrics: dict[str, float] = field(
        default_factory=dict
    )  # name -> value, units in the name: rss_mb, fps, knn_p95_us ...
    faults: tuple[str, ...] = ()  # named states: disk_full, camera_stalled, spool_salvaged ...


@message
class SnapshotSaved(Message):
    """The snapshot writer finished; `error` is empty when the snapshot is safe on disk."""

    at: float = 0.0
    snapshot: str = ""
    digest: str = ""
    size: int = 0
    error: str = ""


# ---- between the actors ----------------------------------------------------------------------------------------


@message
class Features(Message):
    """What the extractor made of a frame."""

    at: float = 0.0
    frame: str = ""
    values: Float32Array = Float32Array()  # projected embedding, D numbers
    residual: float = 0.0  # log of the norm that the projection leaves unexplained


@message
class Neighbours(Message):
    """The k nearest samples of the memory, nearest first, and their vote."""

    at: float = 0.0
    frame: str = ""
    label: str = ""  # "unknown" while the memory holds fewer than k samples
    confidence: float = 0.0  # share of the k votes
    distances: Float32Array = Float32Array()
    labels: tuple[str, ...] = ()
    values: Float32Array = Float32Array()
    residual: float = 0.0
    rival: float = 0.0  # distance to the bundle's nearest sample of another label than the vote's; 0: there is none


@message
class CameraDoubted(Message):
    """From this frame on what the camera shows is no evidence of anything; no reasons: it is believed again."""

    at: float = 0.0
    frame: str = ""
    reasons: tuple[str, ...] = ()  # frozen, black, saturated


@message
class Scored(Message):
    """What the drift monitor thinks of one frame."""

    at: float = 0.0
    frame: str = ""
    label: str = ""
    confidence: float = 0.0
    distances: Float32Array = Float32Array()
    labels: tuple[str, ...] = ()
    values: Float32Array = Float32Array()
    score: float = 0.0  # standardised per predicted class: 0 usual, above 1 strange
    scene: bool = False  # whether the frame opened a new scene
    in_drift: bool = False
    episode: str = ""  # id of the drift episode, empty outside
    rival: float = 0.0  # as in Neighbours
    departure: float = 0.0  # in drift: of its scene from the usual, in the direction of the drift, in spreads


@message
class SnapshotRequested(Message):
    """Asks the runtime to write the state of all actors, as it is between this message and the next."""

    at: float = 0.0
    snapshot: str = ""
    reason: str = ""


@message
class QuarantineFilled(Message):
    """Enough strange samples wait without an explanation; the adapter may look for a new class among them.

    Where the whole stream has moved (`scope` global) no class may be made of them; `window` is for re-centring then.
    """

    at: float = 0.0
    episode: str = ""
    scope: str = "novel"  # novel | global
    statistic: float = 0.0  # displacement of the least strange quarter of the drift
    threshold: float = 0.0
    samples: tuple[str, ...] = ()
    values: Float32Array = Float32Array()  # len(samples) x D
    memory_distances: Float32Array = Float32Array()  # per sample, mean distance to its neighbours in the memory
    departures: Float32Array = Float32Array()  # per sample, how far it lay in the direction of the drift
    predicted: tuple[str, ...] = ()  # per sample, what it was taken for
    taken: tuple[str, ...] = ()  # per sample, the provisional class it already is in; empty: none
    window: Float32Array = Float32Array()  # n x D, the last scenes of a global drift, oldest first
    accepted: Float32Array = Float32Array()  # n x D, usual scenes from before the drift
    accepted_labels: tuple[str, ...] = ()  # what these were taken for


@message
class PseudoLabelled(Message):
    """Quarantined samples proposed for a class; the memory checks them before they stay."""

    at: float = 0.0
    adaptation: str = ""
    episode: str = ""
    label: str = ""
    samples: tuple[str, ...] = ()
    values: Float32Array = Float32Array()  # len(samples) x D
    statistic: float = 0.0
    threshold: float = 0.0
    kind: str = ""  # novel-class | grow-class | pseudo-label (the seed's, with a label that exists)
    accepted: Float32Array = Float32Array()  # n x D, usual scenes that have to stay what they are taken for
    accepted_labels: tuple[str, ...] = ()


@message
class Recentring(Message):
    """Asks the memory to find a map that brings the features of a global drift back to where it expects them."""

    at: float = 0.0
    adaptation: str = ""
    episode: str = ""
    window: Float32Array = Float32Array()  # n x D


@message
class PseudoWithdrawn(Message):
    """Asks the memory to take samples out again that the device had put in by itself."""

    at: float = 0.0
    adaptation: str = ""  # the one that put them in
    samples: tuple[str, ...] = ()
    reason: str = ""


@message
class MemoryChanged(Message):
    """What became of a proposal: kept, or taken back bit for bit; or `undone` after it had stood."""

    at: float = 0.0
    adaptation: str = ""
    applied: bool = False
    reason: str = ""
    accuracy_before: float = 0.0  # on the bundle's labelled calibration set
    accuracy_after: float = 0.0
    memory: int = 0  # samples in the memory afterwards
    undone: bool = False
    statistic: float = 0.0  # of a re-centring: the gain in confidence
    threshold: float = 0.0
    left_out: tuple[str, ...] = ()  # samples of the proposal that would have done harm


@message
class LabelResolved(Message):
    """A person's label together with the features it speaks of; empty `reason` means it can be applied."""

    at: float = 0.0
    sample: str = ""
    revision: int = 0
    verdict: str = ""
    label: str = ""
    by: str = ""
    values: Float32Array = Float32Array()
    reason: str = ""
    episode: str = ""  # in which the sample was kept; empty where that is not known
    like: tuple[str, ...] = ()  # quarantined samples so near that the label holds for them too
    like_values: Float32Array = Float32Array()  # len(like) x D


@message
class LabelApplied(Message):
    """What the memory did with a person's label; it is acknowledged once a snapshot holds it."""

    at: float = 0.0
    sample: str = ""
    revision: int = 0
    outcome: str = ""  # applied | duplicate | rejected
    reason: str = ""
    label: str = ""
    spread: tuple[str, ...] = ()  # samples that got the label because they are so near
    withdrawn: tuple[str, ...] = ()  # samples that had got a label from this one and lost it again


# ---- what leaves the device ------------------------------------------------------------------------------------


@message
class Status(Message):
    """Presence, retained. Boot and session order the statuses of a device, not their arrival."""

    state: str = ""  # online | offline | stopped | sleeping
    session: int = 0  # counts the connections of a boot
    reason: str = ""
    faults: tuple[str, ...] = ()


@message
class Birth(Message):
    """Who a device is, retained, sent on every connection."""

    session: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    actors: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    bundle: str = ""
    config: int = 0
    mode: str = "validated"  # autonomous | monitor | validated | managed
    privacy: str = "thumbnail"  # features | thumbnail | picture
    report_s: float = 60.0  # interval in which the device reports; presence is judged by it
    location: str = ""
    location_source: str = ""


@message
class Telemetry(Message):
    """A batch of readings: row i was read `ages[i]` seconds before `at`."""

    at: float = 0.0
    names: tuple[str, ...] = ()
    ages: Float32Array = Float32Array()
    values: Float32Array = Float32Array()  # len(ages) x len(names), row by row; NaN where a reading lacks it
    faults: tuple[str, ...] = ()


@message
class Predictions(Message):
    """What was recognised in a window; single predictions only when the device is set to report them."""

    at: float = 0.0
    seconds: float = 0.0
    frames: int = 0
    labels: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()  # frames per label
    confidence: Float32Array = Float32Array()  # quantiles .05 .25 .5 .75 .95
    distance: Float32Array = Float32Array()  # the same of the mean neighbour distance
    score: Float32Array = Float32Array()  # the same of the drift score
    each_frame: tuple[str, ...] = ()
    each_label: tuple[int, ...] = ()  # index into labels


@message
class DriftDetected(Message):
    """A drift episode begins."""

    at: float = 0.0
    episode: str = ""
    frame: str = ""
    detector: str = ""
    drift_type: str = ""  # what the detector watches: residual, feature, knn-distance, confidence ...
    statistic: float = 0.0
    threshold: float = 0.0
    severity: float = 0.0  # statistic / threshold, capped at 10
    frames: int = 0  # frames seen since commissioning


@message
class DriftContinued(Message):
    """A drift episode goes on; rate-limited."""

    at: float = 0.0
    episode: str = ""
    frame: str = ""
    detector: str = ""
    statistic: float = 0.0
    threshold: float = 0.0
    severity: float = 0.0
    frames: int = 0  # frames since the episode began
    samples: tuple[str, ...] = ()  # samples quarantined since the last message of the episode


@message
class DriftCleared(Message):
    """A drift episode ends: the stream is in distribution again."""

    at: float = 0.0
    episode: str = ""
    frame: str = ""
    detector: str = ""
    statistic: float = 0.0
    threshold: float = 0.0
    frames: int = 0
    reason: str = ""


@message
class CameraFaulted(Message):
    """The camera shows nothing of the world any more; this is never drift."""

    at: float = 0.0
    frame: str = ""
    episode: str = ""  # the first frame of the fault
    fault: str = ""  # frozen | black | saturated
    statistic: float = 0.0  # frozen: seconds without a change; else the share of dark or clipped pixels
    threshold: float = 0.0
    frames: int = 0  # since the first frame of the fault
    seconds: float = 0.0


@message
class CameraRecovered(Message):
    """The camera shows the world again."""

    at: float = 0.0
    frame: str = ""
    episode: str = ""
    fault: str = ""
    frames: int = 0  # since the fault's first frame
    seconds: float = 0.0


@message
class SampleQuarantined(Message):
    """A strange frame kept aside for a person to look at."""

    at: float = 0.0
    sample: str = ""
    episode: str = ""
    bundle: str = ""
    label: str = ""  # what the device took it for
    confidence: float = 0.0
    score: float = 0.0
    values: Float32Array = Float32Array()
    neighbours: tuple[str, ...] = ()
    distances: Float32Array = Float32Array()
    picture: bytes = b""  # by privacy level: empty, a thumbnail, or the whole frame
    picture_type: str = ""
    width: int = 0
    height: int = 0


@message
class LabelRequested(Message):
    """The device asks a person what a sample is, because knowing it would help most."""

    at: float = 0.0
    sample: str = ""  # its SampleQuarantined left the device before
    episode: str = ""
    reason: str = ""  # dense: many strange samples are like it; random: to see whether what is usual still is
    asked: int = 0  # requests of the present budget so far, this one included
    budget: int = 0


@message
class AdaptationDecided(Message):
    """The decision record of one adaptation: inputs, statistic, threshold, before and after, reason."""

    at: float = 0.0
    adaptation: str = ""
    episode: str = ""
    kind: str = ""  # recentring | novel-class | grow-class | label-spread | pseudo-label
    outcome: str = ""  # applied | rolled-back | rejected
    reason: str = ""
    label: str = ""
    samples: tuple[str, ...] = ()
    statistic: float = 0.0
    threshold: float = 0.0
    accuracy_before: float = 0.0
    accuracy_after: float = 0.0
    memory: int = 0


@message
class SnapshotTaken(Message):
    """The state is safe on the device's disk."""

    at: float = 0.0
    snapshot: str = ""
    reason: str = ""
    digest: str = ""
    size: int = 0


@message
class LogRecord(Message):
    """A warning or an error a person should read."""

    at: float = 0.0
    level: str = "warning"
    where: str = ""
    text: str = ""


@message
class DeadLetter(Message):
    """A message that could not be handled, kept with its payload where a person can see it."""

    at: float = 0.0
    where: str = ""  # the actor, or "ingest"
    topic: str = ""
    kind: str = ""
    reason: str = ""
    payload: bytes = b""


@message
class LabelAcknowledged(Message):
    """A person's label reached the memory and a snapshot holds it (or why not)."""

    at: float = 0.0
    sample: str = ""
    revision: int = 0
    outcome: str = ""  # applied | duplicate | rejected
    reason: str = ""
    snapshot: str = ""


@message
class ConfigReported(Message):
    """What a device made of the settings that are wanted, retained. `revision` 0: nobody has wanted any yet."""

    revision: int = 0
    applied: dict[str, str] = field(default_factory=dict)  # wanted settings that are in force
    rejected: dict[str, str] = field(default_factory=dict)  # name -> reason; everything else holds nevertheless
    restart: tuple[str, ...] = ()  # wanted settings that wait for the restart that now follows


@message
class CommandReported(Message):
    """What became of a command; the last one of a command says done, failed or expired."""

    at: float = 0.0
    command: str = ""
    verb: str = ""
    state: str = ""  # accepted | running | done | failed | expired
    reason: str = ""
    result: dict[str, str] = field(default_factory=dict)


@message
class ModelReported(Message):
    """Which bundle runs and what became of the wanted one, retained."""

    revision: int = 0  # of the wish this speaks of; 0: nobody has wanted any yet
    running: str = ""  # digest of the bundle that runs
    desired: str = ""  # digest of the one that is wanted
    phase: str = ""  # idle | downloading | checking | shadow | trial | committed | refused | rolled-back
    progress: float = 0.0  # of the phase, 0 to 1
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)  # of shadow and trial: agreement, latencies ...


@message
class BlobOffered(Message):
    """The device keeps something too large for one message until the server has it, or it expires."""

    at: float = 0.0
    sha256: str = ""  # of the whole, lower-case hexadecimal
    size: int = 0  # bytes
    what: str = ""  # snapshot: the state of all actors, as its file on the device
    name: str = ""  # as the device calls it


@message
class BlobChunk(Message):
    """A piece of what was offered, sent when the server asks for it. It is not spooled: a lost one is asked again."""

    sha256: str = ""
    index: int = 0  # bytes index * 65536 and on
    data: bytes = b""  # 65536 bytes, the last piece what is left


# ---- what comes down to the device -----------------------------------------------------------------------------


@message
class LabelAssigned(Message):
    """What a person says a sample is. Retained until acknowledged; undo is the verdict `retract`."""

    at: float = 0.0  # set by the device when it lets the label in
    sample: str = ""
    revision: int = 0
    verdict: str = ""  # is | is-not | unknown | retract
    label: str = ""
    by: str = ""
    bundle: str = ""  # the bundle whose feature space `values` belongs to
    values: Float32Array = Float32Array()  # so that a label reaches the memory after the sample is gone


@message
class ConfigDesired(Message):
    """All settings that people want of a device, never a patch: what is not in it is as the device was set up."""

    revision: int = 0  # an older one than the device has is ignored
    settings: dict[str, str] = field(default_factory=dict)  # as on the command line; only some can be set from afar


@message
class CommandIssued(Message):
    """Something to do once. Retained until its last report, so that a device that is away gets it later."""

    at: float = 0.0  # set by the device when it lets the command in
    command: str = ""  # its id; a device never does the same id twice
    verb: str = ""
    arguments: dict[str, str] = field(default_factory=dict)
    deadline_us: int = 0  # wall time from which on it is not to be begun any more; 0: none
    by: str = ""


@message
class ModelDesired(Message):
    """The bundle that people want a device to run."""

    revision: int = 0  # an older one than the device has is ignored
    digest: str = ""  # of the bundle's manifest, which names the bundle; empty: the one the device was set up with
    url: str = ""  # where the file is: http, https or file
    size: int = 0  # of the file, bytes
    sha256: str = ""  # of the file
    shadow_frames: int = 200  # that it is to run beside the present one before it may try
    trial_s: float = 300.0  # that it is to run well before it stays
    least_agreement: float = 0.5  # with the present one, as a share of the frames
    most_slower: float = 2.0  # how many times as long a frame may take as with the present one


@message
class BlobWanted(Message):
    """Which chunks of an offered blob the server wants, instead of those it wanted before."""

    sha256: str = ""
    ranges: tuple[tuple[int, int], ...] = ()  # first and last index, inclusive; empty: the device may let go of it
    reason: str = ""  # why the server does not want it at all; empty where it has it


@message
class Stored(Message):
    """These records are committed; the device may forget them."""

    boot: str = ""
    ranges: tuple[tuple[int, int], ...] = ()  # first and last sequence number, inclusive


@message
class IngestState(Message):
    """Whether anybody takes what devices send; devices hold back while not."""

    listening: bool = False
    worker: str = ""  # changes when a worker starts, so that devices send again at once what it cannot know of
    reason: str = ""
