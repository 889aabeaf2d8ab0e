"""A flag beats the environment, which beats the file, which beats the default; mistakes are one sentence."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import SettingsError
from broker.settings import load, setting, table

PREFIX = "TINYML_TEST_"


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Settings as a device has them."""

    device: str = setting(MISSING, "name of the device")
    fps: float = setting(4.0, "pictures a second")
    width: int = setting(96, "pixels, 100% of them")
    mode: str = setting("validated", "what may come down", choices=("monitor", "validated"))
    once: bool = setting(False, "stop after one round")
    folder: Path = setting(Path("state"), "where to keep things")
    classes: tuple[str, ...] = setting((), "only these")
    limit: int | None = setting(None, "at most so many")
    password: str = setting("", "for the broker", secret=True)


def read(*argv: str) -> Camera:
    return load(Camera, argv, prog="camera", about="takes pictures", prefix=PREFIX)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "camera.toml"
    path.write_text('device = "from-file"\nfps = 1\nwidth = 10\nclasses = ["a", "b"]\nonce = true\n')
    return path


def refused(*argv: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read(*argv)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_nobody_chose_has_its_default() -> None:
    assert read("--device", "a") == Camera(device="a")


def test_a_flag_beats_the_environment_which_beats_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}WIDTH", "20")
    monkeypatch.setenv(f"{PREFIX}FPS", "2.5")
    chosen = read("--config", str(file), "--fps", "3")
    assert chosen == Camera(device="from-file", fps=3.0, width=20, classes=("a", "b"), once=True)


@given(st.sets(st.sampled_from(["file", "environment", "flag"])))
def test_the_strongest_source_wins(sources: set[str]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        argv = ["--device", "a"]
        if "file" in sources:
            path = Path(__file__).with_name("settings_width_1.json")
            argv += ["--config", str(path)]
        if "environment" in sources:
            monkeypatch.setenv(f"{PREFIX}WIDTH", "2")
        if "flag" in sources:
            argv += ["--width", "3"]
        order = [("flag", 3), ("environment", 2), ("file", 1)]
        assert read(*argv).width == next((width for name, width in order if name in sources), 96)


def test_the_file_can_be_named_in_the_environment_and_be_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "camera.json"
    path.write_text(json.dumps({"device": "json", "limit": 3, "folder": "/there", "fps": 2}))
    monkeypatch.setenv(f"{PREFIX}CONFIG", str(path))
    assert read() == Camera(device="json", limit=3, folder=Path("/there"), fps=2.0)


@pytest.mark.parametrize(
    ("text", "value"),
    [("yes", True), ("TRUE", True), ("1", True), ("on", True), ("no", False), ("false", False), ("0", False)],
)
def test_yes_and_no_are_words(text: str, value: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read("--device", "a", "--once", text).once is value
    monkeypatch.setenv(f"{PREFIX}ONCE", text)
    assert read("--device", "a").once is value


def test_an_empty_variable_is_none_where_nothing_may_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}LIMIT", "")
    assert read("--device", "a").limit is None


def test_lists_are_separated_by_commas() -> None:
    assert read("--device", "a", "--classes", "cat,dog").classes == ("cat", "dog")
    assert read("--device", "a", "--classes", "").classes == ()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--width", "wide"], "--width cannot be 'wide': N is expected"),
        (["--width", "1.5"], "--width cannot be '1.5': N is expected"),
        (["--fps", "fast"], "--fps cannot be 'fast': X is expected"),
        (["--fps", "nan"], "--fps cannot be 'nan': X is expected"),
        (["--fps", "inf"], "--fps cannot be 'inf': X is expected"),
        (["--once", "perhaps"], "--once cannot be 'perhaps': yes|no is expected"),
        (["--limit", ""], "--limit cannot be '': N is expected"),
    ],
)
def test_a_flag_of_the_wrong_type_is_one_sentence(argv: list[str], said: str) -> None:
    assert refused("--device", "a", *argv) == said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('width = "10"', ""),  # text is what the environment gives, so it is fine here too
        ("width = 1.5", "width cannot be 1.5"),
        ("width = true", "width cannot be True"),
        ("fps = true", "fps cannot be True"),
        ("fps = nan", "fps cannot be nan"),
        ("once = 2", "once cannot be 2"),
        ("device = 3", "device cannot be 3"),
        ("classes = 3", "classes cannot be 3"),
        ("classes = [3]", "classes cannot be 3"),
        ('mode = "wild"', "mode is 'wild'; it can be monitor, validated"),
        ("wdith = 3", "unknown setting 'wdith'; did you mean 'width'?"),
        ("[camera]\nwidth = 3", "unknown setting 'camera'"),
        ("width = ", "is not valid TOML"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "camera.toml"
    path.write_text(line)
    if said:
        assert said in refused("--device", "a", "--config", str(path))
    else:
        read("--device", "a", "--config", str(path))


def test_a_file_that_is_no_table_of_settings_is_one_sentence(tmp_path: Path) -> None:
    for name, data, said in (
        ("a.json", b"[1]", "has to hold a table"),
        ("a.json", b"{", "is not valid JSON"),
        ("a.toml", b"\xff\xfe\x00", "is not valid TOML"),
        ("a.json", b"\xff", "is not valid JSON"),
    ):
        (tmp_path / name).write_bytes(data)
        assert said in refused("--config", str(tmp_path / name))
    assert "cannot read" in refused("--config", str(tmp_path / "nothing.toml"))
    assert "cannot read" in refused("--config", str(tmp_path))


def test_an_unknown_variable_is_one_sentence_with_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}FPSS", "3")
    assert refused("--device", "a").endswith(f"{PREFIX}FPSS; did you mean 'fps'?")


def test_a_choice_is_checked_wherever_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}MODE", "wild")
    assert refused("--device", "a") == "mode is 'wild'; it can be monitor, validated"
    assert read("--device", "a", "--mode", "monitor").mode == "monitor"


def test_what_has_no_default_is_asked_for() -> None:
    assert refused() == "a value is needed for --device"


def test_help_lists_every_setting_with_default_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        read("--help")
    assert left.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, default in (
        ("fps", "4.0"),
        ("width", "96"),
        ("mode", "validated"),
        ("once", "no"),
        ("folder", "state"),
    ):
        assert f"--{name}" in text
        assert f"default {default} [{PREFIX}{name.upper()}]" in text
    assert f"name of the device [{PREFIX}DEVICE]" in text
    assert "100% of them" in text


def test_the_table_lists_every_setting_once() -> None:
    rows = table(Camera, PREFIX).splitlines()
    assert len(rows) == 2 + len(Camera.__dataclass_fields__)
    assert f"| `--fps` | `{PREFIX}FPS` | `4.0` | pictures a second |" in rows
    assert f"| `--password` | `{PREFIX}PASSWORD` |  | for the broker |" in rows


def test_a_secret_is_never_shown_as_a_default(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Secretive:
        token: str = setting("hush", "secret token", secret=True)

    with pytest.raises(SystemExit):
        load(Secretive, ["--help"], prog="p", about="a", prefix=PREFIX)
    assert "hush" not in capsys.readouterr().out
    assert "hush" not in table(Secretive, PREFIX)
