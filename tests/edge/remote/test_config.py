"""Settings wanted from afar: the good ones apply, the others are refused by name, and all survive a restart."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from broker.messages import ConfigDesired
from edge_actors.ports.kept import Kept
from edge_actors.process import EdgeProcess
from edge_actors.remote.config import RemoteConfig
from edge_actors.remote.managed import Managed
from edge_actors.settings import EdgeSettings


def setup(**changes: Any) -> EdgeSettings:
    return EdgeSettings(bundle=Path("a.bundle"), device="dev1", camera="-", **({"mode": "managed"} | changes))


def config(directory: Path, **changes: Any) -> RemoteConfig:
    return RemoteConfig(Kept(directory / "config.json"), setup(**changes))


def wanted(revision: int, **settings: str) -> ConfigDesired:
    return ConfigDesired(revision=revision, settings=settings)


def test_good_settings_apply_and_the_others_are_refused_by_name_with_the_reason(tmp_path: Path) -> None:
    held = config(tmp_path)
    change = held.take(
        wanted(1, reading_s="2", privacy="all", broker="mqtt://evil", raport_s="1", report_s="0", location="porch")
    )
    assert change is not None
    settings, waiting = change
    assert (settings.reading_s, settings.location, waiting) == (2.0, "porch", set())
    assert held.reported.revision == 1
    assert held.reported.applied == {"reading_s": "2", "location": "porch"}
    assert held.reported.rejected == {
        "privacy": "it cannot be 'all'; it can be features, thumbnail, picture",
        "broker": "it cannot be set from afar, only where the device is set up",
        "raport_s": "there is no such setting; did you mean 'report_s'?",
        "report_s": "report_s is 0.0; it has to be more than 0",
    }


def test_privacy_can_be_made_stricter_from_afar_and_not_laxer_than_the_device_was_set_up(tmp_path: Path) -> None:
    held = config(tmp_path)
    held.take(wanted(1, privacy="picture"))
    assert held.reported.rejected == {
        "privacy": "from afar it cannot let out more than thumbnail, as the device is set up"
    }
    for revision, level in ((2, "features"), (3, "thumbnail")):
        held.take(wanted(revision, privacy=level))
        assert held.reported.rejected == {}


def test_what_needs_a_restart_waits_for_it_and_is_in_force_afterwards(tmp_path: Path) -> None:
    held = config(tmp_path)
    change = held.take(wanted(1, report_s="30", reading_s="2"))
    assert change is not None
    assert change[1] == {"report_s"}
    assert (held.settings.report_s, held.settings.reading_s) == (60.0, 2.0)
    assert (held.reported.restart, held.reported.applied) == (("report_s",), {"reading_s": "2"})
    again = config(tmp_path)
    assert again.settings.report_s == 30.0
    assert again.reported.applied == {"report_s": "30", "reading_s": "2"}
    assert again.reported.restart == ()


def test_what_is_not_wanted_any_more_is_as_the_device_was_set_up(tmp_path: Path) -> None:
    config(tmp_path, report_s=20.0).take(wanted(1, report_s="30"))
    held = config(tmp_path, report_s=20.0)
    assert held.settings.report_s == 30.0
    change = held.take(wanted(2))
    assert change is not None
    assert change[1] == {"report_s"}
    assert held.reported.restart == ("report_s",)
    assert config(tmp_path, report_s=20.0).settings.report_s == 20.0


def test_an_older_revision_is_ignored_and_the_same_changes_nothing(tmp_path: Path) -> None:
    held = config(tmp_path)
    held.take(wanted(5, reading_s="2"))
    for late in (wanted(4, reading_s="9"), wanted(5, reading_s="9"), wanted(5, reading_s="2")):
        assert held.take(late) is None
    assert (held.settings.reading_s, held.reported.revision) == (2.0, 5)


def test_settings_with_which_the_device_does_not_start_are_put_aside(tmp_path: Path) -> None:
    config(tmp_path).take(wanted(3, threads="64"))
    set_up = RemoteConfig(Kept(tmp_path / "config.json"), setup(), as_set_up=True)
    assert set_up.settings == set_up.base
    set_up.refuse("no thread can be started")
    held = config(tmp_path)
    assert held.reported == set_up.reported
    assert held.settings == held.base
    assert held.reported.rejected == {
        "threads": "the device does not start with these settings: no thread can be started"
    }
    assert held.take(wanted(4, threads="2")) is not None


def test_a_disk_that_takes_nothing_refuses_the_whole_document(tmp_path: Path) -> None:
    held = RemoteConfig(Kept(tmp_path / "nowhere" / "config.json"), setup())
    assert held.take(wanted(1, reading_s="2")) is None
    assert (held.settings.reading_s, held.reported.revision) == (30.0, 0)
    assert "cannot be used: no such file" in held.reported.rejected["reading_s"]


def test_a_damaged_document_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"revision": 3')
    assert config(tmp_path).reported.revision == 0
    assert (tmp_path / "config.damaged").exists()


def test_every_setting_that_applies_live_is_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = {item.name for item in fields(EdgeSettings) if item.metadata["remote"] == "live"}
    process: Any = type("Process", (EdgeProcess,), {"__init__": lambda self: None})()
    process.state = type("State", (), {"path": tmp_path})
    assert Managed(process, setup()).live.keys() == live


def test_nothing_that_decides_who_is_trusted_or_where_things_lie_can_be_set_from_afar() -> None:
    remote = {item.name for item in fields(EdgeSettings) if item.metadata["remote"]}
    assert not remote & {"device", "bundle", "camera", "mode", "broker", "username", "password", "ca_file", "root"}
    assert not remote & {"cert_file", "key_file", "state_dir", "journal"}
    assert {"report_s", "reading_s", "privacy", "predictions", "quarantine_size", "spool_mb", "log_level"} <= remote
