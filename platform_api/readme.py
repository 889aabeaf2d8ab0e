"""`tinyml readme`: renders what the README repeats from the code, so that it cannot lie: wiring and settings."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from broker import settings
from edge_actors import wiring
from edge_actors.runtime.graph import mermaid
from edge_actors.settings import PREFIX as EDGE
from edge_actors.settings import EdgeSettings
from ingest.settings import PREFIX as INGEST
from ingest.settings import IngestSettings

from .demo.settings import PREFIX as DEMO
from .demo.settings import DemoSettings
from .errors import ReadmeError
from .settings import PREFIX as API
from .settings import ApiSettings


def blocks() -> dict[str, str]:
    """Name of a block -> the Markdown that belongs between `<!-- name -->` and `<!-- /name -->`."""
    return {
        "graph": f"```mermaid\n{mermaid(wiring.DOORS, wiring.ACTORS, wiring.ROUTES)}```\n",
        "settings of demo": settings.table(DemoSettings, DEMO),
        "settings of edge": settings.table(EdgeSettings, EDGE),
        "settings of ingest": settings.table(IngestSettings, INGEST),
        "settings of api": settings.table(ApiSettings, API),
    }


def rendered(text: str) -> str:
    """The text with all blocks as they should be. Raises ReadmeError where the place for one is missing."""
    for name, block in blocks().items():
        place = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text, found = place.subn(lambda match, block=block: f"{match[1]}{block}{match[2]}", text)  # type: ignore[misc]
        if found != 1:
            raise ReadmeError(f"there is no place for {name!r}: two lines, <!-- {name} --> and <!-- /{name} -->")
    return text


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tinyml readme", description=__doc__)
    parser.add_argument("verb", choices=("check", "render"), help="check: fail where a block is not as it should be")
    parser.add_argument("file", nargs="?", type=Path, default=Path("README.md"), help="default README.md")
    chosen = parser.parse_args(argv)
    try:
        text = chosen.file.read_text()
    except OSError as error:
        raise ReadmeError(f"{chosen.file} cannot be read: {(error.strerror or '').lower()}") from None
    wanted = rendered(text)
    if chosen.verb == "render":
        chosen.file.write_text(wanted)
    elif text != wanted:
        raise ReadmeError(f"{chosen.file} does not show wiring and settings as they are; tinyml readme render")
    return 0
