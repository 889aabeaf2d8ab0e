"""The model registry on MLflow: a server, or SQLite and a folder beside it.

A bundle is one version of a registered model; its artifact is the bundle file, its identity the tag `digest`.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import RegistryError, StoreAway
from .ports import ModelVersion

EXPERIMENT = "tinyml-bundles"
FOLDER = "bundle"  # where the bundle file lies among a version's artifacts
FILE = "file_sha256"  # the tag that tells whether an artifact is still what was registered
# No usage reports, no progress bars, and no minutes of silent retries.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class MlflowRegistry:
    """Connects when it is first used: importing MLflow takes a second."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._made: Any = None

    def register(self, bundle: Path, model: str, tags: Mapping[str, str], alias: str = "") -> ModelVersion:
        """The version that holds this bundle, the same one when it was registered before."""
        sha256 = _sha256(bundle)
        tags = {"digest": sha256, **tags, FILE: sha256}
        version = self.by_digest(model, tags["digest"]) or self._add(bundle, model, tags)
        if not alias:
            return version
        with _trouble():
            self._client.set_registered_model_alias(model, alias, str(version.version))
        return self.by_alias(model, alias) or version

    def by_alias(self, model: str, alias: str) -> ModelVersion | None:
        """The version an alias such as `champion` points to."""
        with _trouble(absent=("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")):
            return _version(self._client.get_model_version_by_alias(model, alias))
        return None

    def by_digest(self, model: str, digest: str) -> ModelVersion | None:
        """The version that holds the bundle of this digest."""
        with _trouble():
            found = self._client.search_model_versions(f"name = {_quoted(model)} and tags.digest = {_quoted(digest)}")
            if found:  # a search leaves the aliases out
                return _version(self._client.get_model_version(model, found[0].version))
        return None

    def versions(self) -> list[ModelVersion]:
        """Every version of every model: by model, the newest first."""
        with _trouble():
            named = {model.name: model.aliases for model in _all(self._client.search_registered_models)}
            found = [_version(version) for version in _all(self._client.search_model_versions)]
        # A search does not say which aliases point to a version; the models do.
        return [
            replace(v, aliases=tuple(sorted(a for a, number in named[v.model].items() if int(number) == v.version)))
            for v in sorted(found, key=lambda v: (v.model, -v.version))
            if v.model in named
        ]

    def fetch(self, version: ModelVersion, folder: Path) -> Path:
        """Brings the bundle file of a version into a folder and returns its path."""
        folder.mkdir(parents=True, exist_ok=True)
        with _trouble():
            run = self._client.get_model_version(version.model, str(version.version)).run_id
            (kept,) = self._client.list_artifacts(run, FOLDER)
            path = Path(self._client.download_artifacts(run, kept.path, str(folder)))
        if _sha256(path) != version.tags.get(FILE):
            raise RegistryError(f"{version.model} version {version.version} does not hold what was registered")
        return path

    @property
    def _client(self) -> Any:
        if self._made is None:
            for name, value in QUIET.items():
                os.environ.setdefault(name, value)
            logging.getLogger("mlflow").setLevel(logging.WARNING)
            from mlflow import MlflowClient  # noqa: PLC0415  takes a second, and only registration needs it

            with _trouble():
                self._made = MlflowClient(self.url, self.url)
        return self._made

    def _add(self, bundle: Path, model: str, tags: Mapping[str, str]) -> ModelVersion:
        with _trouble(absent=("RESOURCE_ALREADY_EXISTS",)):
            self._client.create_registered_model(model)
        with _trouble():
            run = self._client.create_run(self._experiment(), run_name=f"{model} {tags['digest'][:12]}").info
            self._client.log_artifact(run.run_id, str(bundle), FOLDER)
            source = f"{run.artifact_uri}/{FOLDER}"
            made = self._client.create_model_version(model, source, run.run_id, tags=dict(tags))
            self._client.set_terminated(run.run_id)
        return _version(made)

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=_artifacts_beside(self.url)))


def _artifacts_beside(url: str) -> str | None:
    """The folder for artifacts of an embedded registry; None leaves it to the server."""
    if not url.startswith("sqlite:///"):
        return None
    return (Path(url.removeprefix("sqlite:///")).absolute().parent / "artifacts").as_uri()


def _all(search: Callable[..., Any]) -> Iterator[Any]:
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        if not (token := page.token):
            return


def _version(found: Any) -> ModelVersion:
    tags = dict(found.tags)
    return ModelVersion(found.name, int(found.version), tags.get("digest", ""), tags, tuple(found.aliases))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RegistryError(f"cannot read {path}: {error.strerror}") from None


def _quoted(text: str) -> str:
    if not text or "'" in text:
        raise RegistryError(f"{text!r} is not a name of a model")
    return f"'{text}'"


@contextlib.contextmanager
def _trouble(absent: tuple[str, ...] = ()) -> Iterator[None]:
    """Turns MLflow's errors into ours; those in `absent` mean that there is nothing, and end the block quietly."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415  see above

    try:
        yield
    except MlflowException as error:
        if error.error_code in absent:
            return
        sentence = " ".join(str(error).split())
        if error.error_code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"):
            raise StoreAway("model registry", sentence) from error
        raise RegistryError(f"the model registry refuses: {sentence}") from error
