"""What is in a package is told by its content, and what is hostile or damaged is refused with the reason."""

from __future__ import annotations

import gzip
import io
import random
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import export
from ingest.errors import EntryRefused, PackageRefused
from ingest.packages.contents import contents, packing_of
from ingest.packages.limits import Limits
from ingest.packages.streams import drain
from tests.ingest.packages.made import bomb, exported, picture, records, special, tar, zipped, zstd

EXPORT, BARE = exported(), b"".join(records())
SMALL = Limits(packed_bytes=4 << 20, unpacked_bytes=40 << 20, entries=50)
FILES = {"a/x.cborseq": EXPORT, "b/x.cborseq.gz": gzip.compress(BARE), "lamp-1/s1.png": picture(), "notes.txt": b"hi"}
KINDS = [
    ("a/x.cborseq", "export"),
    ("b/x.cborseq.gz", "records"),
    ("lamp-1/s1.png", "picture"),
    ("notes.txt", "other"),
]


def read(data: bytes, limits: Limits = SMALL) -> list[tuple[str, str, int]]:
    """Name, kind and size of everything in a package, -1 where an entry cannot be read."""
    found = []
    for entry in contents(io.BytesIO(data), "it", limits):
        try:
            found.append((entry.name, entry.kind, drain(entry.stream)))
        except EntryRefused:
            found.append((entry.name, entry.kind, -1))
    return found


@pytest.mark.parametrize(
    ("data", "packing", "kinds"),
    [
        pytest.param(EXPORT, "export", [("it", "export")], id="export"),
        pytest.param(gzip.compress(EXPORT), "gzip export", [("it", "export")], id="gzip"),
        pytest.param(
            gzip.compress(EXPORT[:99]) + gzip.compress(EXPORT[99:]), "gzip export", [("it", "export")], id="2"
        ),
        pytest.param(zstd(EXPORT), "zstd export", [("it", "export")], id="zstd"),
        pytest.param(BARE, "records", [("it", "records")], id="bare"),
        pytest.param(gzip.compress(BARE), "gzip records", [("it", "records")], id="bare-gzip"),
        pytest.param(tar(FILES), "gzip tar", KINDS, id="tar.gz"),
        pytest.param(tar(FILES, "w"), "tar", KINDS, id="tar"),
        pytest.param(tar(FILES, "w", tarfile.GNU_FORMAT), "tar", KINDS, id="gnu"),
        pytest.param(tar(FILES, "w", tarfile.USTAR_FORMAT), "tar", KINDS, id="ustar"),
        pytest.param(zstd(tar(FILES, "w")), "zstd tar", KINDS, id="tar.zst"),
        pytest.param(zipped(FILES), "zip", KINDS, id="zip"),
        pytest.param(zipped(FILES, zipfile.ZIP_STORED), "zip", KINDS, id="zip-stored"),
        pytest.param(b"what is this", "other", [("it", "other")], id="other"),
        pytest.param(b"", "other", [("it", "other")], id="empty"),
    ],
)
def test_what_a_package_is_is_told_by_its_content(data: bytes, packing: str, kinds: list[tuple[str, str]]) -> None:
    assert packing_of(io.BytesIO(data)) == packing
    found = read(data)
    assert [(name, kind) for name, kind, _ in found] == kinds
    assert all(size >= 0 for _, _, size in found)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_in_a_tar_are_read_whole(form: int) -> None:
    name = "deep/" * 40 + "größe.cborseq"
    assert read(tar({name: EXPORT, "b": BARE}, "w", form)) == [
        (name, "export", len(EXPORT)),
        ("b", "records", len(BARE)),
    ]


def test_archives_in_archives_are_named_and_not_opened() -> None:
    inside = {
        "t.tar": tar({"x": BARE}, "w"),
        "t.tgz": tar({"x": BARE}),
        "x.gz.gz": gzip.compress(gzip.compress(BARE)),
    }
    assert [kind for _, kind, _ in read(tar(inside))] == ["archive", "archive", "archive"]
    for data in (gzip.compress(gzip.compress(BARE)), gzip.compress(zipped(FILES))):
        with pytest.raises(PackageRefused, match="within gzip"):
            read(data)


# ---- hostile -----------------------------------------------------------------------------------------------------

LINK = tarfile.TarInfo("x")
LINK.type, LINK.linkname = tarfile.SYMTYPE, "/etc/passwd"
HARD = tarfile.TarInfo("x")
HARD.type, HARD.linkname = tarfile.LNKTYPE, "../y"
PIPE = tarfile.TarInfo("x")
PIPE.type = tarfile.FIFOTYPE
DEVICE = tarfile.TarInfo("x")
DEVICE.type = tarfile.CHRTYPE


def with_zip_link() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("x")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def encrypted() -> bytes:
    data = bytearray(zipped({"x": BARE}))
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    return bytes(data)


def packed_as(method: int) -> bytes:
    return zipped({"x": BARE}, method)


