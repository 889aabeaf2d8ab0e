"""An empty model registry: making its tables takes seconds, so it is made once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from ingest.stores.models import MlflowRegistry


def empty_registry(folder: Path) -> str:
    """The URL of a registry of one's own in the folder."""
    (folder / "mlflow.db").write_bytes(_made())
    return f"sqlite:///{folder / 'mlflow.db'}"


@cache
def _made() -> bytes:
    with TemporaryDirectory() as folder:
        MlflowRegistry(f"sqlite:///{folder}/mlflow.db").versions()
        return (Path(folder) / "mlflow.db").read_bytes()
