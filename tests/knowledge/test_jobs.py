"""`tinyml ingest maintain` does it all, from records to a webhook, and may be killed and run anywhere."""

from __future__ import annotations

import json
from threading import Thread

import pytest

from ingest import cli
from ingest.settings import IngestSettings
from ingest.upkeep import Upkeep
from ingest.wiring import JOBS
from tests.knowledge.fleet import Fleet
from tests.knowledge.servers import Web

NAMES = ["presence", "episodes", "incidents", "notifications", "delivery"]


def test_maintain_brings_a_drift_of_three_devices_to_a_webhook(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    for pi in ("pi-1", "pi-2", "pi-3"):
        fleet.appears(pi)
        fleet.drifts(pi, "e/1 ü")
    with Web() as web:
        arguments = ["maintain", "--database", fleet.url, "--webhook", web.url, "--only", *NAMES]
        for _ in range(3):
            assert cli.main(arguments) == 0
        (post,) = web.posts
    assert json.loads(post.body)["title"] == "Incident: residual drift on 3 of 3 devices"
    assert fleet.rows("SELECT name FROM job WHERE done ORDER BY name") == [(name,) for name in sorted(NAMES)]


def test_several_that_do_the_jobs_at_once_tell_once(fleet: Fleet) -> None:
    for pi in ("pi-1", "pi-2", "pi-3"):
        fleet.appears(pi)
        fleet.drifts(pi)
    jobs = [job for job in JOBS if job.name in NAMES]
    outcomes: list[int] = []

    def run() -> None:
        outcomes.extend(Upkeep(IngestSettings(database=fleet.url), jobs).once(NAMES) for _ in range(4))

    threads = [Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(outcomes) == {0}
    assert fleet.incidents() == [("drift", "residual", "open", 3)]
    assert fleet.rows("SELECT kind, times FROM v_notification") == [("incident", 1)]


def test_settings_of_incidents_reach_the_jobs(fleet: Fleet) -> None:
    for pi in ("pi-1", "pi-2"):
        fleet.appears(pi)
        fleet.drifts(pi)
    assert cli.main(["maintain", "--database", fleet.url, "--only", *NAMES]) == 0
    assert fleet.incidents() == []
    fleet.database.execute("UPDATE episode_state SET clustered = false")
    said = ["--incident-devices", "2", "--notify-mute", "incident"]
    assert cli.main(["maintain", "--database", fleet.url, *said, "--only", *NAMES]) == 0
    assert fleet.incidents() == [("drift", "residual", "open", 2)]
    assert fleet.rows("SELECT * FROM v_notification") == []
