"""`tinyml contract`: writes what is rendered from messages.py and topics.py, or checks that it is up to date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .access import access_list
from .reference import reference
from .schema import schema

HERE = Path(__file__).parent
RENDERED: dict[Path, Callable[[], str]] = {
    HERE / "CONTRACT.md": reference,
    HERE / "contract.cddl": schema,
    HERE / "mosquitto" / "acl.conf": access_list,
}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tinyml contract",
        description="The bus contract as files: broker/CONTRACT.md for people, broker/contract.cddl for validators, "
        "broker/mosquitto/acl.conf for the broker. All are rendered from broker/messages.py and broker/topics.py.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("render", help="write the files")
    verbs.add_parser("check", help="say which files are out of date; status 1 if any is")
    arguments = parser.parse_args(argv)
    old = [path for path, render in RENDERED.items() if not path.exists() or path.read_text() != render()]
    if arguments.verb == "check":
        for path in old:
            print(f"tinyml contract: {path.name} is out of date; run `tinyml contract render`", file=sys.stderr)
        return 1 if old else 0
    for path in old:
        path.write_text(RENDERED[path]())
        print(f"written: {path.name}")
    return 0
