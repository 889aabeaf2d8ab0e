"""`tinyml send`: tells a managed device what people want of it, and waits for its answer."""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import sys
import time
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .address import BrokerAddress
from .errors import SendError
from .messages import (
    Birth,
    CommandIssued,
    CommandReported,
    ConfigDesired,
    ConfigReported,
    ModelDesired,
    ModelReported,
    Status,
)
from .settings import add_arguments, from_arguments, setting
from .topics import MODES, ROOT, check_device
from .wishes import FINAL, Wishes

PREFIX = "TINYML_SEND_"
ABOUT = """Tells a device in mode managed what you want of it, waits for its answer and prints it. The wish is
retained at the broker, so that a device that is away gets it when it is back.

  tinyml send porch-1 config                              the settings that are wanted, and what the device reported
  tinyml send porch-1 config report_s=30 privacy=features change these, keep the others that were wanted
  tinyml send porch-1 config --unset report_s             as the device was set up
  tinyml send porch-1 config porch.toml                   exactly these settings, none of those wanted before
  tinyml send porch-1 command diagnostics                 versions, settings, faults, latencies, last log lines
  tinyml send porch-1 command send-sample                 the next frame, with what its privacy level lets out
  tinyml send porch-1 command upload-snapshot             the newest snapshot, in chunks; GET /devices/porch-1/blobs
  tinyml send porch-1 command restart --deadline 10m      not begun later than ten minutes from now
  tinyml send porch-1 command                             commands that no answer has ended yet
  tinyml send porch-1 command --withdraw c-5f3a9c01       takes one back
  tinyml send porch-1 model new.bundle --url https://files.example.org/new.bundle

Status 0: the device did it, or was told and nobody waits. 1: it refused or failed. 2: it could not be told."""


@dataclass(frozen=True, kw_only=True)
class SendSettings:
    """Where the broker is and who we are there."""

    broker: str = setting("mqtt://127.0.0.1:1883", "URL of the MQTT broker; mqtts:// for TLS")
    username: str = setting("", "user name at the broker, where the URL has none; with our access list: _api")
    password: str = setting("", "password at the broker; better in the environment", secret=True)
    ca_file: Path | None = setting(None, "certificate authority of the broker, instead of the system's")
    cert_file: Path | None = setting(None, "client certificate for the broker")
    key_file: Path | None = setting(None, "key of the client certificate")
    root: str = setting(ROOT, "first level of all topics")

    def address(self) -> BrokerAddress:
        """The broker and the credentials for it. Raises SettingsError."""
        return BrokerAddress.of(
            self.broker,
            username=self.username,
            password=self.password,
            ca_file=self.ca_file,
            cert_file=self.cert_file,
            key_file=self.key_file,
        )


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tinyml send", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, SendSettings, PREFIX)
    parser.add_argument("device", metavar="DEVICE", help="name of the device")
    wishes = parser.add_subparsers(dest="wish", required=True, metavar="config|command|model")
    config = wishes.add_parser("config", help="settings", description="What `tinyml edge run --help` lists, by name.")
    config.add_argument("items", nargs="*", metavar="FILE.toml|NAME=VALUE", help="a whole document, or changes to it")
    config.add_argument("--unset", nargs="+", default=[], metavar="NAME", help="back to how the device was set up")
    command = wishes.add_parser("command", help="something to do once")
    command.add_argument("verb", nargs="?", help="snapshot, upload-snapshot, send-sample, diagnostics, rebirth ...")
    command.add_argument("items", nargs="*", metavar="NAME=VALUE", help="arguments of the verb")
    command.add_argument("--deadline", metavar="TIME", help="not to be begun later: 30s, 10m, 6h, 2d from now")
    command.add_argument("--withdraw", nargs="+", default=[], metavar="ID", help="take back commands instead")
    model = wishes.add_parser("model", help="the bundle to run")
    model.add_argument("bundle", nargs="?", type=Path, metavar="BUNDLE", help="the bundle's file, here")
    model.add_argument("--url", help="where the device finds it: http, https or file; default: the file itself")
    model.add_argument("--original", action="store_true", help="back to the bundle that the device was set up with")
    model.add_argument("--shadow-frames", type=int, default=200, help="frames beside the old one; default 200")
    model.add_argument("--trial-s", type=float, default=300.0, help="seconds it has to run well; default 300")
    model.add_argument("--agreement", type=float, default=0.5, help="least share of equal answers; default 0.5")
    model.add_argument("--slower", type=float, default=2.0, help="most times as long a frame may take; default 2")
    for one, usual in ((config, 60.0), (command, 60.0), (model, 0.0)):
        one.add_argument(
            *("--wait",),
            type=float,
            nargs="?",
            const=3600.0,
            default=usual,
            metavar="S",
            help=f"wait so long for the answer; default {usual:g}",
        )
    given = parser.parse_args(argv)
    settings = from_arguments(SendSettings, given, PREFIX)
    with Wishes(settings.address(), check_device(given.device), settings.root) as link:
        return {"config": _config, "command": _command, "model": _model}[given.wish](link, given)


