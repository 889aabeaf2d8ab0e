"""Keeps strange frames of a drift aside, for people to look at and for the adapter to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from broker.messages import (
    AdaptationDecided,
    CameraDoubted,
    CommandIssued,
    CommandReported,
    DriftCleared,
    DriftDetected,
    Float32Array,
    Frame,
    LabelAssigned,
    LabelResolved,
    QuarantineFilled,
    SampleQuarantined,
    Scored,
)

from .algorithms.calibration import UNLIKE
from .algorithms.strange_samples import Entry, StrangeSamples
from .arrays import floats, packed
from .privacy import Picture, Showing
from .runtime.actor import Actor

STRANGE = 1.0  # scores above it are kept
JUDGED_FRAMES = 100  # after the alarm; their lower quartile tells global drift from novel content
ENOUGH = 40  # unexplained samples to ask the adapter
ENOUGH_MORE = 10  # new ones to ask it again
DAY_S = 86_400.0
PATIENCE_S = 60.0  # with the next frame, when one was asked for

Inbox = (
    Frame | Scored | CameraDoubted | DriftDetected | DriftCleared | LabelAssigned | AdaptationDecided | CommandIssued
)
Outbox = SampleQuarantined | QuarantineFilled | LabelResolved | CommandReported


class Quarantine(Actor[Inbox, Outbox]):
    """At most one sample a scene, each unlike those already kept; `limit` of them, also the most an episode may add.

    `showing` makes what may leave the device of a picture.
    """

    def __init__(
        self,
        *,
        bundle: str,
        dimension: int,
        k: int,
        usual_distance: float,
        showing: Showing,
        limit: int = 200,
        age_s: float = 7 * DAY_S,
        distance: str = "euclidean",
    ) -> None:
        self.bundle, self.dimension, self.showing = bundle, dimension, showing
        self.unlike, self.age_s = UNLIKE * usual_distance, age_s
        self.samples = StrangeSamples(dimension, k, limit, distance)
        self.episode, self.scope = "", ""  # scope: "" until judged, then novel or global
        self._frame: Frame | None = None  # the last picture; never part of the state
        self._blind = False  # what the camera shows is no sample of anything
        self._kept_scene = False  # whether this scene gave its sample
        self._added = 0  # samples of this episode
        self._since_asked = ENOUGH_MORE  # samples since the adapter was asked
        self._asked: list[tuple[str, float]] = []  # commands that want to see the next frame, and since when
        self._scores: list[float] = []  # of the frames after the alarm, until they are judged

    def receive(self, message: Inbox) -> Iterator[Outbox]:
        if isinstance(message, Frame):
            self._frame = message
        elif isinstance(message, Scored):
            kept = list(self._scored(message))
            yield from kept
            if self._asked:
                yield from self._show(message, known=any(isinstance(one, SampleQuarantined) for one in kept))
        elif isinstance(message, DriftDetected):
            self.episode, self.scope, self._added, self._scores = message.episode, "", 0, []
        elif isinstance(message, DriftCleared):
            self.episode = ""
        elif isinstance(message, LabelAssigned):
            yield self._resolved(message)
        elif isinstance(message, CommandIssued):
            if message.verb == "send-sample":
                self._asked.append((message.command, message.at))
        elif isinstance(message, CameraDoubted):
            self._blind = bool(message.reasons)
        elif message.outcome == "applied":
            self.samples.explain([row for one in message.samples if (row := self.samples.find(one)) is not None])

    def state(self) -> dict[str, Any]:
        return {
            "samples": self.samples.state(),
            "episode": self.episode,
            "scope": self.scope,
            "kept_scene": self._kept_scene,
            "blind": self._blind,
            "added": self._added,
            "since_asked": self._since_asked,
            "scores": list(self._scores),
            "asked": list(self._asked),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.samples.restore(state["samples"])
        self.episode, self.scope = state["episode"], state["scope"]
        self._blind = state.get("blind", False)
        self._kept_scene, self._added = state["kept_scene"], state["added"]
        self._since_asked, self._scores = state["since_asked"], list(state["scores"])
        self._asked = [(command, at) for command, at in state.get("asked", ())]

    def restarted(self) -> None:
        self._asked = []  # the rim has answered them

    # ---- frames ----------------------------------------------------------------------------------------------

    def _scored(self, scored: Scored) -> Iterator[Outbox]:
        if scored.scene:
            self._kept_scene = False
        if not scored.in_drift or self._blind:
            return
        if not self.scope:
            yield from self._judge(scored)
        if self._is_wanted(scored):
            yield self._keep(scored)
            yield from self._ask(scored)

    def _is_wanted(self, scored: Scored) -> bool:
        return (
            scored.score > STRANGE
            and not self._kept_scene
            and self._added < self.samples.limit
            and len(scored.labels) == self.samples.k
            and self.samples.nearest(floats(scored.values)) > self.unlike
        )

    def _keep(self, scored: Scored) -> SampleQuarantined:
        self._kept_scene = True
        self._added += 1
        self._since_asked += 1
        self.samples.drop_older(scored.at - self.age_s)
        entry = Entry(scored.frame, scored.at, scored.episode, clusterable=self.scope == "novel")
        self.samples.add(entry, floats(scored.values), scored.distances.numbers())
        return self._told(scored)

    def _told(self, scored: Scored) -> SampleQuarantined:
        picture = self._picture_of(scored)
        return SampleQuarantined(
            at=scored.at,
            sample=scored.frame,
            episode=scored.episode,
            bundle=self.bundle,
            label=scored.label,
            confidence=scored.confidence,
            score=scored.score,
            values=scored.values,
            neighbours=scored.labels,
            distances=scored.distances,
            picture=picture.data,
            picture_type=picture.kind,
            width=picture.width,
            height=picture.height,
        )

    def _picture_of(self, scored: Scored) -> Picture:
        if self._frame is None or self._frame.frame != scored.frame:
            return Picture()
        told = ("frame", "at", "label", "confidence", "score", "episode")
        return self.showing.of(self._frame, {name: getattr(scored, name) for name in told})

    def _show(self, scored: Scored, known: bool) -> Iterator[Outbox]:
        """The frame for those who asked for one; `known`: it leaves the device anyway."""
        asked, self._asked = self._asked, []
        in_time = [command for command, at in asked if scored.at - at <= PATIENCE_S]  # the rim answered the others
        if in_time and not known:
            yield self._told(scored)
        for command in in_time:
            yield CommandReported(
                at=scored.at, command=command, verb="send-sample", state="done", result={"sample": scored.frame}
            )

    # ---- what moved ------------------------------------------------------------------------------------------

    def _judge(self, scored: Scored) -> Iterator[QuarantineFilled]:
        """Once enough frames were seen: if even the least strange quarter is strange, everything moved."""
        self._scores.append(scored.score)
        if len(self._scores) < JUDGED_FRAMES:
            return
        quartile = float(np.quantile(self._scores, 0.25))
        self.scope, self._scores = ("global" if quartile > 0 else "novel"), []
        if self.scope == "novel":
            for entry in self.samples.entries:
                entry.clusterable |= entry.episode == self.episode
            yield from self._ask(scored, quartile)
        else:
            yield self._filled(scored, [], quartile)

    def _ask(self, scored: Scored, statistic: float = 0.0) -> Iterator[QuarantineFilled]:
        waiting = self.samples.waiting()
        if self.scope == "novel" and len(waiting) >= ENOUGH and self._since_asked >= ENOUGH_MORE:
            self._since_asked = 0
            yield self._filled(scored, waiting, statistic)

    def _filled(self, scored: Scored, rows: list[int], statistic: float) -> QuarantineFilled:
        return QuarantineFilled(
            at=scored.at,
            episode=self.episode,
            scope=self.scope,
            statistic=statistic,
            samples=tuple(self.samples.entries[row].sample for row in rows),
            values=packed(self.samples.values[rows]),
            memory_distances=packed(self.samples.memory_distances[rows].mean(axis=1)),
        )

    # ---- labels ----------------------------------------------------------------------------------------------

    def _resolved(self, given: LabelAssigned) -> LabelResolved:
        row = self.samples.find(given.sample)
        if row is not None:
            self.samples.entries[row].explained = True  # whatever was said: no class is made of it any more
            if given.verdict == "is":
                self.samples.explain([row])
            values, reason = packed(self.samples.values[row]), ""
        else:
            reason = self._misfit(given)
            values = Float32Array() if reason else given.values
        return LabelResolved(
            at=given.at,
            sample=given.sample,
            revision=given.revision,
            verdict=given.verdict,
            label=given.label,
            by=given.by,
            values=values,
            reason=reason,
        )

    def _misfit(self, given: LabelAssigned) -> str:
        """Why the features that came with a label cannot be used."""
        if not given.values:
            return "the sample is no longer in quarantine, and the label brought no features"
        if given.bundle != self.bundle:
            return f"its features belong to the bundle {given.bundle[:12]}, the device runs {self.bundle[:12]}"
        numbers = floats(given.values)
        if numbers.size != self.dimension or not np.isfinite(numbers).all():
            return f"its features are not {self.dimension} finite numbers"
        return ""
