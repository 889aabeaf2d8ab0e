"""A scripted validator: sees and says things through the public REST API, and through nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import httpx


@dataclass(frozen=True)
class Answer:
    """What the validator says a sample is."""

    verdict: str
    label: str = ""


class Validator:
    """Labels samples that wait, at most `most` of each device."""

    def __init__(self, api: str, look: Callable[[str, str], Answer], most: dict[str, int]) -> None:
        self._http = httpx.Client(base_url=api, timeout=10.0)
        self._look, self._most = look, dict(most)
        self.said: dict[tuple[str, str], Answer] = {}

    def work(self) -> int:
        """Answers what waits now; how many were answered."""
        before = len(self.said)
        for device, most in self._most.items():
            answered = sum(1 for who, _ in self.said if who == device)
            if answered < most:
                self._answer(device, most - answered)
        return len(self.said) - before

    def _answer(self, device: str, most: int) -> None:
        query: dict[str, str | int] = {"device": device, "pending": "true", "limit": most}
        found = self._http.get("/samples", params=query).raise_for_status().json()
        for sample in found["items"]:
            answer = self._look(device, sample["sample"])
            body = {
                "device": device,
                "sample": sample["sample"],
                "verdict": answer.verdict,
                "label": answer.label,
                "by": "demo-validator",
            }
            self._http.post("/labels", json=body).raise_for_status()
            self.said[device, sample["sample"]] = answer

    def states(self) -> dict[tuple[str, str], str]:
        """The state of every label of ours: queued, published, applied, rejected."""
        states: dict[tuple[str, str], str] = {}
        for device in {device for device, _ in self.said}:
            found = self._http.get("/labels", params={"device": device, "limit": 200}).raise_for_status().json()
            states |= {(device, label["sample"]): label["state"] for label in found["items"]}
        return states

    def close(self) -> None:
        self._http.close()
