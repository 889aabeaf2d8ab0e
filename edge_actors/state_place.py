"""Where the device keeps its state, for commands that look at it: found as `tinyml edge run` finds it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from broker.errors import SettingsError
from broker.settings import add_arguments, chosen_in

from .errors import StateDirectoryError
from .settings import PREFIX, EdgeSettings, state_directory

NAMES = ("state_dir", "device")
HINT = """The state directory is found as `tinyml edge run` finds it: by --state-dir, by --device, or by the --config
file, the environment or the systemd unit of the device."""


def parser_for(prog: str, about: str) -> argparse.ArgumentParser:
    """The parser of such a command, with the flags that say which device is meant."""
    parser = argparse.ArgumentParser(
        prog=prog, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, EdgeSettings, PREFIX, only=NAMES)
    return parser


def place(arguments: argparse.Namespace) -> tuple[Path, str]:
    """The state directory that is there, and the device's name where that is known.

    Raises SettingsError, StateDirectoryError.
    """
    settings = chosen_in(EdgeSettings, arguments, PREFIX)
    given, device = settings.get("state_dir"), settings.get("device", "")
    if given is None and not device and "STATE_DIRECTORY" not in os.environ:
        raise SettingsError("say which device is meant: --state-dir DIR, --device NAME or --config FILE")
    path = state_directory(given, device)
    if not path.is_dir():
        raise StateDirectoryError(path, "there is no such directory")
    return path, device
