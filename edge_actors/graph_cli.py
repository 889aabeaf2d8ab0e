"""`tinyml graph`: the device's wiring as Mermaid, and whether a file shows it as it is."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from . import wiring
from .errors import GraphError
from .runtime.graph import mermaid

BEGIN, END = "<!-- graph -->", "<!-- /graph -->"

ABOUT = """Prints the wiring of a device as a Mermaid flowchart: what comes in through the doors of the rim, which
actors hear it, and what they say to each other. GitHub draws it wherever it stands in a ```mermaid block."""


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tinyml graph", description=ABOUT)
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--check", metavar="FILE", type=Path, help=f"fail unless FILE shows it between {BEGIN} and {END}"
    )
    way.add_argument("--write", metavar="FILE", type=Path, help="render it there")
    arguments = parser.parse_args(argv)
    drawing = mermaid(wiring.DOORS, wiring.ACTORS, wiring.ROUTES)
    path: Path | None = arguments.check or arguments.write
    if path is None:
        print(drawing, end="")
        return 0
    text = _read(path)
    wanted = _with(text, drawing, path)
    if arguments.write:
        _write(path, wanted)
    elif text != wanted:
        raise GraphError(f"{path} does not show the wiring as it is; tinyml graph --write {path} renders it")
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise GraphError(f"{path} cannot be read: {(error.strerror or '').lower()}") from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise GraphError(f"{path} cannot be written: {(error.strerror or '').lower()}") from None


def _with(text: str, drawing: str, path: Path) -> str:
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise GraphError(f"{path} has no place for the graph: a line {BEGIN} and a line {END} are expected")
    return f"{before}{BEGIN}\n```mermaid\n{drawing}```\n{END}{after}"
