"""The model registry on MLflow.

A bundle is one version of a registered model. Its run holds the bundle file, each part of it beside that, how it was
made as parameters, and how well it does as metrics. Its identity is the tag `digest`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import RegistryError
from ..training_report import TrainingReport
from .deployment_runs import Point, forget, log, runs_of_device
from .mlflow_link import ABSENT, MlflowLink, pages, quoted, trouble
from .ports import ModelVersion

EXPERIMENT = "tinyml-bundles"
FOLDER = "bundle"  # where the bundle file lies among a version's artifacts
PARTS, TRAINING = "parts", "training"  # and where its parts do, and what was told of its training
MOST_PARAMETER, MOST_PARAMETERS = 6000, 100  # characters of one, and how many at once
FILE = "file_sha256"  # the tag that tells whether an artifact is still what was registered


class MlflowRegistry(MlflowLink):
    """Which bundles exist, and which one is the champion."""

    def register(
        self,
        bundle: Path,
        model: str,
        tags: Mapping[str, str],
        alias: str = "",
        *,
        parts: Mapping[str, bytes] | None = None,
        about: str = "",
    ) -> ModelVersion:
        """The version that holds this bundle, the same one when it was registered before.

        `parts` are kept as artifacts beside the file; `about` is what people read of the version.
        """
        sha256 = _sha256(bundle)
        tags = {"digest": sha256, **tags, FILE: sha256}
        version = self.by_digest(model, tags["digest"]) or self._add(bundle, model, tags, parts or {}, about)
        return self.promote(model, version.version, alias) if alias else version

    def promote(self, model: str, version: int, alias: str) -> ModelVersion:
        """Points an alias to a version from now on. Raises RegistryError where there is no such version."""
        self._by_number(model, version)
        with trouble():
            self.client.set_registered_model_alias(model, alias, str(version))
        return self._by_number(model, version)

    def find(self, reference: str) -> ModelVersion:
        """The version that MODEL@ALIAS or MODEL/VERSION means. Raises RegistryError where there is none."""
        model, at, alias = reference.partition("@")
        if at:
            if (found := self.by_alias(model, alias)) is None:
                raise RegistryError(f"no version of {model!r} has the alias {alias!r}; see tinyml ingest models")
            return found
        model, _, number = reference.rpartition("/")
        if not model or not number.isdecimal():
            raise RegistryError(f"{reference!r} reads neither MODEL@ALIAS nor MODEL/VERSION")
        return self._by_number(model, int(number))

    def by_alias(self, model: str, alias: str) -> ModelVersion | None:
        """The version an alias such as `champion` points to."""
        with trouble(absent=ABSENT):
            return _version(self.client.get_model_version_by_alias(model, alias))
        return None

    def by_digest(self, model: str, digest: str) -> ModelVersion | None:
        """The version that holds the bundle of this digest; any model's where `model` is empty, the newest first."""
        named = f"name = {quoted(model)} and " if model else ""
        with trouble():
            found = self.client.search_model_versions(f"{named}tags.digest = {quoted(digest)}")
            if found:  # a search leaves the aliases out
                newest = max(found, key=lambda version: version.creation_timestamp)
                return _version(self.client.get_model_version(newest.name, newest.version))
        return None

    def versions(self) -> list[ModelVersion]:
        """Every version of every model: by model, the newest first."""
        with trouble():
            named = {model.name: model.aliases for model in pages(self.client.search_registered_models)}
            found = [_version(version) for version in pages(self.client.search_model_versions)]
        # A search does not say which aliases point to a version; the models do.
        return [
            replace(v, aliases=tuple(sorted(a for a, number in named[v.model].items() if int(number) == v.version)))
            for v in sorted(found, key=lambda v: (v.model, -v.version))
            if v.model in named
        ]

    def note_making(
        self,
        version: ModelVersion,
        parameters: Mapping[str, str],
        accuracy: float | None,
        report: TrainingReport | None = None,
    ) -> None:
        """How a version was built and trained, on the run it came from; said again it changes nothing."""
        run = self.run_of(version)
        assert version.made_at is not None
        made_ms = round(version.made_at.timestamp() * 1000)
        points = [] if accuracy is None else [Point("calibration_accuracy", accuracy, made_ms, 0)]
        if report is not None:
            points += [Point(*named, at, n) for n, at, named in _passes(report)]
            last = len(report.passes)
            points += [Point(name, value, made_ms, last) for name, value in report.results.items()]
            parameters = {**parameters, **report.parameters}
            with trouble():
                self._keep(run, {"report.json": report.text, "confusion.csv": report.confusion}, TRAINING)
        self._say_parameters(run, parameters)
        log(self, run, points)

    def _say_parameters(self, run: str, parameters: Mapping[str, str]) -> None:
        from mlflow.entities import Param  # noqa: PLC0415  takes a second

        params = [Param(name, value[:MOST_PARAMETER]) for name, value in sorted(parameters.items())]
        with trouble():
            for start in range(0, len(params), MOST_PARAMETERS):
                self.client.log_batch(run, params=params[start : start + MOST_PARAMETERS], synchronous=True)

    def run_of(self, version: ModelVersion) -> str:
        """The id of the run that a version came from."""
        with trouble():
            return str(self.client.get_model_version(version.model, str(version.version)).run_id)

    def fetch(self, version: ModelVersion, folder: Path) -> Path:
        """Brings the bundle file of a version into a folder and returns its path. Raises RegistryError, StoreAway."""
        folder.mkdir(parents=True, exist_ok=True)
        with trouble():
            run = self.run_of(version)
            kept = self.client.list_artifacts(run, FOLDER)
            if len(kept) != 1:
                raise RegistryError(
                    f"{version.model} version {version.version} was not registered by tinyml, or its file is gone"
                )
            path = Path(self.client.download_artifacts(run, kept[0].path, str(folder)))
        if _sha256(path) != version.tags.get(FILE):
            raise RegistryError(f"{version.model} version {version.version} does not hold what was registered")
        return path

    def forget_device(self, device: str) -> int:
        """Deletes what is kept of one device: the runs of its deployments. Returns how many there were."""
        return forget(self, device)

    def of_device(self, device: str) -> int:
        """How many runs of deployments there are of a device."""
        return len(runs_of_device(self, device))

    def _by_number(self, model: str, version: int) -> ModelVersion:
        with trouble(absent=ABSENT):
            return _version(self.client.get_model_version(model, str(version)))
        raise RegistryError(f"{model!r} has no version {version}; see tinyml ingest models")

    def _add(
        self, bundle: Path, model: str, tags: Mapping[str, str], parts: Mapping[str, bytes], about: str
    ) -> ModelVersion:
        with trouble(absent=("RESOURCE_ALREADY_EXISTS",)):
            self.client.create_registered_model(model)
        experiment = self.experiment(EXPERIMENT)
        with trouble():
            run = self.client.create_run(experiment, run_name=f"{model} {tags['digest'][:12]}").info
            self.client.log_artifact(run.run_id, str(bundle), FOLDER)
            self._keep(run.run_id, parts, PARTS)
            source = f"{run.artifact_uri}/{FOLDER}"
            made = self.client.create_model_version(
                model, source, run.run_id, tags=dict(tags), description=about or None
            )
            self.client.set_terminated(run.run_id)
        return _version(made)

    def _keep(self, run: str, files: Mapping[str, bytes], where: str) -> None:
        with TemporaryDirectory(prefix="tinyml-artifacts-") as folder:
            for name, data in files.items():
                (Path(folder) / name).write_bytes(data)
            if files:
                self.client.log_artifacts(run, folder, where)


def _passes(report: TrainingReport) -> Iterator[tuple[int, int, tuple[str, float]]]:
    """Number of the pass from 1, when it ended, and a measure of it."""
    for number, (measures, at_ms) in enumerate(zip(report.passes, report.passes_at_ms, strict=True), start=1):
        for named in measures.items():
            yield number, at_ms, named


def _version(found: Any) -> ModelVersion:
    tags = dict(found.tags)
    made = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
    return ModelVersion(found.name, int(found.version), tags.get("digest", ""), tags, tuple(found.aliases), made)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RegistryError(f"cannot read {path}: {error.strerror}") from None
