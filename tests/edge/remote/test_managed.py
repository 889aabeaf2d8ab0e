"""A whole device that is managed over a real broker."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from broker.messages import (
    BLOB_CHUNK,
    Birth,
    BlobChunk,
    BlobOffered,
    BlobWanted,
    CommandReported,
    ConfigDesired,
    SampleQuarantined,
    SnapshotTaken,
)
from edge_actors.errors import CommandError
from edge_actors.ports.snapshots import Snapshot, dump, load, place
from edge_actors.remote.managed import newest_whole
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
    taken = site.latest(SnapshotTaken)
    assert site.command("c1b", "snapshot")[-1].result["snapshot"] != taken.snapshot

    sent = site.command("c2", "send-sample")[-1]
    sample = site.latest(SampleQuarantined)
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


def test_the_newest_snapshot_that_is_whole_is_the_one_to_send(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read: no such file"):
        newest_whole(tmp_path / "none")
    with pytest.raises(CommandError, match="there is no snapshot yet"):
        newest_whole(tmp_path)
    for number in (1, 2, 3):
        place(tmp_path, number).write_bytes(dump(Snapshot(snapshot=f"s{number}")))
    place(tmp_path, 3).write_bytes(b"what a power cut left")
    assert newest_whole(tmp_path) == (place(tmp_path, 2), "s2")


def test_a_snapshot_is_offered_sent_in_chunks_and_let_go(site: Site) -> None:
    site.command("c1", "snapshot")
    taken = site.latest(SnapshotTaken)
    result = site.command("c2", "upload-snapshot")[-1].result
    assert result["snapshot"] == taken.snapshot
    offered = site.latest(BlobOffered)
    assert (offered.sha256, str(offered.size)) == (result["sha256"], result["size"])
    assert (offered.what, offered.name) == ("snapshot", taken.snapshot)

    def whole() -> bytes:
        pieces = {chunk.index: chunk.data for chunk in site.heard(BlobChunk)}
        return b"".join(pieces[index] for index in sorted(pieces))

    path = f"blob-wanted/{offered.sha256}"
    site.say(path, BlobWanted(sha256=offered.sha256, ranges=((0, offered.size // BLOB_CHUNK),)), retain=False)
    wait_until(lambda: len(whole()) == offered.size, 20)
    assert hashlib.sha256(whole()).hexdigest() == offered.sha256
    assert load(whole(), Path("uploaded")).snapshot == taken.snapshot
    site.say(path, BlobWanted(sha256=offered.sha256), retain=False)
    folder = site.processes[0].state.path / "blobs"
    wait_until(lambda: not list(folder.iterdir()))
