"""A whole device that is managed over a real broker."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest

from broker import codec
from broker.embedded import BrokerProcess
from broker.messages import (
    Birth,
    CommandIssued,
    CommandReported,
    ConfigDesired,
    ConfigReported,
    Message,
    SampleQuarantined,
    SnapshotTaken,
)
from edge_actors.process import EdgeProcess, start
from tests.edge.server import Server
from tests.edge.test_cli import Kit, broker, kit, settings
from tests.support import wait_until

__all__ = ["broker", "kit"]
M = TypeVar("M", bound=Message)


class Site:
    """A device that is run again whenever it wants that, and a server that tells it what people want."""

    def __init__(self, server: Server, setup: Any) -> None:
        self.server, self.setup = server, setup
        self.processes: list[EdgeProcess] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        server.listen()
        self._thread.start()

    def _run(self) -> None:
        again = True
        while again and not self._stopping:
            process = start(self.setup)
            self.processes.append(process)
            process.run()
            again = process.again

    def stop(self) -> None:
        self._stopping = True
        self.processes[-1].stop("the test is over")
        self._thread.join(20)
        assert not self._thread.is_alive()

    def say(self, path: str, message: Message) -> None:
        topic = f"{self.server.root}/dev1/{path}"
        self.server.connection.publish(topic, codec.encode(message), retain=True)

    def command(self, command: str, verb: str, **more: Any) -> list[CommandReported]:
        """Issues a command and waits for its last report; all its reports."""
        self.say(f"command/{command}", CommandIssued(command=command, verb=verb, **more))
        reports: Callable[[], list[CommandReported]] = lambda: [  # noqa: E731  it is asked again and again
            report for report in self.heard(CommandReported) if report.command == command
        ]
        wait_until(lambda: reports() and reports()[-1].state in ("done", "failed", "expired"), 20)
        return reports()

    def heard(self, kind: type[M]) -> list[M]:
        return [message for _, _, message in list(self.server.heard) if isinstance(message, kind)]

    def config(self, revision: int, waiting: bool = False) -> ConfigReported:
        """The report of this revision, once nothing waits for a restart any more."""
        found: Callable[[], list[ConfigReported]] = lambda: [  # noqa: E731
            one for one in self.heard(ConfigReported) if one.revision == revision and bool(one.restart) == waiting
        ]
        wait_until(found, 20)
        return found()[-1]


@pytest.fixture
def site(broker: BrokerProcess, kit: Kit, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    with ExitStack() as ends:
        server = Server(broker, f"managed-{request.node.name.replace('_', '-')[:60]}")
        ends.callback(server.connection.stop)
        setup = settings(
            kit,
            tmp_path / "state",
            mode="managed",
            once=False,
            fps=20.0,
            broker=broker.url,
            root=server.root,
            clock="synced",
            drain_s=5.0,
        )
        site = Site(server, setup)
        ends.callback(site.stop)
        wait_until(lambda: site.heard(Birth), 20)
        yield site


def test_settings_apply_live_and_by_a_restart_and_stay(site: Site) -> None:
    site.say("config/desired", ConfigDesired(revision=1, settings={"reading_s": "0.2", "location": "porch"}))
    assert site.config(1).applied == {"reading_s": "0.2", "location": "porch"}
    assert len(site.processes) == 1
    assert site.processes[0].probe.interval_s == 0.2
    wait_until(lambda: site.heard(Birth)[-1].location == "porch")
    assert site.heard(Birth)[-1].config == 1

    site.say("config/desired", ConfigDesired(revision=2, settings={"privacy": "features", "camera": "-"}))
    assert site.config(2, waiting=True).restart == ("privacy",)
    reported = site.config(2)
    assert reported.applied == {"privacy": "features"}
    assert reported.rejected == {"camera": "it cannot be set from afar, only where the device is set up"}
    assert len(site.processes) == 2
    wait_until(lambda: site.heard(Birth)[-1].privacy == "features")
    assert site.heard(Birth)[-1].location == "", "what is not wanted any more is as the device was set up"


def test_commands_are_done_and_reported(site: Site) -> None:
    assert [report.state for report in site.command("c1", "snapshot")] == ["accepted", "done"]
    taken = site.heard(SnapshotTaken)[-1]
    assert site.command("c1b", "snapshot")[-1].result["snapshot"] != taken.snapshot

    sent = site.command("c2", "send-sample")[-1]
    wait_until(lambda: site.heard(SampleQuarantined))
    sample = site.heard(SampleQuarantined)[0]
    assert sent.result == {"sample": sample.sample}
    assert sample.picture[:2] == b"\xff\xd8"
    assert sample.values

    found = site.command("c3", "diagnostics")[-1].result
    assert json.loads(found["versions"])["tinymlops"]
    assert json.loads(found["settings"])["device"] == "dev1"
    assert "password" not in json.loads(found["settings"])
    assert "extractor_p50_us" in json.loads(found["metrics"])
    assert "records" in json.loads(found["spool"])

    births = len(site.heard(Birth))
    assert site.command("c4", "rebirth")[-1].state == "done"
    wait_until(lambda: len(site.heard(Birth)) > births)
    assert "there are diagnostics, rebirth, restart" in site.command("c5", "dance")[-1].reason


def test_a_restart_is_accepted_before_and_done_after_it(site: Site) -> None:
    reports = site.command("c1", "restart")
    assert [report.state for report in reports] == ["accepted", "done"]
    boots = [header.boot for _, header, one in site.server.heard if isinstance(one, CommandReported)]
    assert boots[0] != boots[1]
    assert len(site.processes) == 2
