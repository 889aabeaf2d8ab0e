"""The same on TimescaleDB, where drift events live in chunks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker.messages import Telemetry
from ingest.embedded import Postgres
from ingest.knowledge.notifications import Patience, judge
from tests.knowledge.fleet import Fleet
from tests.postgres import fresh_database

pytestmark = pytest.mark.timescale
PIS = ("pi-1", "pi-2", "pi-3")


@pytest.fixture
def fleet(timescale_server: Postgres) -> Iterator[Fleet]:
    for url in fresh_database(timescale_server):
        with Fleet(url) as fleet:
            yield fleet


def test_from_drift_to_notification_and_back(fleet: Fleet) -> None:
    fleet.appears(*PIS, report_s=1)
    for pi in PIS:
        fleet.drifts(pi, ago_s=3600)
    fleet.works()
    judge(fleet.database, Patience(), ("webhook",))
    for pi in PIS:
        fleet.recovers(pi, ago_s=60)
    fleet.works()
    fleet.database.execute("UPDATE device SET heard_at = heard_at + interval '30 s'")
    for pi in PIS:
        fleet.says(pi, Telemetry())
    fleet.works()
    judge(fleet.database, Patience(), ("webhook",))
    assert fleet.incidents() == [("drift", "residual", "closed", 3)]
    assert fleet.rows("SELECT kind, active FROM v_notification ORDER BY id") == [
        ("incident", False),
        ("incident-closed", True),
    ]
    assert fleet.rows("SELECT episodes, quiet FROM v_drift_statistics") == [(1, 1)] * 3
