"""`tinyml edge`: a table of subcommands, each imported only when it is used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("edge_actors.run_cli", "run a device"),
    "cameras": ("edge_actors.cameras_cli", "list the cameras of this machine"),
    "snapshots": ("edge_actors.snapshots_cli", "list the states that a device keeps"),
    "rollback": ("edge_actors.rollback_cli", "make a stopped device go on from an earlier one"),
    "export": ("edge_actors.export_cli", "write what waits for the server into a file, to carry it there"),
    "confirm": ("edge_actors.confirm_cli", "forget what a receipt says that the server has stored of that"),
}


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        ["usage: tinyml edge COMMAND [--help] ...", "", *lines, "", "tinyml edge COMMAND --help tells more."]
    )


def main(argv: Sequence[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(usage(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    name, *rest = argv
    if name not in COMMANDS:
        print(f"tinyml edge: there is no command {name!r}\n\n{usage()}", file=sys.stderr)
        return 2
    return int(importlib.import_module(COMMANDS[name][0]).main(rest))
