"""The REST API as an application; nothing happens on import."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import tempfile
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse

from . import problems
from .access import Gate
from .broker_link import Link
from .desk import Desk
from .feedback import Publisher
from .routes import (
    adaptations,
    blobs,
    bundles,
    devices,
    drift,
    health,
    incidents,
    labels,
    models,
    notifications,
    packages,
    samples,
)
from .routes.health import Probe
from .schemas import Part
from .stores import Stores

log = logging.getLogger(__name__)

ABOUT = """What the fleet does, and what people say about what it found.

Devices that drift keep strange frames aside as **samples**. A person says what a sample is with `POST /labels`; the
label is safe in the database from then on, is published to the device, and its state becomes `applied` only once the
device has proved that a snapshot of its memory holds it.

Lists come in pages, the latest first: `next` of a page is the `after` of the following one. Whatever goes wrong is
told as problem details (RFC 9457)."""

TAGS: list[dict[str, Any]] = [
    {"name": "devices", "description": "Who is in the fleet, who is there, what goes on."},
    {"name": "drift", "description": "Episodes in which a device's pictures did not look like what it knows."},
    {"name": "incidents", "description": "The same on many devices within a while."},
    {"name": "notifications", "description": "What a person should know, and what to do."},
    {"name": "samples", "description": "Strange frames kept aside for a person."},
    {"name": "labels", "description": "What people say samples are, and how far that has come."},
    {"name": "adaptations", "description": "What devices changed in their own memory, and why."},
    {"name": "models", "description": "Bundles in the registry."},
    {"name": "packages", "description": "Files that people carry from devices that have no link."},
    {"name": "health", "description": "Whether the API can do its work."},
]


def create_app(stores: Stores, link: Link, token: str = "", desk: Desk | None = None) -> FastAPI:
    """The API on these stores. While it runs, it publishes labels over `link`; with a token, only its bearer may
    change something, and without one only clients on this machine are answered."""
    publisher = Publisher(stores.database, link)
    desk = desk or Desk(stores, Path(tempfile.gettempdir()) / f"tinyml-packages-{os.getuid()}", link.broker)

    def ended(publishing: asyncio.Task[None]) -> None:
        if not publishing.cancelled() and (error := publishing.exception()) is not None:
            log.critical("the publisher of labels failed", exc_info=error)
            publisher.state = Part(ok=False, why="the publisher of labels failed; the log says why")
            app.state.publisher_failed = True  # the process leaves

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        publishing = asyncio.create_task(publisher.run())
        publishing.add_done_callback(ended)
        desk.start()
        try:
            yield
        finally:
            publishing.cancel()
            await asyncio.wait([publishing])
            await asyncio.to_thread(desk.stop)
            stores.database.close()

    app = describe(lifespan=lifespan)
    app.add_middleware(Gate, any_host=bool(token), larger={("POST", "/packages"): desk.limits.packed_bytes})
    app.state.publisher_failed = False
    app.state.stores, app.state.publisher, app.state.token, app.state.desk = stores, publisher, token, desk
    app.state.probes = {
        "database": Probe("database", lambda: stores.database.row("ping")),
        "objects": Probe("object store", lambda: stores.objects.stat("health")),
        "registry": Probe("model registry", stores.models.versions),
    }
    return app


def describe(**options: Any) -> FastAPI:
    """The API's routes and documentation, without anything to work on."""
    app = FastAPI(
        title="TinyMLOps",
        version=version("tinymlops"),
        description=ABOUT,
        openapi_tags=TAGS,
        redoc_url=None,
        **options,
    )
    problems.install(app)
    for module in (
        devices,
        blobs,
        drift,
        incidents,
        notifications,
        samples,
        labels,
        adaptations,
        models,
        bundles,
        packages,
        health,
    ):
        app.include_router(module.router)

    @app.get("/", include_in_schema=False)
    async def root(request: Request) -> RedirectResponse:
        return RedirectResponse(request.scope.get("root_path", "") + "/docs")

    return app
