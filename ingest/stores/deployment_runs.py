"""Deployments in MLflow: one run each, in one experiment. Points that are logged twice are there once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from ..errors import RegistryError
from .mlflow_link import MlflowLink, pages, quoted, trouble
from .ports import ModelVersion

EXPERIMENT = "tinyml-deployments"
FORGOTTEN = "_forgotten"  # no device is called like this
MOST_POINTS = 1000  # that MLflow takes at once


class Point(NamedTuple):
    """One value of one metric. MLflow keeps a point once, so all four have to be the same each time it is told."""

    name: str
    value: float
    at_ms: int  # wall time
    step: int  # seconds of operation of the device, which never jump


def run_of(link: MlflowLink, device: str, digest: str, version: ModelVersion | None, since_ms: int) -> str:
    """The run of a deployment, which is begun where there is none. Raises RegistryError, StoreAway."""
    experiment = link.experiment(EXPERIMENT)
    same = f"tags.device = {quoted(device)} and tags.digest = {quoted(digest)}"
    with trouble():
        if found := link.client.search_runs([experiment], same, max_results=1):
            return str(found[0].info.run_id)
        tags = {"device": device, "digest": digest}
        if version is not None:
            tags |= {"model": version.model, "model_version": str(version.version)}
        named = f"{version.model} {version.version}" if version is not None else digest[:12]
        run = link.client.create_run(experiment, since_ms, tags, run_name=f"{device} {named}")
        return str(run.info.run_id)


def log(link: MlflowLink, run: str, points: Sequence[Point]) -> None:
    """Adds the points that are not there yet. Raises RegistryError where the run was deleted, and StoreAway."""
    from mlflow.entities import Metric  # noqa: PLC0415  takes a second

    for start in range(0, len(points), MOST_POINTS):
        metrics = [Metric(*point) for point in points[start : start + MOST_POINTS]]
        with trouble():
            link.client.log_batch(run, metrics=metrics, synchronous=True)


def say_running(link: MlflowLink, run: str, running: bool) -> None:
    """Marks a run as going on or ended; one that somebody deleted stays deleted."""
    with suppress(RegistryError), trouble():
        link.client.update_run(run, "RUNNING") if running else link.client.set_terminated(run)


def runs_of_device(link: MlflowLink, device: str) -> list[str]:
    """The runs of a device."""
    experiment = link.found_experiment(EXPERIMENT)
    if experiment is None:
        return []
    with trouble():
        return [run.info.run_id for run in _runs(link.client, experiment, f"tags.device = {quoted(device)}")]


def forget(link: MlflowLink, device: str) -> int:
    """Deletes the runs of a device; returns how many there were.

    MLflow keeps deleted runs until `mlflow gc` is run there, so what names the device is taken out of them before.
    """
    runs = runs_of_device(link, device)
    for run in runs:
        with trouble():
            link.client.update_run(run, name=FORGOTTEN)
            link.client.set_tag(run, "device", FORGOTTEN)
    for run in runs_of_device(link, FORGOTTEN):  # those as well that somebody who was interrupted here has left
        with trouble():
            link.client.delete_run(run)
    return len(runs)


def _runs(client: Any, experiment: str, which: str) -> list[Any]:
    return list(pages(client.search_runs, experiment_ids=[experiment], filter_string=which))
