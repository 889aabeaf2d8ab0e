"""Settings are read from everywhere, checked at once, and written into recordings without secrets."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from broker.errors import SettingsError, TinymlError
from broker.settings import load
from edge_actors.settings import PREFIX, EdgeSettings

NEEDED: dict[str, Any] = {"bundle": Path("x.bundle"), "device": "dev1", "camera": "pictures"}


def settings(**changes: Any) -> EdgeSettings:
    return EdgeSettings(**(NEEDED | changes))


def test_every_setting_says_what_it_is() -> None:
    for item in fields(EdgeSettings):
        assert len(item.metadata["help"]) > 10, item.name


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edge.toml").write_text('device = "of-file"\nfps = 1.5\nspool_mb = 7\nbundle = "b"\ncamera = "c"\n')
    monkeypatch.setenv(f"{PREFIX}FPS", "2.5")
    monkeypatch.setenv(f"{PREFIX}DEVICE", "of-environment")
    argv = ["--config", str(tmp_path / "edge.toml"), "--device", "of-flag", "--once"]
    made = load(EdgeSettings, argv, prog="tinyml edge run", about="", prefix=PREFIX)
    assert (made.device, made.fps, made.spool_mb, made.once) == ("of-flag", 2.5, 7, True)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"device": "Not A Name"}, "is not a device id"),
        ({"device": "_ingest"}, "is not a device id"),
        ({"spool_mb": 0}, "spool_mb is 0; it has to be at least 1"),
        ({"threads": 0}, "threads is 0"),
        ({"report_s": 0.0}, "report_s is 0.0; it has to be more than 0"),
        ({"report_s": float("nan")}, "report_s is nan"),
        ({"fps": -1.0}, "fps is -1.0; it cannot be negative"),
        ({"cert_file": Path("c.pem")}, "cert_file and key_file belong together"),
    ],
)
def test_values_that_cannot_be_are_refused_in_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TinymlError) as caught:
        settings(**changes)
    assert sentence in str(caught.value)


def test_no_frame_is_dropped_where_every_frame_counts() -> None:
    assert not settings().every_frame
    assert settings(once=True).every_frame
    assert settings(camera="-").every_frame
    assert settings(pace="source").every_frame
    assert not settings(pace="newest", camera="-", once=True).every_frame


def test_state_goes_where_it_is_told_or_where_systemd_wants_it_or_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings().directory() == tmp_path / ".local/state/tinyml/dev1"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/tinyml:/var/lib/other")
    assert settings().directory() == Path("/var/lib/tinyml")
    assert settings(state_dir=tmp_path / "mine").directory() == tmp_path / "mine"
    assert settings(state_dir=tmp_path).journal_directory() is None
    assert settings(state_dir=tmp_path, journal="auto").journal_directory() == tmp_path / "journal"
    assert settings(journal="elsewhere").journal_directory() == Path("elsewhere")


def test_a_password_alone_goes_with_the_name_of_the_device() -> None:
    assert settings(password="p").address().username == "dev1"
    assert settings(password="p", username="u").address().username == "u"
    assert settings().address().username == ""
    with pytest.raises(SettingsError):
        settings(broker="http://somewhere").address()


def test_a_recording_holds_the_settings_but_no_secret() -> None:
    made = settings(password="hunter2", fps=3.0, state_dir=Path("s"), ca_file=Path("ca.pem"))
    text = made.as_text()
    assert "hunter2" not in text
    again = EdgeSettings.from_text(text)
    assert (again.fps, again.state_dir, again.ca_file, again.password) == (3.0, Path("s"), Path("ca.pem"), "")
    tree = json.loads(text)
    newer = json.dumps(tree | {"a_setting_of_the_future": 1})
    assert EdgeSettings.from_text(newer) == again
    with pytest.raises(SettingsError, match="settings of the recording"):
        EdgeSettings.from_text("not JSON")


def test_detectors_are_named_once_each_and_have_to_exist() -> None:
    assert settings().detector_names() == ("scene-cusum", "scene-mewma")
    assert settings(detectors="page-hinkley, error-rate").detector_names() == ("page-hinkley", "error-rate")
    for wrong in ("", "scene-cusum,", "oracle", "confidence,confidence"):
        with pytest.raises(SettingsError):
            settings(detectors=wrong)
