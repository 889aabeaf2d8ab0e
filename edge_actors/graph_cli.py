"""`tinyml graph`: the device's wiring as Mermaid."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from . import wiring
from .runtime.graph import mermaid

ABOUT = """Prints the wiring of a device as a Mermaid flowchart: what comes in through the doors of the rim, which
actors hear it, and what they say to each other. GitHub draws it wherever it stands in a ```mermaid block."""


def main(argv: Sequence[str]) -> int:
    argparse.ArgumentParser(prog="tinyml graph", description=ABOUT).parse_args(argv)
    print(mermaid(wiring.DOORS, wiring.ACTORS, wiring.ROUTES), end="")
    return 0