def lying_count(change: int) -> bytes:
    data = bytearray(zipped({"a": BARE, "b": BARE}))
    at = data.rindex(b"PK\5\6")
    (count,) = struct.unpack_from("<H", data, at + 8)
    struct.pack_into("<2H", data, at + 8, count + change, count + change)
    return bytes(data)


def overlapping() -> bytes:
    """Two names for the same bytes, as in a bomb whose directory points to one kernel again and again."""
    data = bytearray(zipped({"a": BARE, "b": BARE}))
    first = data.index(b"PK\1\2")
    second = data.index(b"PK\1\2", first + 1)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    return bytes(data)


def many(count: int) -> bytes:
    return tar({f"f{number}": b"" for number in range(count)})


def claiming(size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(2048)


def header_claiming(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(2048)


def pax(fields: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, len(fields)
    head = info.tobuf(tarfile.USTAR_FORMAT) + fields + bytes(-len(fields) % 512)
    return head + special(tarfile.TarInfo("y"))


def huge_window() -> bytes:
    """A frame that asks whoever unpacks it for a gigabyte of memory."""
    module = export.zstd()
    compressor = module.ZstdCompressor(options={module.CompressionParameter.window_log: 30})
    made: bytes = compressor.compress(EXPORT) + compressor.flush()
    return made


def zip_bomb() -> bytes:
    return zipped({f"b{number}": bytes(8 << 20) for number in range(8)})


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda: tar({"../x": BARE}), "leads out of the archive", id="traversal"),
        pytest.param(lambda: tar({"a/../../x": BARE}), "leads out of the archive", id="traversal-inside"),
        pytest.param(lambda: zipped({"../x": BARE}), "leads out of the archive", id="zip-traversal"),
        pytest.param(lambda: tar({"/etc/x": BARE}), "not a path within the archive", id="absolute"),
        pytest.param(lambda: zipped({"/etc/x": BARE}), "not a path within the archive", id="zip-absolute"),
        pytest.param(lambda: zipped({"C:/x": BARE}), "not a path within the archive", id="drive"),
        pytest.param(lambda: tar({"a\\..\\x": BARE}), "not a path within the archive", id="backslash"),
        pytest.param(lambda: tar({"a\nb": BARE}), "no name of a file", id="control"),
        pytest.param(lambda: tar({"a" * 2000: BARE}), "no name of a file", id="long-name"),
        pytest.param(lambda: tar({"a": BARE, "./a": BARE}), "two entries are named", id="twice"),
        pytest.param(lambda: zipped({"a": BARE, "A": BARE}), "two entries are named", id="twice-but-for-case"),
        pytest.param(lambda: special(LINK), "is a link", id="link"),
        pytest.param(lambda: special(HARD), "is a link", id="hard-link"),
        pytest.param(lambda: special(PIPE), "is a named pipe", id="fifo"),
        pytest.param(lambda: special(DEVICE), "is a device", id="device"),
        pytest.param(with_zip_link, "is a link or a device", id="zip-link"),
        pytest.param(encrypted, "is encrypted", id="encrypted"),
        pytest.param(lambda: packed_as(zipfile.ZIP_LZMA), "not opened here", id="lzma"),
        pytest.param(lambda: lying_count(1), "its directory lists others", id="zip-more"),
        pytest.param(lambda: lying_count(-1), "its directory lists others", id="zip-fewer"),
        pytest.param(overlapping, "lies over something else", id="overlap"),
        pytest.param(lambda: b"PK\3\4" + bytes(400), "directory at its end is missing", id="zip-cut"),
        pytest.param(lambda: zipped(FILES) + b"x", "is not what the end of the file says", id="zip-followed"),
        pytest.param(lambda: b"PK\3\4" + zipped(FILES), "is not what the end of the file says", id="zip-led"),
        pytest.param(lambda: zipped(FILES)[:-30], "directory at its end is missing", id="zip-truncated"),
        pytest.param(zip_bomb, "unpacks to more than", id="zip-bomb"),
        pytest.param(bomb, "unpacks to more than|bytes come out", id="gzip-bomb"),
        pytest.param(lambda: zstd(bytes(64 << 20)), "unpacks to more than|bytes come out", id="zstd-bomb"),
        pytest.param(lambda: tar({"x": gzip.compress(bytes(64 << 20))}, "w"), "unpacks to more", id="bomb-in-tar"),
        pytest.param(lambda: tar({"x": bytes(32 << 20)}), "unpacks to more", id="tar-bomb"),
        pytest.param(huge_window, "its zstd is damaged", id="zstd-window"),
        pytest.param(lambda: many(60), "more than 50 entries", id="many"),
        pytest.param(lambda: zipped({f"f{n}": b"" for n in range(60)}), "more than 50 entries", id="zip-many"),
        pytest.param(lambda: claiming(1 << 40), "claims 1,099,511,627,776 bytes", id="claim"),
        pytest.param(lambda: claiming(1 << 20), "it is cut short|archive is cut short", id="claim-more"),
        pytest.param(lambda: header_claiming(tarfile.GNUTYPE_LONGNAME, 1 << 33), "claims", id="long-name-claim"),
        pytest.param(lambda: header_claiming(tarfile.XHDTYPE, 1 << 33), "claims", id="pax-claim"),
        pytest.param(lambda: header_claiming(tarfile.GNUTYPE_SPARSE, 0), "sparse", id="sparse"),
        pytest.param(lambda: pax(b"22 GNU.sparse.major=1\n"), "sparse", id="pax-sparse"),
        pytest.param(lambda: pax(b"15 path=/etc/x\n"), "not a path within", id="pax-absolute"),
        pytest.param(lambda: pax(b"15 path=/etc/x\n", tarfile.XGLTYPE), "names or measures", id="pax-global"),
        pytest.param(lambda: pax(b"9999999 path=x\n"), "damaged", id="pax-length"),
        pytest.param(lambda: pax(b"13 size=-900\n"), "damaged", id="pax-size"),
        pytest.param(lambda: gzip.compress(EXPORT) + b"garbage", "follows the end of its gzip", id="gzip-garbage"),
        pytest.param(lambda: zstd(EXPORT) + b"garbage", "follows the end of its zstd", id="zstd-garbage"),
        pytest.param(
            lambda: gzip.compress(b"") * 1001 + gzip.compress(BARE), "more than 1,000 members", id="members"
        ),
        pytest.param(lambda: tar(FILES)[:-20], "cut short", id="tar-truncated"),
        pytest.param(lambda: tar(FILES, "w")[:1500], "cut short", id="tar-cut"),
        pytest.param(lambda: tar(FILES, "w") + b"x" * 600, "follows the end of its tar", id="tar-followed"),
        pytest.param(lambda: bytes(5 << 20), "a package may have 4,194,304", id="large"),
    ],
)
def test_what_is_hostile_or_damaged_is_refused_with_the_reason(make: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(PackageRefused, match=reason):
        read_to_the_end(make())


def read_to_the_end(data: bytes) -> None:
    """As read, but a package that is one thing is only as good as that."""
    file = io.BytesIO(data)
    packing_of(file)
    for entry in contents(file, "it", SMALL):
        try:
            drain(entry.stream)
        except EntryRefused as error:
            raise PackageRefused(str(error)) from None


def test_a_spoiled_entry_spoils_no_other() -> None:
    spoiled = bytearray(gzip.compress(BARE))
    spoiled[-6] ^= 1
    found = read(tar({"a": bytes(spoiled), "b": gzip.compress(BARE)[:-9], "c": BARE}))
    assert [(name, size) for name, _, size in found] == [("a", -1), ("b", -1), ("c", len(BARE))]
    data = bytearray(zipped({"a": BARE, "c": BARE}))
    data[60] ^= 0xFF
    assert [size for _, _, size in read(bytes(data))] == [-1, len(BARE)]


def test_a_directory_of_a_zip_that_is_far_larger_than_its_entries_is_not_built() -> None:
    data = zipped({"a": b""})
    at = data.rindex(b"PK\5\6")
    listed = struct.pack("<4s24x3H12x", b"PK\1\2", 0, 0, 0) * 100_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(listed), at, 0)
    with pytest.raises(PackageRefused, match="for 1 entries"):
        read(data[:at] + listed + end, Limits(packed_bytes=64 << 20))


