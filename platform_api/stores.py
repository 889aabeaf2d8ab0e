"""What the routes work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from ingest.stores.ports import ModelRegistry, ObjectStore

from .database import Database


@dataclass(frozen=True, slots=True)
class Stores:
    """The database, the pictures and the models."""

    database: Database
    objects: ObjectStore
    models: ModelRegistry


async def _stores(request: Request) -> Stores:
    stores: Stores = request.app.state.stores
    return stores


TheStores = Annotated[Stores, Depends(_stores)]
