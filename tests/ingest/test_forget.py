"""`tinyml forget` erases everywhere, proves it, and leaves alone what others need."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from broker.address import BrokerAddress
from broker.cli import main
from broker.connection import Connection, Options
from broker.process import BrokerProcess
from ingest.consumers.samples import picture_key
from ingest.embedded import Postgres
from ingest.keeping.forget import BY_SERIES, MENTIONS, NOT_OF_A_DEVICE
from ingest.keeping.spent import remove
from ingest.stores.deployment_runs import run_of
from ingest.stores.models import MlflowRegistry
from ingest.stores.objects import Folder
from tests.postgres import fresh_database
from tests.registries import empty_registry
from tests.rows import fill

DEVICE, SAMPLE, OTHER = "lamp-1", "l17-f204", "lamp-2"
PICTURE, SHARED = b"a picture", b"a picture that another device took as well"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Everything:
    """Two devices with something of each wherever there can be something."""

    def __init__(self, folder: Path, database: str, broker: BrokerProcess, registry: str) -> None:
        self.database, self.broker, self.registry = database, broker, registry
        self.objects = Folder(folder / "objects")
        self.eyes = psycopg.connect(database, autocommit=True)
        self.link = Connection(Options(address=BrokerAddress.of(broker.url), client_id="everything"))
        self.link.start()
        assert self.link.wait_connected(10)
        for number, device, sample in ((1, DEVICE, SAMPLE), (2, OTHER, "l18-f1")):
            self.tables = fill(
                self.eyes,
                number=number,
                device=device,
                sample=sample,
                samples=[sample, "another"],
                topic=f"tinyml/{device}/sample/{sample}",
                said=f"looked after {device} and {sample}",
                picture_digest=digest(PICTURE if number == 1 else SHARED),
                sha256=digest(device.encode()),
                text=f"{device} says {sample}",
            )
        # A third sample has a picture that the first device has as well.
        self.add_sample("another", SHARED)
        for data in (PICTURE, SHARED):
            self.objects.put(picture_key(digest(data)), data)
        for device in (DEVICE, OTHER):
            self.objects.put(f"blobs/{digest(device.encode())[:2]}/{digest(device.encode())}", b"blob")
            self.retain(device, "status", f"label/{SAMPLE}", "model/desired", "command/c1", "config/reported")
        self.eyes.execute("UPDATE blob SET state = 'stored'")
        self.eyes.execute("UPDATE device SET heard_at = now() - interval '1 day'")

    def add_sample(self, sample: str, picture: bytes) -> None:
        self.eyes.execute(
            "INSERT INTO sample (device, boot, seq, at, clock, op_s, sample, episode, bundle, predicted, confidence,"
            " score, features, neighbours, distances, picture_digest, picture_type, width, height)"
            " SELECT device, boot, seq + 100, at, clock, op_s, %s, episode, bundle, predicted, confidence, score,"
            " features, neighbours, distances, %s, picture_type, width, height FROM sample WHERE device = %s LIMIT 1",
            [sample, digest(picture), DEVICE],
        )

    def retain(self, device: str, *paths: str) -> None:
        for path in paths:
            assert self.link.publish(f"tinyml/{device}/{path}", b"something", retain=True) is not None
        assert self.link.wait_confirmed(0, 10)

    def forget(self, *words: str) -> int:
        """The status of `tinyml forget`."""
        stores = ("--database", self.database, "--objects", str(self.objects.folder), "--registry", self.registry)
        return main(["forget", *words, "--broker", self.broker.url, *stores])

    def mentions(self, word: str) -> dict[str, int]:
        """In how many rows of which tables a word still stands, wherever in the row."""
        found = {}
        for table in sorted(self.tables):
            statement = f"SELECT count(*) FROM {table} r WHERE r::text ~ %s OR position(%s IN r::text) > 0"
            looked = self.eyes.execute(
                statement.encode(), [f"(?<![a-z0-9-]){word}(?![a-z0-9-])", word.encode().hex()]
            )
            ((count,),) = looked.fetchall()
            found[table] = count
        return {table: count for table, count in found.items() if count}

    def count(self, table: str, device: str) -> int:
        row = self.eyes.execute(f"SELECT count(*) FROM {table} WHERE device = %s".encode(), [device]).fetchone()
        return row[0] if row else 0

    def close(self) -> None:
        self.link.stop()
        self.eyes.close()


@pytest.fixture
def everything(tmp_path: Path, broker: BrokerProcess, database_url: str) -> Iterator[Everything]:
    made = Everything(tmp_path, database_url, broker, empty_registry(tmp_path))
    yield made
    made.close()


def test_every_table_is_of_a_device_or_known_to_be_of_none(database_url: str, eyes: psycopg.Connection) -> None:
    """Fails for a new table that `tinyml forget` would not look into: name it in ingest/keeping/forget.py."""
    tables = {name for (name,) in eyes.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    columns = eyes.execute("SELECT table_name, column_name FROM information_schema.columns").fetchall()
    of_a_device = {table for table, column in columns if column == "device" and table in tables}
    assert tables - of_a_device - set(BY_SERIES) == NOT_OF_A_DEVICE
    assert {(table, column) for table, names in MENTIONS.items() for column in names} <= set(columns)


def test_forgets_a_device_everywhere(everything: Everything, capsys: pytest.CaptureFixture[str]) -> None:
    for device in (DEVICE, OTHER):
        run_of(MlflowRegistry(everything.registry), device, "digest", None, 0)
    of_others = {table: everything.count(table, OTHER) for table in ("sample", "label", "device", "telemetry", "log")}
    assert everything.forget("device", DEVICE, "--yes") == 0
    said = capsys.readouterr().out
    assert f"nothing of device {DEVICE} is left in objects, database, broker and registry" in said
    assert "label/l17-f204" in said
    assert everything.mentions(DEVICE) == {}
    for table in BY_SERIES:  # they name their device by a number
        assert everything.eyes.execute(f"SELECT series FROM {table}".encode()).fetchall() == [(2,)]
    assert {table: everything.count(table, OTHER) for table in of_others} == of_others
    left = [digest(SHARED), digest(OTHER.encode())]
    assert sorted(key.rpartition("/")[2] for key in everything.objects.list()) == sorted(left)
    registry = MlflowRegistry(everything.registry)
    assert (registry.of_device(DEVICE), registry.of_device(OTHER)) == (0, 1)
    assert everything.forget("device", DEVICE, "--yes") == 0
    assert capsys.readouterr().out == f"there is nothing of device {DEVICE}\n"


def test_forgets_a_sample_and_nothing_else_of_its_device(
    everything: Everything, capsys: pytest.CaptureFixture[str]
) -> None:
    assert everything.forget("sample", DEVICE, SAMPLE, "--yes") == 0
    assert f"nothing of sample {SAMPLE} of {DEVICE} is left" in capsys.readouterr().out
    assert everything.mentions(SAMPLE) == {}
    kept = [everything.count(table, DEVICE) for table in ("device", "drift_event", "sample", "label", "log")]
    assert kept == [1, 1, 1, 0, 1]
    assert everything.eyes.execute("SELECT samples FROM adaptation WHERE device = %s", [DEVICE]).fetchone() == (
        ["another"],
    )
    assert not any(key.endswith(digest(PICTURE)) for key in everything.objects.list())
    assert everything.count("label", OTHER) == 1


def test_a_picture_that_another_sample_has_stays(everything: Everything) -> None:
    assert everything.forget("sample", DEVICE, "another", "--yes") == 0
    assert picture_key(digest(SHARED)) in everything.objects.list()


def test_refuses_a_device_that_was_heard_lately(everything: Everything, capsys: pytest.CaptureFixture[str]) -> None:
    everything.eyes.execute("UPDATE device SET heard_at = now()")
    assert everything.forget("device", DEVICE, "--yes") == 2
    assert (
        "would be back with its next message; stop it and wait 10 minutes, or say --force" in capsys.readouterr().err
    )
    assert everything.count("device", DEVICE) == 1
    assert everything.forget("device", DEVICE, "--yes", "--force") == 0


def test_says_what_came_back_and_leaves_with_status_1(
    everything: Everything, capsys: pytest.CaptureFixture[str]
) -> None:
    everything.eyes.execute(
        "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO device (device) VALUES (OLD.device); RETURN NULL; END $$"
    )
    everything.eyes.execute("CREATE TRIGGER again AFTER DELETE ON device FOR EACH ROW EXECUTE FUNCTION again()")
    assert everything.forget("device", DEVICE, "--yes") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        f"erased, but this is left or came back of device {DEVICE}:",
        f"  {'database':9} {1:8}  device",
    ]


def test_asks_before_it_erases(
    everything: Everything, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert everything.forget("device", DEVICE) == 2
    assert "nobody is there to confirm it; say --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "no")
    assert everything.forget("device", DEVICE) == 1
    assert capsys.readouterr().out.endswith("nothing was erased\n")
    monkeypatch.setattr("builtins.input", lambda _: DEVICE)
    assert everything.forget("device", DEVICE) == 0


def test_erases_nothing_while_a_store_is_away(
    everything: Everything, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.keeping.retained.PATIENCE_S", 0.5)
    everything.broker.stop()
    assert everything.forget("device", DEVICE, "--yes") == 2
    assert "the broker is away" in capsys.readouterr().err
    assert everything.count("sample", DEVICE) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(("device", "Lamp"), "is not a device id"), (("sample", DEVICE, "A b"), "'A b' is not a sample id")],
)
def test_refuses_names_that_are_none(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["forget", *words, "--yes"]) == 2
    assert sentence in capsys.readouterr().err


def test_puts_an_object_back_that_was_needed_again_while_it_was_removed(
    database_url: str, eyes: psycopg.Connection, tmp_path: Path
) -> None:
    key = picture_key(digest(PICTURE))

    class Slow(Folder):
        """A row with the same picture is stored just before the object goes."""

        def delete(self, key: str) -> None:
            fill(eyes, picture_digest=digest(PICTURE))
            super().delete(key)

    objects = Slow(tmp_path)
    objects.put(key, PICTURE)
    assert not remove(eyes, objects, key)
    assert objects.get(key) == PICTURE


@pytest.mark.timescale
def test_forgets_a_device_in_hypertables(
    timescale_server: Postgres, tmp_path: Path, broker: BrokerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    for url in fresh_database(timescale_server):
        everything = Everything(tmp_path, url, broker, empty_registry(tmp_path))
        assert everything.forget("device", DEVICE, "--yes") == 0
        assert everything.mentions(DEVICE) == {}
        everything.close()
