"""`tinyml edge confirm`: a stopped device forgets what the server has stored of what was carried to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from broker import receipt

from .ports.spool_confirm import confirm
from .ports.state_directory import StateDirectory
from .state_place import HINT, parser_for, place

ABOUT = f"""Makes room on a device that has no link: it forgets the records that a receipt says are stored.

  tinyml edge export -o lamp.cborseq.gz                           on the device, running or not
  tinyml ingest import lamp.cborseq.gz --receipt lamp.receipt     on the server
  tinyml edge confirm lamp.receipt                                on the device, which has to be stopped

Nobody has to do this: a device that has a link again sends what it still has, and the server keeps each record once.

{HINT}"""


def main(argv: Sequence[str]) -> int:
    parser = parser_for("tinyml edge confirm", ABOUT)
    parser.add_argument("receipt", type=Path, metavar="RECEIPT", help="what tinyml ingest import --receipt wrote")
    arguments = parser.parse_args(argv)
    stored = receipt.read(arguments.receipt)
    path, _ = place(arguments)
    state = StateDirectory(path)  # so that no device runs on it meanwhile
    try:
        forgotten, waiting = confirm(path / "spool.db", stored)
    finally:
        state.release()
    print(f"{forgotten:,} records are stored and were forgotten; {waiting:,} still wait")
    return 0
