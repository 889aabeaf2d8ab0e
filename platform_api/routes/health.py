"""Health: whether the API can do its work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from broker.errors import TinymlError

from .. import examples
from ..schemas import Health, Part

router = APIRouter(tags=["health"])
PATIENCE_S = 3.0


class Probe:
    """Asks a store whether it is there: one question at a time, however often and however slowly it answers."""

    def __init__(self, name: str, ask: Callable[[], object]) -> None:
        self.name, self.ask = name, ask
        self._asking: asyncio.Future[object] | None = None

    async def part(self) -> Part:
        """How the store is, after PATIENCE_S at the latest."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(asyncio.to_thread(self.ask))
        await asyncio.wait([self._asking], timeout=PATIENCE_S)
        if not self._asking.done():
            return Part(ok=False, why=f"the {self.name} did not answer within {PATIENCE_S:.0f} seconds")
        try:
            self._asking.result()
        except TinymlError as error:
            return Part(ok=False, why=str(error))
        return Part(ok=True)


NOT_WELL: dict[int | str, dict[str, Any]] = {
    503: {
        "model": Health,
        "description": "The database is away, so nothing can be asked or labelled",
        "content": {"application/json": {"example": examples.NOT_WELL}},
    }
}


@router.get("/health", summary="Health", responses=NOT_WELL)
async def health(request: Request, response: Response) -> Health:
    """What the API needs and how it is. While the broker is away labels wait in the database and nothing is lost;
    without the database the status is 503."""
    probes: dict[str, Probe] = request.app.state.probes
    parts = await asyncio.gather(*(probe.part() for probe in probes.values()))
    told = Health(broker=request.app.state.publisher.state, **dict(zip(probes, parts, strict=True)))
    if not told.database.ok:
        response.status_code = 503
    return told