# ---- settings --------------------------------------------------------------------------------------------------


def _config(link: Wishes, given: argparse.Namespace) -> int:
    before = link.retained(ConfigDesired)
    if not given.items and not given.unset:
        print(f"wanted, revision {before.revision}:")
        _print_map(before.settings, "  nothing")
        return _print_config(link.retained(ConfigReported))
    _check_mode(link)
    settings = _document(given.items, before.settings)
    for name in given.unset:
        if settings.pop(name, None) is None:
            raise SendError(f"{name} is not among the settings that are wanted of {link.device}")
    revision = max(before.revision, link.retained(ConfigReported).revision) + 1
    link.say(ConfigDesired(revision=revision, settings=settings))
    print(f"sent revision {revision} to {link.device}")

    def answered() -> bool:
        reported = link.retained(ConfigReported)
        return reported.revision >= revision and not reported.restart

    if not _wait(link, answered, given.wait):
        return 0 if not given.wait else 1
    return _print_config(link.retained(ConfigReported))


def _document(items: Sequence[str], before: dict[str, str]) -> dict[str, str]:
    """The whole wanted document: the file, or what was wanted before with changes."""
    files = [item for item in items if "=" not in item]
    settings = dict(before)
    for name in files:
        if len(files) > 1:
            raise SendError("one file at most: it is the whole document")
        settings = _read(Path(name))
    for item in items:
        name, equals, value = item.partition("=")
        if equals:
            settings[name.strip().replace("-", "_")] = value.strip()
    return settings


def _read(path: Path) -> dict[str, str]:
    try:
        tree: dict[str, Any] = tomllib.loads(path.read_text())
    except OSError as error:
        raise SendError(f"cannot read {path}: {error.strerror}; a change is written NAME=VALUE") from None
    except ValueError as error:
        raise SendError(f"{path} is not valid TOML: {error}") from None
    return {name: _text(value) for name, value in tree.items()}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _print_config(reported: ConfigReported) -> int:
    print(f"reported, revision {reported.revision}:")
    _print_map(reported.applied, "  nothing beside how it was set up")
    for name, reason in reported.rejected.items():
        print(f"  {name} refused: {reason}")
    for name in reported.restart:
        print(f"  {name} waits for the device's restart")
    return 1 if reported.rejected else 0


def _print_map(values: dict[str, str], otherwise: str) -> None:
    if text := "\n".join(f"  {name} = {value}" for name, value in sorted(values.items())) or otherwise:
        print(text)


# ---- commands --------------------------------------------------------------------------------------------------


def _command(link: Wishes, given: argparse.Namespace) -> int:
    if given.withdraw:
        for command in given.withdraw:
            if command not in link.known.commands:
                raise SendError(f"{link.device} has no waiting command {command}")
            link.clear(f"command/{command}")
        return 0
    if not given.verb:
        waiting = [f"{one.command}  {one.verb}" for one in link.known.commands.values()]
        print("\n".join(waiting) or f"no command waits for {link.device}")
        return 0
    _check_mode(link)
    arguments = dict(item.partition("=")[::2] for item in given.items)
    issued = CommandIssued(
        command=f"c-{int(time.time()):x}-{secrets.token_hex(2)}",
        verb=given.verb,
        arguments=arguments,
        deadline_us=0 if given.deadline is None else round((time.time() + _seconds(given.deadline)) * 1e6),
        by="tinyml send",
    )
    link.say(issued)
    print(f"sent {issued.verb} to {link.device} as {issued.command}")
    reports = link.known.reports.setdefault(issued.command, [])
    if not _wait(link, lambda: any(report.state in FINAL for report in reports), given.wait):
        return 0 if not given.wait else 1
    last = next(report for report in reports if report.state in FINAL)
    link.clear(f"command/{issued.command}")
    return _print_command(last)


