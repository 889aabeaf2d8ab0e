"""`tinyml edge export`: what waits in the spool as a file, for a device that has no link."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from broker import __version__, codec, export
from broker.errors import DecodeError

from .errors import ExportError
from .ports.spool_copy import SpoolCopy, copy_of
from .state_place import HINT, parser_for, place

ABOUT = f"""Writes the records that wait for the server into a file, to be carried there: a CBOR sequence that begins
with what device it is of and ends with a checksum. Nothing is removed: the device sends them all the same once it has
a link, and the server keeps each once. The device may be running; what it has not on its disk yet is left out.

The end of the file's name says how it is packed: .cborseq, .cborseq.gz, or .cborseq.zst where Python has zstd. To
look into one: gzip -dc FILE | tinyml decode

{HINT}"""


def main(argv: Sequence[str]) -> int:
    parser = parser_for("tinyml edge export", ABOUT)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where to; -: standard output; default DEVICE-TIME.cborseq.gz, here"
    )
    arguments = parser.parse_args(argv)
    directory, device = place(arguments)
    if arguments.output == "-":
        with copy_of(directory, Path(os.environ.get("TMPDIR", "/tmp"))) as copy:  # noqa: S108  a folder is made in it
            about = _about(copy, device)
            export.write(sys.stdout.buffer, about, (record.data for record in copy.read()))
            sys.stdout.buffer.flush()
        return 0
    output = Path(arguments.output) if arguments.output else None
    with copy_of(directory, output.parent if output else Path()) as copy:
        about = _about(copy, device)
        output = output or Path(
            f"{about.device or 'device'}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}{export.PLAIN}{export.GZIP}"
        )
        _write(output, about, copy)
    if about.damaged:
        print("note: the spool is damaged; this is what could be saved of it", file=sys.stderr)
    boots = f"{len(about.boots)} boots" if len(about.boots) != 1 else "1 boot"
    print(f"{output}: {about.records:,} records of {boots}, {output.stat().st_size / 1000:,.1f} KB; none was removed")
    return 0


def _about(copy: SpoolCopy, device: str) -> export.Export:
    with closing(copy.read()) as records:
        first = next(records, None)
    if first is not None:
        with suppress(DecodeError):  # the setting has to do
            device = codec.decode_header(first.data).device or device
    return export.Export(
        version=__version__,
        device=device,
        boot=copy.latest_boot,
        boots=tuple(copy.boots.values()),
        records=copy.records,
        exported_us=time.time_ns() // 1000,
        damaged=copy.damaged,
    )


def _write(output: Path, about: export.Export, copy: SpoolCopy) -> None:
    """Writes beside, syncs and renames: a stick that is pulled out holds a whole file or none of that name."""
    part = output.with_name(output.name + ".part")
    try:
        with part.open("wb") as file:
            with export.packed(file, output.name) as stream:
                export.write(stream, about, (record.data for record in copy.read()))
            file.flush()
            os.fsync(file.fileno())
        part.replace(output)
    except OSError as error:
        raise ExportError(f"{output} cannot be written: {(error.strerror or '').lower()}") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
