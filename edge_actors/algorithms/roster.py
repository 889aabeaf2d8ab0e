"""Who is in the memory: labels, origins and ages, who gives way to whom, and the vote; the numbers are another's."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from broker.messages import Float32Array, Uint8Array

from .condensing import redundant
from .votes import UNKNOWN, Origin, Vote, share_of_weights, winner

Row = TypeVar("Row")  # the numbers of one sample, as the arithmetic likes them
FRESH = 10  # samples taken in since the last condensing make another one worth its time


class Roster(Generic[Row]):
    """At most `capacity` samples in the order of their age, of which the bundle's `reference` ones are the first.

    A label can be given another name (`rename`): its samples then vote under that name, and stay as they are.
    With a `quota` the device may add that many samples of a name; with `condense` a full memory first lets go of the
    guesses that it can do without.
    """

    def __init__(
        self,
        labels: Sequence[str],
        dimension: int,
        capacity: int,
        k: int,
        *,
        distance: str = "euclidean",
        confidence: str = "votes",
        quota: int = 0,
        condense: bool = False,
    ) -> None:
        self.k, self.dimension = k, dimension
        self.distance, self.confidence = distance, confidence
        self.reference = self.size = len(labels)
        self.capacity = max(capacity, self.size)
        self.quota, self.condenses = quota, condense
        self.labels: list[str] = list(labels)
        self.origins: list[int] = [Origin.REFERENCE] * self.size
        self.samples: list[str] = [""] * self.size  # ids; reference samples have none
        self.times: list[float] = [0.0] * self.size  # message time of each; reference samples are older than any
        self.names: dict[str, str] = {}
        self._fresh = 0  # taken in since the last condensing

    # ---- asking ----------------------------------------------------------------------------------------------

    def vote(self, x: Row) -> Vote:
        """The k nearest samples of x (D,), their vote, and the nearest reference sample that disagrees.

        What the device learned is no rival: margins have to stay comparable with those of calibration. Of samples
        equally far the older one is nearer; of labels with equally many votes the one with the oldest sample among
        the k wins (the seed, 5.2.2). Raises ValueError for numbers that are not finite.
        """
        if self.size < self.k:
            return Vote(UNKNOWN, 0.0, [], [], 0.0)
        rows, distances = self._nearest(x)
        named = self._named
        labels = [named[row] for row in rows]
        most = labels[0]
        confidence = 1.0
        if labels.count(most) < self.k:
            most = winner(labels, rows)
            if self.confidence == "votes":
                confidence = labels.count(most) / self.k
            else:
                confidence = share_of_weights(labels, distances, most)
            for row, label, distance in zip(rows, labels, distances, strict=True):
                if label != most and row < self.reference:
                    return Vote(most, confidence, distances, labels, distance)
        return Vote(most, confidence, distances, labels, self._rival(x, most))

    def votes(self, many: Iterable[Row]) -> list[str]:
        """The vote for each row of (n, D)."""
        return [self.vote(x).label for x in many]

    def labels_around(self, x: Row) -> list[str]:
        """The labels of the k nearest samples of x (D,) as they were given, without names."""
        return [self.labels[row] for row in self._nearest(x)[0]] if self.size >= self.k else []

    def find(self, sample: str) -> int | None:
        """The row of a sample that was added, by its id."""
        return self.samples.index(sample, self.reference) if sample in self.samples[self.reference :] else None

    def row(self, index: int) -> Row:
        """A copy of the numbers of one row."""
        raise NotImplementedError

    def means(self) -> dict[str, Row]:
        """The mean of each label's samples, under the names they vote by."""
        raise NotImplementedError

    def counts(self) -> dict[str, int]:
        """Samples per label, under the names they vote by."""
        return dict(sorted(Counter(self._named).items()))

    # ---- changing --------------------------------------------------------------------------------------------

    def add(self, x: Row, label: str, origin: Origin, sample: str, at: float = 0.0) -> bool:
        """Takes a sample in, if need be in the place of others; False, and no change, where none may give way to it.

        `at` is its message time; of equally old samples the one taken in first counts as older.
        """
        if self.size == self.capacity and self.condenses and self._fresh >= FRESH:
            self.condense()
        leaving = self._giving_way(self.names.get(label, label), origin)
        if leaving is None:
            return False
        self._drop(leaving)
        place = bisect_right(self.times, at, self.reference)
        self._insert(place, x)
        self.labels.insert(place, label)
        self.origins.insert(place, origin)
        self.samples.insert(place, sample)
        self.times.insert(place, at)
        self.size += 1
        self._fresh += 1
        self._changed(place)
        return True

    def remove(self, index: int) -> None:
        """Takes one row out; those after it move up and so keep their order."""
        self._drop([index])
        self._fresh = max(self._fresh - 1, 0)

    def condense(self) -> int:
        """Lets go of guesses that the rest of the memory recognises anyway; how many. People's samples stay."""
        guesses = [row for row in range(self.reference, self.size) if self.origins[row] == Origin.PSEUDO]
        leaving = redundant(self._named, guesses, self._by_nearness, self.k)
        self._drop(leaving)
        self._fresh = 0
        return len(leaving)

    def rename(self, names: Mapping[str, str]) -> None:
        """Lets the samples of some labels vote under another name; labels that are not in `names` under their own."""
        self.names = dict(names)
        self._changed(self.size)

    def state(self) -> dict[str, Any]:
        """All but the reference, which the bundle holds."""
        own = slice(self.reference, self.size)
        return {
            "rows": self._packed(),
            "labels": self.labels[own],
            "origins": Uint8Array(self.origins[own]),
            "samples": self.samples[own],
            "times": self.times[own],
            "names": dict(self.names),
            "fresh": self._fresh,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to a state, bit for bit."""
        added = len(state["labels"])
        self._unpack(state["rows"])
        self.labels[self.reference :] = state["labels"]
        self.origins[self.reference :] = list(state["origins"])
        self.samples[self.reference :] = state["samples"]
        self.times[self.reference :] = state.get("times", [0.0] * added)  # older versions knew only the order
        self.names = dict(state["names"])
        self._fresh = state.get("fresh", 0)
        self.size = self.reference + added
        self._changed(self.reference)

    # ---- what the arithmetic does ----------------------------------------------------------------------------

    def _nearest(self, x: Row) -> tuple[list[int], list[float]]:
        """Rows and exact distances of the k nearest by (distance, age)."""
        raise NotImplementedError

    def _rival(self, x: Row, winner: str) -> float:
        """The distance to the nearest reference sample of another label; called after `_nearest` of the same x."""
        raise NotImplementedError

    def _by_nearness(self, index: int) -> Iterable[int]:
        """All rows by (distance to this one, age)."""
        raise NotImplementedError

    def _insert(self, index: int, x: Row) -> None:
        raise NotImplementedError

    def _delete(self, rows: Sequence[int]) -> None:
        raise NotImplementedError

    def _packed(self) -> Float32Array:
        """The rows that were added."""
        raise NotImplementedError

    def _unpack(self, rows: Float32Array) -> None:
        raise NotImplementedError

    # ---- inside ----------------------------------------------------------------------------------------------

    def _changed(self, first: int) -> None:
        """Works out again what hangs on rows, labels and names; rows before `first` are as they were."""
        self._named = [self.names.get(label, label) for label in self.labels]

    def _drop(self, rows: Sequence[int]) -> None:
        if not rows:
            return
        self._delete(rows)
        for row in sorted(rows, reverse=True):
            for column in (self.labels, self.origins, self.samples, self.times):
                del column[row]
        self.size -= len(rows)
        self._changed(min(rows))

    def _giving_way(self, name: str, newcomer: Origin) -> list[int] | None:
        """The rows that leave for a newcomer: of its own name where that has used up its quota, else, in a full
        memory, of the largest class. Guesses before people's samples, which give way only to people's; a reference
        sample never does. None where that is not enough.
        """
        may = [row for row in range(self.reference, self.size) if self.origins[row] >= max(newcomer, Origin.PERSON)]
        if self.quota:
            added = self._named[self.reference :].count(name)
            if added >= self.quota:
                own = sorted((row for row in may if self._named[row] == name), key=lambda r: (-self.origins[r], r))
                needed = added - self.quota + 1
                return own[:needed] if len(own) >= needed else None
        if self.size < self.capacity:
            return []
        counts = self.counts()
        return [max(may, key=lambda r: (self.origins[r], counts[self._named[r]], -r))] if may else None
