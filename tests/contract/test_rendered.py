"""What is rendered from the code is up to date, and says something of everything."""

from __future__ import annotations

from pathlib import Path

import pytest

import broker
from broker import contract
from broker.messages import KINDS, Header
from broker.source import documented
from broker.topics import TOPICS

HERE = Path(broker.__file__).parent


@pytest.mark.parametrize("path", contract.RENDERED, ids=[path.name for path in contract.RENDERED])
def test_the_committed_file_is_what_the_code_renders(path: Path) -> None:
    assert path.read_text() == contract.RENDERED[path](), "run `tinyml contract render`"


def test_check_says_which_file_is_old_and_render_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "CONTRACT.md"
    monkeypatch.setattr(contract, "RENDERED", {file: lambda: "new"})
    assert contract.main(["check"]) == 1
    assert "CONTRACT.md is out of date" in capsys.readouterr().err
    assert contract.main(["render"]) == 0
    assert file.read_text() == "new"
    assert contract.main(["check"]) == 0


def test_every_message_has_a_sentence_and_every_comment_is_found() -> None:
    for kind in [*KINDS.values(), Header]:
        assert documented(kind).meaning.endswith("."), kind.__name__
    meanings = {item.name: item.meaning for item in documented(KINDS["Vitals"]).fields}
    assert meanings["metrics"].startswith("name -> value"), "a comment on the last line of a field was lost"


def test_the_reference_names_every_kind_topic_and_field() -> None:
    text = (HERE / "CONTRACT.md").read_text()
    assert "<!--" not in text
    for kind in KINDS.values():
        section = text.split(f"### {kind.__name__}\n")[1].split("\n### ")[0]
        for item in documented(kind).fields:
            assert f"| `{item.name}` |" in section
    for topic in TOPICS:
        assert f"`tinyml/<device>/{topic.path}`" in text
