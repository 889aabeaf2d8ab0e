"""What people say of the samples of provisional classes, and the names that follow from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from unicodedata import category

from .votes import UNKNOWN

PROVISIONAL = "novel-"  # a label that begins so was made by the device; people cannot give such labels
LONGEST = 64  # characters of a label
MOST_STATEMENTS = 64  # kept per class, the oldest give way


def can_be_given(label: str) -> bool:
    """Whether people may call a class so: one short line of text that can be written, and no word of the device."""
    if not label or len(label) > LONGEST or label == UNKNOWN or label.startswith(PROVISIONAL):
        return False
    return not any(category(character) in ("Cc", "Cs") for character in label)


class Naming:
    """A provisional class takes the name that most people's statements give it; of equals the one said first."""

    def __init__(self) -> None:
        self._said: dict[str, dict[str, str]] = {}  # provisional label -> sample -> label, in the order said

    def say(self, provisional: str, sample: str, label: str) -> None:
        """Notes that a person says this sample of the class is a `label`."""
        said = self._said.setdefault(provisional, {})
        if sample not in said and len(said) >= MOST_STATEMENTS:
            del said[next(iter(said))]
        said[sample] = label

    def unsay(self, sample: str) -> None:
        """Forgets what was said of a sample."""
        for said in self._said.values():
            said.pop(sample, None)
        self._said = {provisional: said for provisional, said in self._said.items() if said}

    def class_of(self, sample: str) -> str | None:
        """The provisional class of a sample that a person spoke of."""
        return next((provisional for provisional, said in self._said.items() if sample in said), None)

    def names(self) -> dict[str, str]:
        """Provisional label -> name, for the classes that have one."""
        return {provisional: _most(said.values()) for provisional, said in self._said.items()}

    def state(self) -> dict[str, Any]:
        return {provisional: [list(pair) for pair in said.items()] for provisional, said in self._said.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._said = {provisional: dict(pairs) for provisional, pairs in state.items()}


def _most(labels: Iterable[str]) -> str:
    return Counter(labels).most_common(1)[0][0]  # of equals the one met first
