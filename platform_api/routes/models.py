"""Models: the bundles in the registry."""

from __future__ import annotations

from fastapi import APIRouter

from ingest.errors import StoreAway

from ..errors import RegistryAwayError
from ..problems import documented
from ..schemas import Model, ModelList
from ..stores import TheStores

router = APIRouter(prefix="/models", tags=["models"])


@router.get("", summary="Bundles in the registry", responses=documented(RegistryAwayError))
def models(stores: TheStores) -> ModelList:
    """Every version of every bundle, by model and newest first, with the aliases that point to it."""
    try:
        versions = stores.models.versions()
    except StoreAway as error:
        raise RegistryAwayError(str(error)) from error
    items = [
        Model(model=v.model, version=v.version, digest=v.digest, aliases=sorted(v.aliases), tags=dict(v.tags))
        for v in versions
    ]
    return ModelList(items=items)
