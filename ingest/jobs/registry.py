"""Tells the model registry what became of deployments: a run each, what devices adapted and met as its metrics.

Records are read in the order they were received from where the last run of the job ended. Points follow from records
alone, and MLflow keeps a point once: so what is told again after an interruption changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from ..deployments import bundles
from ..deployments.bundles import DIGEST
from ..errors import RegistryError
from ..stores import deployment_runs
from ..stores.deployment_runs import Point
from ..stores.ports import ModelVersion
from ..stores.queries import query
from .job import Job, Site

SQL = "ingest.deployments"
LAG_S = 60.0  # births and the records of their boot come different ways
PAGE, MOST_PAGES = 500, 8  # records of each kind at once, and pages in one run of the job
LATEST_MS, LATEST_STEP = 1 << 43, 1 << 53  # whatever a device may claim
EARLIEST = datetime.min.replace(tzinfo=UTC)
Key = tuple[str, str]  # device and digest


class Row(NamedTuple):
    """A record, whatever its kind; the last four mean what its source says."""

    received_at: datetime
    device: str
    boot: str
    seq: int
    at: datetime
    op_s: float
    what: str
    first: float | None
    second: float | None
    third: float | None


@dataclass
class Deployment:
    """What MLflow was told of a deployment, and what it is to be told now."""

    device: str
    digest: str
    run_id: str = ""
    running: bool = True
    counts: dict[str, int] = field(default_factory=dict)
    version: ModelVersion | None = None
    since: datetime | None = None
    until: datetime | None = None
    points: list[Point] = field(default_factory=list)

    def lived(self, at: datetime) -> None:
        """Something of it happened then."""
        self.since = min(self.since or at, at)
        self.until = max(self.until or at, at)

    def add(self, row: Row, name: str, value: float | None) -> None:
        """A point of a metric, where there is a value; records hold nothing but finite numbers."""
        if value is not None:
            at_ms = min(max(0, round(row.at.timestamp() * 1000)), LATEST_MS)
            self.points.append(Point(name, value, at_ms, int(min(max(0.0, row.op_s), LATEST_STEP))))

    def count(self, row: Row, name: str) -> None:
        """A metric that grows by one."""
        self.counts[name] = self.counts.get(name, 0) + 1
        self.add(row, name, self.counts[name])


def _adapted(deployment: Deployment, row: Row) -> None:
    deployment.count(row, f"adaptations_{row.what.replace('-', '_')}")
    for name, value in (("accuracy_before", row.first), ("accuracy_after", row.second), ("memory", row.third)):
        deployment.add(row, name, value)


def _drifted(deployment: Deployment, row: Row) -> None:
    deployment.count(row, "drifts_begun" if row.what == "begin" else "drifts_ended")
    if row.what == "begin":
        deployment.add(row, "drift_statistic", row.first)


def _labelled(deployment: Deployment, row: Row) -> None:
    deployment.count(row, f"labels_{row.what}")


def _began(_deployment: Deployment, _row: Row) -> None:
    """That there is a deployment is all that a birth says."""


SOURCES: dict[str, Callable[[Deployment, Row], None]] = {
    "new_bundles": _began,
    "new_adaptations": _adapted,
    "new_drifts": _drifted,
    "new_labels": _labelled,
}
OUTCOMES = {"applied", "rolled-back", "rejected"}  # of adaptations; a metric for whatever else would be a leak


def tell(site: Site, lag_s: float = LAG_S) -> str:
    """Logs what is new. Raises IngestError and psycopg.Error; then the next run goes on from the same record."""
    horizon = site.database.execute(query("horizon", SQL), [lag_s]).fetchone()
    assert horizon is not None
    records, unknown, told = 0, 0, set[Key]()
    for _ in range(MOST_PAGES):
        page = {source: _new(site, source, horizon[0]) for source in SOURCES}
        if not any(page.values()):
            break
        deployments, lost = _sorted_out(site, page)
        _log(site, deployments.values())
        _note(site, page, deployments.values())
        records += sum(len(rows) for source, rows in page.items() if source != "new_bundles")
        unknown += lost
        told |= deployments.keys()
    if not told and not unknown:
        return ""
    nobody = f"; {unknown} of boots that never said their bundle" if unknown else ""
    return f"{records} records of {len(told)} deployments{nobody}"


def _new(site: Site, source: str, horizon: datetime) -> list[Row]:
    mark = site.database.execute(query("read_mark", SQL), [source]).fetchone()
    values = {"mark": mark[0] if mark else EARLIEST, "horizon": horizon, "most": PAGE}
    found = site.database.execute(query(source, SQL), values).fetchall()
    return sorted(Row(*row) for row in found)  # what is counted has to be counted in one order


def _sorted_out(site: Site, page: dict[str, list[Row]]) -> tuple[dict[Key, Deployment], int]:
    """Each record to its deployment; and how many have none."""
    every = [row for rows in page.values() for row in rows]
    digest_of = bundles.of_boots(site.database, {(row.device, row.boot) for row in every})
    known = _known(site, {row.device for row in every})
    touched: dict[Key, Deployment] = {}
    lost = 0
    for source, rows in page.items():
        for row in rows:
            if not DIGEST.fullmatch(digest := digest_of[row.device, row.boot]):
                lost += 1
                continue
            key = (row.device, digest)
            deployment = touched.setdefault(key, known.get(key) or Deployment(row.device, digest))
            deployment.lived(row.at)
            if source != "new_adaptations" or row.what in OUTCOMES:
                SOURCES[source](deployment, row)
    return touched, lost


def _known(site: Site, devices: Iterable[str]) -> dict[Key, Deployment]:
    rows = site.database.execute(query("known_deployments", SQL), [sorted(devices)]).fetchall()
    return {
        (device, digest): Deployment(device, digest, run_id, running, dict(counts))
        for device, digest, run_id, running, counts in rows
    }


def _log(site: Site, deployments: Iterable[Deployment]) -> None:
    versions: dict[str, ModelVersion | None] = {}
    for deployment in deployments:
        if deployment.digest not in versions:
            versions[deployment.digest] = site.registry.by_digest("", deployment.digest)
        deployment.version = versions[deployment.digest]
        try:
            if not deployment.run_id:
                _begin(site, deployment)
            deployment_runs.log(site.registry, deployment.run_id, deployment.points)
        except RegistryError:  # somebody deleted the run: the deployment goes on in another one
            _begin(site, deployment)
            deployment_runs.log(site.registry, deployment.run_id, deployment.points)


def _begin(site: Site, deployment: Deployment) -> None:
    assert deployment.since is not None
    since_ms = max(0, round(deployment.since.timestamp() * 1000))
    deployment.run_id = deployment_runs.run_of(
        site.registry, deployment.device, deployment.digest, deployment.version, since_ms
    )


def _note(site: Site, page: dict[str, list[Row]], deployments: Iterable[Deployment]) -> None:
    """All that was told, and up to where: in one transaction."""
    with site.database.transaction(), site.database.cursor() as cursor:
        for deployment in deployments:
            cursor.execute(query("write_deployment", SQL), _values(deployment))
        for source, rows in page.items():
            if rows:
                cursor.execute(query("write_mark", SQL), [source, rows[-1].received_at])
    _say_which_run(site, {deployment.device for deployment in deployments})


def _values(deployment: Deployment) -> dict[str, Any]:
    version = deployment.version
    return {
        "device": deployment.device,
        "digest": deployment.digest,
        "run_id": deployment.run_id,
        "model": version.model if version else "",
        "version": version.version if version else None,
        "since": deployment.since,
        "until": deployment.until,
        "counts": Jsonb(deployment.counts),
    }


def _say_which_run(site: Site, devices: Iterable[str]) -> None:
    """A run ends when its device runs another bundle, and goes on when the bundle comes back."""
    present: dict[str, str] = dict(site.database.execute(query("present_bundles", SQL), [sorted(devices)]).fetchall())
    groups: defaultdict[str, list[Deployment]] = defaultdict(list)
    for deployment in _known(site, present).values():
        groups[deployment.device].append(deployment)
    for device, those in groups.items():
        for deployment in those:
            running = deployment.digest == present[device]
            if present[device] and running != deployment.running:
                deployment_runs.say_running(site.registry, deployment.run_id, running)
                site.database.execute(query("write_running", SQL), [running, device, deployment.digest])


JOB = Job("mlflow", "what devices adapted and met, as metrics of their deployments in the model registry", 60.0, tell)
