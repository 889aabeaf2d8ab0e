"""Hears what a frame resembles; says how strange it is, when the stream drifts and when it is back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from broker.messages import (
    CameraDoubted,
    DriftCleared,
    DriftContinued,
    DriftDetected,
    LabelResolved,
    Neighbours,
    SampleQuarantined,
    Scored,
)

from .algorithms.detector import Detector, Observation
from .algorithms.ending import Ending
from .algorithms.placing import Placing
from .algorithms.scene_gate import SceneGate
from .algorithms.scores import ClassScores, Commissioning, signals
from .algorithms.verdicts import Verdicts
from .arrays import floats
from .runtime.actor import Actor

WORST = 10.0  # severities are capped
COMMISSIONING_SCENES = 60  # as many scenes have to be seen before what they have in common is believed
LONGEST_COMMISSIONING = 4  # times the set number of frames, however few scenes there were
LONGEST_DWELL = 20.0  # frames a scene: what a camera that hardly moved in commissioning counts as
MOST_SAMPLES_TOLD = 256  # ids that one message carries; further ones come with the next

SELDOM = 10  # after as many messages that a drift goes on, only each tenth comes

Inbox = Neighbours | SampleQuarantined | LabelResolved | CameraDoubted
Outbox = Scored | DriftDetected | DriftContinued | DriftCleared


class DriftMonitor(Actor[Inbox, Outbox]):
    """An alarm of any detector begins an episode, named by its frame; `ending` ends it, or the detector that began it
    where that has a rule of its own, once no detector sees the drift any more.

    In the first `commissioning` frames no alarm is raised, and each class's usual score on this stream is learned. A
    camera that dwells is given more of them, until it has shown 60 scenes, but at most four times as many.
    """

    def __init__(
        self,
        scores: ClassScores,
        gate: SceneGate,
        placing: Placing,
        detectors: Sequence[Detector],
        ending: Ending,
        *,
        commissioning: int = 500,
        false_alarm_frames: float = 200_000,
        continue_every: int = 200,
    ) -> None:
        self.scores, self.gate, self.placing = scores, gate, placing
        self.detectors, self.ending = list(detectors), ending
        self.commissioning, self.continue_every = commissioning, continue_every
        self.false_alarm_frames, self.dwell = false_alarm_frames, 1.0
        self.settling = Commissioning()
        self.settled = commissioning == 0
        self.frames = 0  # ever, and of these in commissioning:
        self.commissioned = 0
        self.episode, self.detector = "", self.detectors[0]  # and the one that began it
        self.episode_frames = 0
        self.departure = 0.0  # of the last frame, in drift
        self.verdicts = Verdicts()
        self._samples: list[str] = []  # quarantined since the last message of the episode
        self._scene = ("", 0.0)  # label and score of the scene so far
        self._blind = False  # what the camera shows is no evidence

    def receive(self, message: Inbox) -> Iterator[Outbox]:
        if isinstance(message, SampleQuarantined):
            self._quarantined(message)
            return
        if isinstance(message, LabelResolved):
            self._labelled(message)
            return
        if isinstance(message, CameraDoubted):
            self._blind = bool(message.reasons)
            return
        seen = self._observe(message)
        if not self._blind:
            yield from self._judge(message, seen)
        yield Scored(
            at=message.at,
            frame=message.frame,
            label=message.label,
            confidence=message.confidence,
            distances=message.distances,
            labels=message.labels,
            values=message.values,
            score=seen.score,
            scene=seen.opened,
            in_drift=bool(self.episode),
            episode=self.episode,
            rival=message.rival,
            departure=self.departure,
        )

    def state(self) -> dict[str, Any]:
        return {
            "scores": self.scores.state(),
            "gate": self.gate.state(),
            "placing": self.placing.state(),
            "detectors": {one.name: one.state() for one in self.detectors},
            "ending": self.ending.state(),
            "verdicts": self.verdicts.state(),
            "settling": self.settling.state(),
            "settled": self.settled,
            "dwell": self.dwell,
            "frames": self.frames,
            "commissioned": self.commissioned,
            "episode": self.episode,
            "detector": self.detector.name,
            "episode_frames": self.episode_frames,
            "departure": self.departure,
            "samples": list(self._samples),
            "scene": list(self._scene),
            "blind": self._blind,
        }

    def restore(self, state: dict[str, Any]) -> None:
        if "placing" not in state:
            return  # an earlier version's means nothing here: what is usual is learned anew, the memory stays
        self.scores.restore(state["scores"])
        self.gate.restore(state["gate"])
        for one in self.detectors:
            if one.name in state["detectors"]:  # a new one begins afresh
                one.restore(state["detectors"][one.name])
            if one.name == state["detector"]:
                self.detector = one
        self.placing.restore(state["placing"])
        self.ending.restore(state["ending"])
        self.verdicts.restore(state["verdicts"])
        self.settling.restore(state["settling"])
        self.settled, self.frames, self.dwell = state["settled"], state["frames"], state["dwell"]
        self._expect()
        self.commissioned, self.episode = state["commissioned"], state["episode"]
        self.episode_frames, self.departure = state["episode_frames"], state["departure"]
        self._samples = list(state["samples"])
        self._scene = (state["scene"][0], state["scene"][1])
        self._blind = state.get("blind", False)

    def _judge(self, message: Neighbours, seen: Observation) -> Iterator[Outbox]:
        self.frames += 1
        if not self.settled:
            self._commission(seen)
        elif self.episode:
            yield from self._in_drift(message, seen)
        else:
            yield from self._at_rest(message, seen)

    def _observe(self, message: Neighbours) -> Observation:
        values, distances = floats(message.values), message.distances.numbers()
        shown = signals(message.residual, message.label, message.labels, distances, message.rival)
        opened = not self._blind and self.gate.opens(values)
        if opened:
            self.scores.learn(message.label, shown)
        score = self.scores.score(message.label, shown)
        scene_score = score if self._blind else self.gate.mean(score, opened)
        return Observation(
            message.label,
            message.confidence,
            distances,
            values,
            score,
            scene_score,
            opened,
            self.placing.place(message.label, values, score),
            self.placing.knows(message.label),
            message.at,
        )

    def _quarantined(self, told: SampleQuarantined) -> None:
        self.verdicts.note(told.sample, told.label)
        if told.episode == self.episode and len(self._samples) < MOST_SAMPLES_TOLD:
            self._samples.append(told.sample)

    def _labelled(self, told: LabelResolved) -> None:
        right = self.verdicts.right(told.sample, told.verdict, told.label)
        if right is not None:
            for one in self.detectors:
                one.told(right)

    def _commission(self, seen: Observation) -> None:
        """Learns what is usual here, a scene at a time, and begins to watch when that is done."""
        for one in self.detectors:
            one.learn(seen)
        self.ending.watch(seen)
        label, score = self._scene
        if seen.opened:
            self.placing.learn(seen.label, seen.values)
            if label:
                self.settling.add(label, score)
        self._scene = (seen.label if seen.opened else label, seen.scene_score)
        self.commissioned = self.frames
        enough = self.frames >= self.commissioning and self.settling.scenes >= COMMISSIONING_SCENES
        if enough or self.frames >= LONGEST_COMMISSIONING * self.commissioning:
            self.scores.offsets = self.settling.offsets()
            self.placing.settle()
            for one in self.detectors:
                one.settle()
            self.dwell = min(max(self.frames / max(self.settling.scenes, 1), 1.0), LONGEST_DWELL)
            self._expect()
            self.settled = True

    def _expect(self) -> None:
        """What people want rare are alarms in time; detectors count scenes, and here scenes last `dwell` frames."""
        for one in self.detectors:
            one.expect(self.false_alarm_frames / self.dwell)

    def _at_rest(self, message: Neighbours, seen: Observation) -> Iterator[Outbox]:
        statistics = [(one.update(seen), one) for one in self.detectors]
        self.ending.watch(seen)
        statistic, detector = max(statistics, key=lambda pair: pair[0] / pair[1].threshold)
        if statistic > detector.threshold:
            self.detector = detector
            self.episode, self.episode_frames, self._samples = message.frame, 0, []
            self.ending.begin(self.detector.onset())
            yield DriftDetected(
                at=message.at,
                episode=self.episode,
                frame=message.frame,
                detector=self.detector.name,
                drift_type=self.detector.watches,
                statistic=statistic,
                threshold=self.detector.threshold,
                severity=self._severity(statistic),
                frames=self.frames - self.commissioned,
            )

    def _in_drift(self, message: Neighbours, seen: Observation) -> Iterator[Outbox]:
        self.episode_frames += 1
        statistic = {one.name: one.update(seen) for one in self.detectors}[self.detector.name]
        self.departure, reason = self.ending.update(seen)
        if self.detector.ends_itself:
            reason = f"{self.detector.name} sees it no more" if self.detector.ended() else ""
        if reason and not any(one.holds() for one in self.detectors):
            yield DriftCleared(
                at=message.at,
                episode=self.episode,
                frame=message.frame,
                detector=self.detector.name,
                statistic=statistic if self.detector.ends_itself else self.ending.statistic,
                threshold=self.detector.threshold if self.detector.ends_itself else self.ending.threshold,
                frames=self.episode_frames,
                reason=reason,
            )
            self.episode, self.departure, self._samples = "", 0.0, []
            for one in self.detectors:
                one.reset()
        elif self._is_told():
            yield DriftContinued(
                at=message.at,
                episode=self.episode,
                frame=message.frame,
                detector=self.detector.name,
                statistic=statistic,
                threshold=self.detector.threshold,
                severity=self._severity(statistic),
                frames=self.episode_frames,
                samples=tuple(self._samples),
            )
            self._samples = []

    def _is_told(self) -> bool:
        times, rest = divmod(self.episode_frames, self.continue_every)
        return rest == 0 and (times <= SELDOM or times % SELDOM == 0)

    def _severity(self, statistic: float) -> float:
        return min(statistic / self.detector.threshold, WORST)
