"""How many bytes a record takes in the database, indexes and all: `python -m benchmarks.ingest.row_bytes`.

Stores what simulated devices say and measures the tables. TINYML_TIMESCALE_BIN names the server programs where
TimescaleDB is to be measured; its compression, which makes the steady tables several times smaller, is not counted.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import psycopg

from broker.codec import encode
from broker.messages import Header, Telemetry
from broker.topics import full, path_of
from ingest.embedded import EmbeddedPostgres, Postgres, TimescalePostgres
from ingest.filing import Filing
from ingest.intake import Record, read
from ingest.stores.events import PostgresEvents, connect, server_level
from ingest.stores.migrate import migrate
from ingest.stores.objects import Folder
from platform_api.simulate.contents import Life, Pool

BATCH = 2000  # records a transaction
DEVICES = 50
READINGS_A_MESSAGE = 10  # times at which was read, as a device of the usual settings sends them
BEGAN_US = 1_790_000_000_000_000
SIZES = """
    SELECT c.relname, sum(pg_total_relation_size(t.oid))::bigint
    FROM pg_class c
    JOIN LATERAL (
        SELECT c.oid
        UNION ALL
        SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = c.oid
    ) t ON true
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
    GROUP BY c.relname
"""


def records(count: int) -> Iterator[Record]:
    """What devices say, in turn, a record every six seconds each."""
    pool = Pool(seed=1, batch=READINGS_A_MESSAGE)
    lives = [Life(pool, Random(number), f"{number:064x}", thumbnails=1.0) for number in range(DEVICES)]
    for number in range(count):
        device, seq = f"sim-{number % DEVICES:05}", number // DEVICES + 1
        boot, at = f"{number % DEVICES:08x}-000001", 6.0 * seq
        wall_us = BEGAN_US + int(at * 1e6) + number % DEVICES
        message = lives[number % DEVICES].next(boot, at)
        header = Header(device=device, boot=boot, seq=seq, wall_us=wall_us, mono_us=int(at * 1e6), clock="synced")
        taken = read(full(device, path_of(message)), encode(message, header))
        assert isinstance(taken, Record), taken
        yield taken


def measure(server: Postgres, count: int, folder: Path) -> Iterator[str]:
    """The lines of the table."""
    with connect(server.url) as connection:
        migrate(connection)
        level = server_level(connection)
    events = PostgresEvents(server.url)
    filing = Filing(events, Folder(folder / "objects"))
    kept: list[Record] = []
    readings, pictures = 0, Counter[str]()
    for record in records(count):
        kept.append(record)
        readings += READINGS_A_MESSAGE * len(record.message.names) if isinstance(record.message, Telemetry) else 0
        if picture := getattr(record.message, "picture", b""):
            pictures.update(pictures=1, bytes=len(picture))
        if len(kept) == BATCH:
            filing.file(kept)
            kept.clear()
    if kept:
        filing.file(kept)
    events.close()
    yield f"{count:,} records of {DEVICES} devices, {level}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        sizes: list[tuple[str, int]] = connection.execute(SIZES).fetchall()
        for name, size in sorted(sizes, key=lambda one: -one[1]):
            (rows,) = connection.execute(f"SELECT count(*) FROM {name}".encode()).fetchone() or (0,)
            if rows >= 500:
                yield f"{name:<20}{rows:>10,} rows{size / rows:>9.0f} bytes a row"
    if readings:
        yield f"a reading is a row of `reading`; {readings:,} of them came in the telemetry"
    if pictures["pictures"]:
        yield f"a picture has {pictures['bytes'] / pictures['pictures']:,.0f} bytes in the object store"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest.row_bytes", description=__doc__)
    parser.add_argument("--records", type=int, default=200_000, metavar="N", help="how many; default %(default)s")
    count = parser.parse_args().records
    programs = os.environ.get("TINYML_TIMESCALE_BIN", "")
    with tempfile.TemporaryDirectory(prefix="tinyml-rows-") as directory:
        folder = Path(directory)
        server = TimescalePostgres(Path(programs), folder / "db") if programs else EmbeddedPostgres(folder / "db")
        server.start()
        try:
            for line in measure(server, count, folder):
                print(line, flush=True)
        finally:
            server.remove()


if __name__ == "__main__":
    main()