def _print_command(report: CommandReported) -> int:
    print(f"{report.state}{': ' + report.reason if report.reason else ''}")
    for name, text in report.result.items():
        print(f"{name}: {_pretty(text)}")
    return 0 if report.state == "done" else 1


def _pretty(text: str) -> str:
    try:
        tree = json.loads(text)
    except ValueError:
        return text
    return json.dumps(tree, indent=2) if isinstance(tree, dict | list) else text


def _seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    try:
        return float(text[:-1]) * units[text[-1:]]
    except (KeyError, ValueError):
        raise SendError(f"{text!r} is no time: 30s, 10m, 6h, 2d") from None


# ---- models ----------------------------------------------------------------------------------------------------


def _model(link: Wishes, given: argparse.Namespace) -> int:
    before, reported = link.retained(ModelDesired), link.retained(ModelReported)
    if given.bundle is None and not given.original:
        print(f"wanted, revision {before.revision}: {before.digest[:12] or 'the bundle it was set up with'}")
        return _print_model(reported)
    _check_mode(link)
    revision = max(before.revision, reported.revision) + 1
    wanted = ModelDesired(revision=revision) if given.original else _wanted(given, revision)
    link.say(wanted)
    print(f"sent revision {revision} to {link.device}: {wanted.digest[:12] or 'the bundle it was set up with'}")

    said: list[tuple[str, str]] = []

    def answered() -> bool:
        now = link.retained(ModelReported)
        if now.revision >= revision and (now.phase, now.reason) not in said:
            said.append((now.phase, now.reason))
            print(f"  {now.phase}{': ' + now.reason if now.reason else ''}", flush=True)
        return now.revision >= revision and now.phase in ("committed", "refused", "rolled-back")

    if not _wait(link, answered, given.wait):
        return 0 if not given.wait else 1
    return _print_model(link.retained(ModelReported))


def _wanted(given: argparse.Namespace, revision: int) -> ModelDesired:
    try:
        data = given.bundle.read_bytes()
        with zipfile.ZipFile(given.bundle) as archive:
            manifest = archive.read("manifest.json")
    except OSError as error:
        raise SendError(f"cannot read {given.bundle}: {error.strerror}") from None
    except (zipfile.BadZipFile, KeyError):
        raise SendError(f"{given.bundle} is not a bundle; `tinyml bundle verify` says more") from None
    return ModelDesired(
        revision=revision,
        digest=hashlib.sha256(manifest).hexdigest(),
        url=given.url or given.bundle.resolve().as_uri(),
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        shadow_frames=given.shadow_frames,
        trial_s=given.trial_s,
        least_agreement=given.agreement,
        most_slower=given.slower,
    )


def _print_model(reported: ModelReported) -> int:
    reason = f": {reported.reason}" if reported.reason else ""
    print(f"runs {reported.running[:12] or 'nothing that was reported'}, {reported.phase or 'unknown'}{reason}")
    _print_map({name: f"{value:g}" for name, value in reported.metrics.items()}, "")
    return 1 if reported.phase in ("refused", "rolled-back") else 0


# ---- all of them -----------------------------------------------------------------------------------------------


def _check_mode(link: Wishes) -> None:
    """Raises SendError for a device that would never listen."""
    if not link.has(Birth):
        print(f"note: the broker has never heard of {link.device}; the wish waits there", file=sys.stderr)
    elif (mode := link.retained(Birth).mode) != MODES[-1]:
        raise SendError(f"{link.device} runs in mode {mode}, which takes none of this; set it up with --mode managed")


def _wait(link: Wishes, answered: Any, seconds: float) -> bool:
    """Whether the answer came; says why not."""
    if not seconds:
        return False
    if link.wait(answered, 0.5):
        return True
    state = link.retained(Status).state
    if state != "online":
        print(f"{link.device} is {state or 'not known'}: it is told when it is back; waiting for {seconds:g} s")
    if link.wait(answered, seconds):
        return True
    held = "" if link.listened else "; no ingest worker listens, and devices keep their reports until one does"
    print(f"no answer within {seconds:g} s; the wish stays at the broker{held}", file=sys.stderr)
    return False
