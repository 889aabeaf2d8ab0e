"""Keeps strange frames of a drift aside, for people to look at and for the adapter to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
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
    LabelRequested,
    LabelResolved,
    QuarantineFilled,
    SampleQuarantined,
    Scored,
)

from .algorithms.calibration import UNLIKE
from .algorithms.departure import DEPARTED
from .algorithms.mewma import Places
from .algorithms.naming import PROVISIONAL
from .algorithms.questions import UNSURE, Questions
from .algorithms.scope import WhatMoved
from .algorithms.strange_samples import Entry, StrangeSamples
from .arrays import floats, packed
from .privacy import Picture, Showing
from .runtime.actor import Actor

STRANGE = 1.0  # scores above it are kept, and departures that hardly are usual ones
ENOUGH = 40  # unexplained samples to ask the adapter
ENOUGH_MORE = 10  # new ones to ask it again
RECENTRING = "recentring"  # the kind of adaptation that answers a global drift
AFTERWARDS = 1000  # scenes after something new was learned in which unsure frames are still asked about
DAY_S = 86_400.0
PATIENCE_S = 60.0  # with the next frame, when one was asked for

Inbox = (
    Frame | Scored | CameraDoubted | DriftDetected | DriftCleared | LabelAssigned | AdaptationDecided | CommandIssued
)
Outbox = SampleQuarantined | QuarantineFilled | LabelResolved | LabelRequested | CommandReported


class Quarantine(Actor[Inbox, Outbox]):
    """At most one sample a scene, each unlike those already kept; `limit` of them, also the most an episode may add.

    `showing` makes what may leave the device of a picture.
    `judges` tells a change of everything from something new; without it all that is strange is taken for new.
    """

    def __init__(
        self,
        *,
        bundle: str,
        places: Places,
        k: int,
        usual_distance: float,
        showing: Showing,
        limit: int = 200,
        age_s: float = 7 * DAY_S,
        label_budget: int = 0,
        distance: str = "euclidean",
        judges: bool = True,
    ) -> None:
        self.bundle, self.dimension, self.showing, self.k = bundle, len(places.whitening), showing, k
        self.unlike, self.age_s = UNLIKE * usual_distance, age_s
        self.samples = StrangeSamples(self.dimension, limit, distance)
        self.moved = WhatMoved(places, self.dimension)
        self.questions = Questions(label_budget, usual_distance, k)
        self.judges, self.episode = judges, ""
        self._recentred = False
        self._after = 0  # scenes for which questions go on though the drift is over
        self._frame: Frame | None = None  # the last picture; never part of the state
        self._blind = False  # what the camera shows is no sample of anything
        self._kept_scene = False  # whether this scene gave its sample
        self._added = 0  # samples of this episode
        self._since_asked = ENOUGH_MORE  # samples since the adapter was asked
        self._asked: list[tuple[str, float]] = []  # commands that want to see the next frame, and since when

    def receive(self, message: Inbox) -> Iterator[Outbox]:
        if isinstance(message, Frame):
            self._frame = message
        elif isinstance(message, Scored):
            kept = list(self._scored(message))
            yield from kept
            if self._asked:
                yield from self._show(message, known=any(isinstance(one, SampleQuarantined) for one in kept))
        elif isinstance(message, DriftDetected):
            self.episode, self._added, self._recentred = message.episode, 0, False
            self.moved.begin()
            if not self.judges:
                self.moved.scope = "novel"
        elif isinstance(message, DriftCleared):
            self.episode = ""
            self._after = AFTERWARDS if self.moved.scope == "novel" else 0
        elif isinstance(message, LabelAssigned):
            yield self._resolved(message)
        elif isinstance(message, CommandIssued):
            if message.verb == "send-sample":
                self._asked.append((message.command, message.at))
        elif isinstance(message, CameraDoubted):
            self._blind = bool(message.reasons)
        else:
            self._decided(message)

    def state(self) -> dict[str, Any]:
        return {
            "samples": self.samples.state(),
            "moved": self.moved.state(),
            "questions": self.questions.state(),
            "episode": self.episode,
            "recentred": self._recentred,
            "after": self._after,
            "kept_scene": self._kept_scene,
            "blind": self._blind,
            "added": self._added,
            "since_asked": self._since_asked,
            "asked": list(self._asked),
        }

    def restore(self, state: dict[str, Any]) -> None:
        if "moved" not in state:
            return  # of the first version, which knew too little of its samples to go on with them
        self.samples.restore(state["samples"])
        self.moved.restore(state["moved"])
        self.questions.restore(state["questions"])
        self.episode, self._recentred = state["episode"], state["recentred"]
        self._after, self._blind = state.get("after", 0), state.get("blind", False)
        self._kept_scene, self._added = state["kept_scene"], state["added"]
        self._since_asked = state["since_asked"]
        self._asked = [(command, at) for command, at in state.get("asked", ())]

    def restarted(self) -> None:
        self._asked = []  # the rim has answered them

    # ---- frames ----------------------------------------------------------------------------------------------

    def _scored(self, scored: Scored) -> Iterator[Outbox]:
        if scored.scene:
            self._kept_scene = False
        if self._blind:
            return
        if not scored.in_drift:
            if scored.scene and scored.score <= STRANGE:
                self.moved.accept(floats(scored.values), scored.label, scored.score)
            if self._after:
                self._after -= scored.scene
                if self.questions.due(scored.at, scored.scene):
                    yield from self._ask_about_this(scored)
            return
        seen = (floats(scored.values), scored.label, scored.score, scored.scene)
        if self.judges and self.moved.update(*seen):
            yield from self._judged(scored)
        if self._is_wanted(scored):
            yield self._keep(scored)
            yield from self._fill(scored)
        if self.questions.due(scored.at, scored.scene):
            yield from self._ask(scored)

    def _is_wanted(self, scored: Scored) -> bool:
        return (
            (scored.score > STRANGE or scored.departure > DEPARTED or scored.label.startswith(PROVISIONAL))
            and not self._kept_scene
            and self._added < self.samples.limit
            and len(scored.labels) == self.k
            and self.samples.nearest(floats(scored.values)) > self.unlike
        )

    def _keep(self, scored: Scored) -> SampleQuarantined:
        self._kept_scene = True
        self._added += 1
        self._since_asked += 1
        self.samples.drop_older(scored.at - self.age_s)
        entry = Entry(
            scored.frame, scored.at, scored.episode, scored.label, scored.score, self.moved.scope == "novel"
        )
        entry.departure = scored.departure
        self.samples.add(entry, floats(scored.values), _memory_distance(scored))
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

    def _judged(self, scored: Scored) -> Iterator[QuarantineFilled]:
        own = [entry for entry in self.samples.entries if entry.episode == self.episode]
        for entry in own:
            entry.clusterable = self.moved.scope == "novel" and not entry.told
        if self.moved.scope == "global":
            yield self._filled(scored, [])
        else:
            yield from self._fill(scored)

    def _fill(self, scored: Scored) -> Iterator[QuarantineFilled]:
        enough = len(self.samples.waiting()) >= ENOUGH or any(entry.taken for entry in self.samples.entries)
        if self.moved.scope == "novel" and enough and self._since_asked >= ENOUGH_MORE:
            self._since_asked = 0
            yield self._filled(scored, self.samples.pool())

    def _filled(self, scored: Scored, rows: list[int]) -> QuarantineFilled:
        entries = [self.samples.entries[row] for row in rows]
        accepted = self.moved.accepted
        return QuarantineFilled(
            at=scored.at,
            episode=self.episode,
            scope=self.moved.scope,
            statistic=self.moved.statistic,
            threshold=self.moved.threshold,
            samples=tuple(entry.sample for entry in entries),
            values=packed(self.samples.values[rows]),
            memory_distances=packed(self.samples.memory_distances[rows]),
            departures=Float32Array.of(entry.departure for entry in entries),
            predicted=tuple(entry.predicted for entry in entries),
            taken=tuple(entry.taken for entry in entries),
            window=packed(self.moved.drift.rows()) if self.moved.scope == "global" else Float32Array(),
            accepted=packed(accepted.rows()),
            accepted_labels=tuple(accepted.labels),
        )

    def _decided(self, decided: AdaptationDecided) -> None:
        if decided.kind == RECENTRING:
            self._recentred = decided.outcome == "applied" or (self._recentred and decided.outcome == "rejected")
            self.moved.answered(decided.outcome == "applied")
        elif decided.outcome == "applied":
            self.samples.take(decided.samples, decided.label)
        elif decided.outcome == "rolled-back":
            self.samples.take(decided.samples, "")

    # ---- questions -------------------------------------------------------------------------------------------

    def _ask(self, scored: Scored) -> Iterator[Outbox]:
        if self.moved.scope == "novel" and not self.questions.about_anything:
            if (row := self.questions.densest(self.samples)) is not None:
                yield self._request(scored, row, "dense")
        elif self.moved.scope == "novel":
            yield from self._ask_about_this(scored, "random")
        elif self._recentred:
            yield from self._ask_about_this(scored)

    def _ask_about_this(self, scored: Scored, reason: str = "unsure") -> Iterator[Outbox]:
        """A question about the frame at hand, which is shown to people first; if it is to be unsure, only then."""
        if len(scored.labels) != self.k or (reason == "unsure" and scored.confidence > UNSURE):
            return
        row = self.samples.find(scored.frame)
        if row is None:
            yield self._keep(scored)
            row = len(self.samples) - 1
            self.samples.entries[row].clusterable = False
        yield self._request(scored, row, reason)

    def _request(self, scored: Scored, row: int, reason: str) -> LabelRequested:
        entry = self.samples.entries[row]
        entry.asked = True
        asked = self.questions.note(scored.at)
        return LabelRequested(
            at=scored.at,
            sample=entry.sample,
            episode=entry.episode,
            reason=reason,
            asked=asked,
            budget=self.questions.budget,
        )

    # ---- labels ----------------------------------------------------------------------------------------------

    def _resolved(self, given: LabelAssigned) -> LabelResolved:
        row, like = self.samples.find(given.sample), []
        episode = ""
        if row is not None:
            entry = self.samples.entries[row]
            # Whatever was said, no class is made of it any more; if it was named, its like may still share that name.
            entry.told, entry.clusterable = True, entry.clusterable and given.verdict == "is"
            episode = entry.episode
            if given.verdict == "is" and entry.clusterable:
                like = self.questions.like(self.samples, row)
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
            episode=episode,
            like=tuple(self.samples.entries[one].sample for one in like),
            like_values=packed(self.samples.values[like]),
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


def _memory_distance(scored: Scored) -> float:
    """Mean distance to those of the k neighbours that the device did not put into the memory by itself."""
    distances = scored.distances.numbers()
    others = [gap for gap, label in zip(distances, scored.labels, strict=True) if not label.startswith(PROVISIONAL)]
    return fmean(others or [scored.rival or distances[-1]])
