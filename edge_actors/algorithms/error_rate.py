"""How often people's labels say that the device was wrong: the one detector that knows the truth, when it comes."""

from __future__ import annotations

from collections.abc import Mapping
from math import log, sqrt
from typing import Any

from .detector import Detector, Observation

FIRST_LABELS = 30  # only learned from, as in Gama et al. 2004
PRIOR = 10.0  # labels that the error on the calibration frames weighs against those first ones
WORSE = 0.2  # the rise of the error rate that is looked for, at least; else twice the rate
LARGEST = 0.95
MOST = 2.0  # thresholds: the sum stops growing, or it would not come down when the device is right again


class ErrorRate(Detector):
    """A Bernoulli CUSUM (Reynolds and Stoumbos 1999) of labels that say "wrong" against labels that say "right".

    The usual rate is learned from the first 30 labels and `usual_error`, with one standard error on top; as in the
    drift detection method of Gama et al. 2004 nothing is judged before. Its time is counted in labels: the threshold
    log(n) lets n labels pass between false alarms (Lorden 1971), n being the setting that others count scenes by.
    """

    name, watches, ends_itself = "error-rate", "error-rate", True

    def __init__(self, usual_error: float, labels_between_false_alarms: float = 200_000) -> None:
        self.threshold = log(labels_between_false_alarms)
        self._labels, self._wrong = 0, PRIOR * usual_error
        self._value = 0.0

    def told(self, right: bool) -> None:
        if self._labels < FIRST_LABELS:
            self._labels += 1
            self._wrong += not right
            return
        usual, worse = self.rates()
        likelier = log((1 - worse) / (1 - usual)) if right else log(worse / usual)
        self._value = min(max(0.0, self._value + likelier), MOST * self.threshold)

    def rates(self) -> tuple[float, float]:
        """The usual error rate, and the one that would be drift."""
        n = self._labels + PRIOR
        mean = (self._wrong + 0.5) / (n + 1)
        usual = min(mean + sqrt(mean * (1 - mean) / n), LARGEST - 0.1)
        return usual, min(max(usual + WORSE, 2 * usual), LARGEST)

    def update(self, seen: Observation) -> float:
        """The statistic as labels left it; frames say nothing here."""
        return self._value

    def holds(self) -> bool:
        return self._value > 0

    def ended(self) -> bool:
        return self._value == 0

    def reset(self) -> None:
        self._value = 0.0

    def state(self) -> dict[str, Any]:
        return {"labels": self._labels, "wrong": self._wrong, "value": self._value}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._labels, self._wrong, self._value = state["labels"], state["wrong"], state["value"]
