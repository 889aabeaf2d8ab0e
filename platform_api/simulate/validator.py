"""People who label what the simulated devices quarantined: through the REST API, and through nothing else."""

from __future__ import annotations

import asyncio
import time
from random import Random

import httpx

from ..errors import SimulateError
from .contents import CLASSES
from .fleet import Fleet

TIMEOUT_S = 10.0


class Validator:
    """Gives so many labels a second, as long as there are samples and the fleet makes records."""

    def __init__(self, fleet: Fleet, api: str, token: str, per_s: float) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(base_url=api, headers=headers, timeout=TIMEOUT_S)
        self.fleet, self.per_s = fleet, per_s
        self.failed = 0  # requests that were not answered with a label
        self.why = ""
        self._chance = Random(fleet.settings.seed)  # noqa: S311

    async def check(self) -> None:
        """Raises SimulateError where there is no API that answers."""
        try:
            (await self._http.get("/labels", params={"limit": 1})).raise_for_status()
        except httpx.HTTPError as error:
            raise SimulateError(f"the API at {self._http.base_url} cannot be used: {error}") from None

    async def run(self) -> None:
        """Labels until it is cancelled."""
        try:
            while True:
                await asyncio.sleep(1 / self.per_s)
                if self.fleet.samples and self.fleet.phase == "making":
                    await self._label(*self.fleet.samples.popleft())
        finally:
            await self._http.aclose()

    async def _label(self, device: str, sample: str) -> None:
        said = {
            "device": device,
            "sample": sample,
            "verdict": "is",
            "label": self._chance.choice(CLASSES),
            "by": "simulate",
        }
        self.fleet.posted[device, sample] = time.monotonic()
        try:
            answer = await self._http.post("/labels", json=said)
            answer.raise_for_status()
            self.fleet.tally.labels_posted += 1
        except httpx.HTTPError as error:
            # The API may have kept it before the answer was lost; then the device proves it, and nobody waits for it.
            self.fleet.posted.pop((device, sample), None)
            self.failed += 1
            self.why = str(error) or type(error).__name__
