"""A managed device on a broker of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker.embedded import BrokerProcess
from broker.messages import Birth
from tests.edge.remote.site import Site
from tests.edge.server import Server
from tests.edge.test_cli import Kit, broker, kit, settings
from tests.support import wait_until

__all__ = ["broker", "kit"]


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
