"""Imports point one way, and the edge stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("broker", "edge_actors", "ingest", "platform_api", "dashboards")
ALLOWED = {
    "broker": {"broker"},
    "edge_actors": {"edge_actors", "broker"},
    "ingest": {"ingest", "broker"},
    "platform_api": set(OURS),
    "dashboards": {"dashboards"},
}
SERVER = ("fastapi", "psycopg", "minio", "mlflow", "aiomqtt", "sqlalchemy", "amqtt", "rich", "sklearn", "httpx")


def imported(path: Path) -> Iterator[str]:
    """The top-level packages that a file imports from outside its own, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", [name for name in OURS if (ROOT / name).is_dir()])
def test_imports_point_one_way(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for name in imported(path)
        if name in OURS and name not in ALLOWED[package]
    ]
    assert not wrong


def loaded_by(module: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after importing one."""
    program = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


def test_the_edge_loads_no_server_package() -> None:
    assert not loaded_by("edge_actors.wiring") & {*SERVER, "ingest", "platform_api"}


def test_the_contract_needs_cbor2_and_nothing_else() -> None:
    ours = loaded_by("broker.codec, broker.topics, broker.journal, broker.settings, broker.cli")
    assert not ours & {*SERVER, "numpy", "paho"}


def test_the_command_loads_a_subcommand_only_when_it_is_used() -> None:
    assert not loaded_by("broker.cli") & {"cbor2", "edge_actors", "ingest", "platform_api"}
