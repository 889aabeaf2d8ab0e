"""A person's labelled pictures: DIR/<class>/*.jpg, or a labels.csv with the columns file, class and part."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import BundleBuildError
from ..pictures import SUFFIXES

PARTS = {  # part -> what it may be used for
    "": "memory and calibration",
    "ref": "memory and calibration",
    "memory": "memory",
    "calibration": "calibration",
    "stream": "nothing: these pictures are for trying the bundle out",
}


@dataclass(frozen=True, slots=True)
class Listed:
    """A picture that may be used."""

    path: Path
    label: str
    part: str


def listed(images: Path, labels: Path | None, classes: Sequence[str], exclude: Sequence[str]) -> list[Listed]:
    """The pictures to use, by name: of `classes` where given, none of `exclude`. Raises BundleBuildError."""
    if not images.is_dir():
        raise BundleBuildError(f"there is no folder {images}")
    table = labels or _beside(images)
    found = list(_of_table(table, images) if table else _of_folders(images))
    if not found:
        where = f"{table} lists no picture" if table else f"{images} holds no picture as <class>/*.jpg or *.png"
        raise BundleBuildError(f"{where}; put the pictures of each class into a folder of its name")
    known = {one.label for one in found}
    for wanted in (*classes, *exclude):
        if wanted not in known:
            raise BundleBuildError(f"there is no class {wanted!r}; there are {', '.join(sorted(known))}")
    kept = [one for one in found if one.label not in exclude and (not classes or one.label in classes)]
    return sorted((one for one in kept if one.part != "stream"), key=lambda one: (one.label, str(one.path)))


def _beside(images: Path) -> Path | None:
    """The table in the folder or next to it."""
    return next((path for path in (images / "labels.csv", images.parent / "labels.csv") if path.is_file()), None)


def _of_folders(images: Path) -> Iterator[Listed]:
    for folder in sorted(path for path in images.iterdir() if path.is_dir()):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES:
                yield Listed(path, folder.name, "")


def _of_table(table: Path, images: Path) -> Iterator[Listed]:
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if not {"file", "class"} <= set(rows.fieldnames or ()):
                raise BundleBuildError(f"{table} needs the columns file and class, and may have part")
            for row in rows:
                yield _row(row, table, rows.line_num, images)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BundleBuildError(f"{table} cannot be read: {error}") from None


def _row(row: dict[str, str | None], table: Path, line: int, images: Path) -> Listed:
    name, label, part = row["file"] or "", row["class"] or "", row.get("part") or ""
    if not name or not label:
        raise BundleBuildError(f"{table}, line {line}: a file and its class are needed")
    if part not in PARTS:
        raise BundleBuildError(f"{table}, line {line}: part is {part!r}; it can be {', '.join(filter(None, PARTS))}")
    return Listed(images / name, label, part)
