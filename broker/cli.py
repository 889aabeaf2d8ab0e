"""The command `tinyml`: a table of subcommands, each imported only when it is used."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence

from .errors import TinymlError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (
        "platform_api.demo",
        "the whole loop on this machine: three devices, a broker, a database, a validator",
    ),
    "bundle": ("edge_actors.bundle_cli", "build, show or verify the bundle that a device runs"),
    "train": ("edge_actors.training.cli", "train a feature extractor on labelled pictures, for a bundle"),
    "edge": ("edge_actors.cli", "run a device, look at its snapshots, export what waits on it"),
    "send": ("broker.send", "settings, commands and models for a device that is managed"),
    "evaluate": ("edge_actors.evaluate_cli", "play recorded features through a device and write down what it says"),
    "replay": ("edge_actors.replay_cli", "play a device's journal again and compare what it says"),
    "graph": ("edge_actors.graph_cli", "draw the device's wiring as Mermaid"),
    "broker": ("broker.embedded", "run the embedded MQTT broker"),
    "decode": ("broker.decode", "print a message, a journal or a captured payload for a person"),
    "readme": ("platform_api.readme", "render the wiring and the settings into README.md, or check them"),
    "contract": ("broker.contract", "render CONTRACT.md, contract.cddl and the broker's access list"),
    "forget": ("ingest.forget_cli", "erase a device or a sample everywhere on the server side, and prove it"),
    "ingest": ("ingest.cli", "run an ingest worker, or migrate the database"),
    "simulate": ("platform_api.simulate", "play thousands of devices against a broker, and count what becomes of it"),
    "api": ("platform_api.cli", "run the REST API and the publisher of labels"),
}


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(["usage: tinyml COMMAND [--help] ...", "", *lines, "", "tinyml COMMAND --help tells more."])


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), flush=True)
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"tinyml: there is no command {name!r}\n\n{usage()}", file=sys.stderr)
        return 2
    return int(importlib.import_module(COMMANDS[name][0]).main(rest))


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except TinymlError as error:
        print(f"tinyml {arguments[0]}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
