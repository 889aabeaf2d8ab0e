"""Settings from a TOML or JSON file, the environment and flags, declared once as a frozen dataclass.

    @dataclass(frozen=True, kw_only=True)
    class EdgeSettings:
        broker: str = setting("mqtt://127.0.0.1:1883", "URL of the MQTT broker; mqtts:// for TLS")

A flag beats the environment, which beats the file, which beats the default. `--help` lists every setting with its
default and its environment variable, and so does the table that the README shows.
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import os
import tomllib
import types
import typing
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, field, fields
from pathlib import Path
from typing import Any, TypeVar

from .errors import SettingsError

S = TypeVar("S")


def setting(default: Any, help: str, *, choices: Sequence[str] = (), secret: bool = False, remote: str = "") -> Any:
    """A dataclass field with what a person needs to know of it.

    `remote` says how it can be set from afar: not at all (empty), `live`, or with a `restart` of the device.
    """
    known = {"help": help, "choices": tuple(choices), "secret": secret, "remote": remote}
    return field(default=default, metadata=known)


def load(kind: type[S], argv: Sequence[str], *, prog: str, about: str, prefix: str) -> S:
    """Settings of `kind` from `--config FILE`, variables `<prefix><NAME>` and flags. Raises SettingsError."""
    parser = argparse.ArgumentParser(
        prog=prog, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, kind, prefix)
    return from_arguments(kind, parser.parse_args(argv), prefix)


def add_arguments(
    parser: argparse.ArgumentParser, kind: type, prefix: str, only: Container[str] | None = None
) -> None:
    """Adds `--config` and one flag a setting, or only for the settings of these names."""
    parser.add_argument("--config", metavar="FILE", help=f"TOML or JSON file with settings [{prefix}CONFIG]")
    hints = typing.get_type_hints(kind)
    for item in _fields(kind):
        if only is not None and item.name not in only:
            continue
        hint = _inner(hints[item.name])
        silent = item.metadata["secret"] or item.default in ("", None, MISSING)
        default = "" if silent else f"; default {_text(item.default)}"
        alone: dict[str, Any] = {"nargs": "?", "const": "yes"} if hint is bool else {}  # --once alone says yes
        parser.add_argument(
            _flag(item.name),
            dest=item.name,
            default=None,
            **alone,
            choices=item.metadata["choices"] or None,
            metavar=None if item.metadata["choices"] else _word(hint),
            help=f"{_help(item)}{default} [{prefix}{item.name.upper()}]".replace("%", "%%"),
        )


def from_arguments(kind: type[S], arguments: argparse.Namespace, prefix: str) -> S:
    """Puts file, environment and parsed flags together. Raises SettingsError."""
    chosen = chosen_in(kind, arguments, prefix)
    missing = [item.name for item in _fields(kind) if item.default is MISSING and item.name not in chosen]
    if missing:
        raise SettingsError(f"a value is needed for {', '.join(_flag(name) for name in missing)}")
    return kind(**chosen)


def chosen_in(kind: type, arguments: argparse.Namespace, prefix: str) -> dict[str, Any]:
    """What file, environment and flags say, by name, without the defaults. Raises SettingsError."""
    hints = typing.get_type_hints(kind)
    known = {item.name: item for item in _fields(kind)}
    chosen: dict[str, Any] = {}
    path = arguments.config or os.environ.get(f"{prefix}CONFIG")
    if path:
        for name, value in _read(Path(path)).items():
            if name not in known:
                raise SettingsError(f"{path}: unknown setting {name!r}{_did_you_mean(name, known)}")
            chosen[name] = _convert(hints[name], value, f"{path}: {name}")
    for name in known:
        if (text := os.environ.get(prefix + name.upper())) is not None:
            if text == "" and type(None) in typing.get_args(hints[name]):
                continue  # as compose files hand on what is not set
            chosen[name] = _convert(hints[name], text, prefix + name.upper())
    for variable in os.environ:
        if variable.startswith(prefix) and variable[len(prefix) :].lower() not in {*known, "config"}:
            wanted = _did_you_mean(variable[len(prefix) :].lower(), known)
            raise SettingsError(f"unknown setting in the environment: {variable}{wanted}")
    for name in known:
        if (text := getattr(arguments, name, None)) is not None:
            chosen[name] = _convert(hints[name], text, _flag(name))
    for name, value in chosen.items():
        allowed = known[name].metadata["choices"]
        if allowed and value not in allowed:
            raise SettingsError(f"{name} is {value!r}; it can be {', '.join(allowed)}")
    return chosen


def table(kind: type, prefix: str) -> str:
    """The settings as a Markdown table."""
    rows = ["| flag | environment | default | what |", "|---|---|---|---|"]
    for item in _fields(kind):
        silent = item.metadata["secret"] or item.default in ("", None, MISSING)
        default = "" if silent else f"`{_text(item.default)}`"
        rows.append(f"| `{_flag(item.name)}` | `{prefix}{item.name.upper()}` | {default} | {_help(item)} |")
    return "\n".join(rows) + "\n"


def from_afar(kind: type, name: str) -> str:
    """`live` or `restart`: how a setting of `kind` is changed from afar. Raises SettingsError where it cannot be."""
    known = {item.name: item.metadata["remote"] for item in _fields(kind)}
    if name not in known:
        raise SettingsError(f"there is no such setting{_did_you_mean(name, [n for n, how in known.items() if how])}")
    if not known[name]:
        raise SettingsError("it cannot be set from afar, only where the device is set up")
    return str(known[name])


def converted(kind: type, name: str, text: str) -> Any:
    """The value of one setting of `kind` as text on the command line. Raises SettingsError."""
    (item,) = (item for item in _fields(kind) if item.name == name)
    value = _convert(typing.get_type_hints(kind)[name], text, "it")
    if item.metadata["choices"] and value not in item.metadata["choices"]:
        raise SettingsError(f"it cannot be {text!r}; it can be {', '.join(item.metadata['choices'])}")
    return value


def _fields(kind: type) -> Iterable[Field[Any]]:
    return fields(kind)


def _help(item: Field[Any]) -> str:
    return f"{item.metadata['help']}{' (also from afar)' if item.metadata['remote'] else ''}"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _word(hint: Any) -> str:
    return {int: "N", float: "X", bool: "yes|no", Path: "PATH"}.get(hint, "TEXT")


def _inner(hint: Any) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint


def _convert(hint: Any, value: Any, where: str) -> Any:
    hint = _inner(hint)
    try:
        if typing.get_origin(hint) is tuple:
            parts = value.split(",") if isinstance(value, str) else list(value)
            return tuple(_convert(typing.get_args(hint)[0], part, where) for part in parts if part != "")
        if hint is bool:
            return value if isinstance(value, bool) else _BOOLEANS[str(value).lower()]
        if hint in (int, float) and isinstance(value, bool):
            raise ValueError
        if hint is int and isinstance(value, float):
            raise ValueError
        if hint is str and not isinstance(value, str):
            raise ValueError
        made = hint(value)
        if hint is float and not math.isfinite(made):
            raise ValueError
        return made
    except (KeyError, TypeError, ValueError):
        raise SettingsError(f"{where} cannot be {value!r}: {_word(hint)} is expected") from None


_BOOLEANS = {
    "yes": True,
    "true": True,
    "1": True,
    "on": True,
    "no": False,
    "false": False,
    "0": False,
    "off": False,
}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    try:
        text = data.decode()
        tree = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise SettingsError(f"{path} is not valid {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from None
    if not isinstance(tree, dict):
        raise SettingsError(f"{path} has to hold a table of settings")
    return tree


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
