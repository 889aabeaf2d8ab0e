"""The README shows the wiring and every setting as the code has them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from edge_actors.settings import EdgeSettings
from platform_api import readme
from platform_api.errors import ReadmeError

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_of_this_repository_is_as_the_code_is() -> None:
    assert readme.main(["check", str(README)]) == 0


def test_every_setting_of_a_device_is_in_the_readme() -> None:
    text = README.read_text()
    assert [item.name for item in fields(EdgeSettings) if f"`--{item.name.replace('_', '-')}`" not in text] == []


def test_a_readme_that_lies_is_named_and_mended(tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    copy.write_text(README.read_text().replace("--quarantine-size", "--quarantine"))
    with pytest.raises(ReadmeError, match="as they are; tinyml readme render"):
        readme.main(["check", str(copy)])
    assert readme.main(["render", str(copy)]) == 0
    assert copy.read_text() == README.read_text()


def test_a_missing_place_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReadmeError, match="cannot be read: no such file"):
        readme.main(["check", str(tmp_path / "README.md")])
    with pytest.raises(ReadmeError, match="there is no place for 'graph'"):
        readme.rendered("# Title\n")