VALID = [
    EXPORT,
    gzip.compress(EXPORT),
    zstd(EXPORT),
    BARE,
    tar(FILES),
    tar(FILES, "w"),
    zipped(FILES),
    zstd(tar(FILES, "w")),
]


@settings(max_examples=1000)
@given(st.integers(0, len(VALID) - 1), st.integers(0, 2**32))
def test_whatever_is_changed_a_package_is_read_or_refused_and_nothing_else_happens(which: int, seed: int) -> None:
    data = mutated(VALID[which], random.Random(seed))
    with suppress(PackageRefused):
        packing_of(io.BytesIO(data))
        assert sum(size for _, _, size in read(data)) <= SMALL.unpacked_bytes


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A few bytes flipped, removed, repeated or put in the place of others, mostly where structure is."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        if not changed:
            break
        edge = chance.random()
        at = chance.randrange(min(len(changed), 600)) if edge < 0.4 else chance.randrange(len(changed))
        at = len(changed) - 1 - chance.randrange(min(len(changed), 400)) if edge > 0.8 else at
        match chance.randrange(6):
            case 0:
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                changed[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del changed[at : at + chance.randint(1, 40)]
            case 3:
                changed[at:at] = changed[at : at + chance.randint(1, 600)]
            case 4:
                changed[at : at + 4] = struct.pack("<I", chance.choice((0, 1, 0xFFFF, 1 << 31, 0xFFFFFFFF)))
            case 5:
                other = chance.randrange(len(changed))
                changed[at : at + 20] = changed[other : other + 20]
    return bytes(changed)


def test_nothing_is_ever_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for data in VALID:
        read(data)
    assert list(tmp_path.iterdir()) == []
