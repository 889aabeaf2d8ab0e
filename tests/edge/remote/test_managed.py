"""A whole device that is managed over a real broker."""

from __future__ import annotations

import json

from broker.messages import Birth, CommandReported, ConfigDesired, SampleQuarantined, SnapshotTaken
from tests.edge.remote.site import Site
from tests.support import wait_until


def test_settings_apply_live_and_by_a_restart_and_stay(site: Site) -> None:
    site.say("config/desired", ConfigDesired(revision=1, settings={"reading_s": "0.2", "location": "porch"}))
    assert site.config(1).applied == {"reading_s": "0.2", "location": "porch"}
    assert len(site.processes) == 1
    assert site.processes[0].probe.interval_s == 0.2
    wait_until(lambda: site.heard(Birth)[-1].location == "porch")
    assert site.heard(Birth)[-1].config == 1

    site.say("config/desired", ConfigDesired(revision=2, settings={"privacy": "features", "camera": "-"}))
    assert site.config(2, waiting=True).restart == ("privacy",)
    reported = site.config(2)
    assert reported.applied == {"privacy": "features"}
    assert reported.rejected == {"camera": "it cannot be set from afar, only where the device is set up"}
    assert len(site.processes) == 2
    wait_until(lambda: site.heard(Birth)[-1].privacy == "features")
    assert site.heard(Birth)[-1].location == "", "what is not wanted any more is as the device was set up"


def test_commands_are_done_and_reported(site: Site) -> None:
    assert [report.state for report in site.command("c1", "snapshot")] == ["accepted", "done"]
    taken = site.heard(SnapshotTaken)[-1]
    assert site.command("c1b", "snapshot")[-1].result["snapshot"] != taken.snapshot

    sent = site.command("c2", "send-sample")[-1]
    wait_until(lambda: site.heard(SampleQuarantined))
    sample = site.heard(SampleQuarantined)[0]
    assert sent.result == {"sample": sample.sample}
    assert sample.picture[:2] == b"\xff\xd8"
    assert sample.values

    found = site.command("c3", "diagnostics")[-1].result
    assert json.loads(found["versions"])["tinymlops"]
    assert json.loads(found["settings"])["device"] == "dev1"
    assert "password" not in json.loads(found["settings"])
    assert "extractor_p50_us" in json.loads(found["metrics"])
    assert "records" in json.loads(found["spool"])

    births = len(site.heard(Birth))
    assert site.command("c4", "rebirth")[-1].state == "done"
    wait_until(lambda: len(site.heard(Birth)) > births)
    assert "there are diagnostics, rebirth, restart" in site.command("c5", "dance")[-1].reason


def test_a_restart_is_accepted_before_and_done_after_it(site: Site) -> None:
    reports = site.command("c1", "restart")
    assert [report.state for report in reports] == ["accepted", "done"]
    boots = [header.boot for _, header, one in site.server.heard if isinstance(one, CommandReported)]
    assert boots[0] != boots[1]
    assert len(site.processes) == 2
