"""The table of the AGE challenge: labels and spurs of both sides of each scan, from xlsx or CSV."""

import contextlib
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

from workbench.data import io
from workbench.data.asoct.halves import SIDES, Point
from workbench.data.io.guard import guard
from workbench.data.io.kind import stem
from workbench.errors import InvalidImage

COLUMNS = ("ASOCT_Name", "Left_Label", "X1", "Y1", "Right_Label", "X2", "Y2")
MAX_BYTES = 2**26  # of a workbook once unpacked: some hundred thousand rows


@dataclass(frozen=True)
class Row:
    """One scan of the table: its file's name, whether the angle is closed and where the spur is, left and right.

    A spur is (x, y) in pixels of the scan, None where the table says -1, -1: not determinable.
    """

    name: str
    closed: tuple[bool, bool]
    spurs: tuple[Point | None, Point | None]

    @property
    def key(self) -> str:
        """The name without folder and extension."""
        return stem(Path(self.name))


def read_rows(path: Path) -> list[Row]:
    """The rows of a table in the challenge's columns; others are skipped.

    Raises:
        InvalidImage: no such table, columns missing, a scan named twice, or a value that cannot be (named by row).
    """
    cells = workbook(path) if path.suffix.lower() == ".xlsx" else io.read_labels(path, columns=COLUMNS)
    rows = [row_of(path, row) for row in cells]
    names = [row.key for row in rows]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidImage(path.name, "one row a scan", f"several for {', '.join(double[:20])}", "keep one of them")
    return rows


def workbook(path: Path) -> list[dict[str, str]]:
    """The rows of a workbook's first sheet as text by column, empty ones skipped."""
    with guard(path, "xlsx table"):
        with zipfile.ZipFile(path) as packed:
            size = sum(part.file_size for part in packed.infolist())
        if size > MAX_BYTES:
            remedy = "save the table alone, without pictures, or as CSV"
            raise InvalidImage(path.name, f"at most {MAX_BYTES >> 20} MB of table", f"{size >> 20} MB", remedy)
        found = sheet(path)
    names = found[0] if found else []
    if missing := [name for name in COLUMNS if names.count(name) != 1]:
        listed = ", ".join(filter(None, names[:40])) or "nothing"
        remedy = "name the columns in the first row"
        raise InvalidImage(
            path.name, f"the columns {', '.join(COLUMNS)} once each", f"{listed} (not: {', '.join(missing)})", remedy
        )
    if len(found) < 2:
        raise InvalidImage(path.name, "a table with rows", "a header alone", "add one row a scan")
    return [dict(zip(names, row, strict=False)) for row in found[1:]]


def sheet(path: Path) -> list[list[str]]:
    from openpyxl import load_workbook

    with contextlib.closing(load_workbook(path, read_only=True, data_only=True)) as book:
        table = book.worksheets[0].iter_rows(values_only=True)
        texts = [["" if cell is None else str(cell).strip() for cell in row] for row in table]
    return [row for row in texts if any(row)]


def row_of(path: Path, cells: dict[str, str]) -> Row:
    name = cells["ASOCT_Name"]
    if not name:
        raise InvalidImage(path.name, "a file's name in ASOCT_Name", f"none beside {cells}", "add it")
    closed = [label(path, name, key, cells[key]) for key in ("Left_Label", "Right_Label")]
    spurs = [spur(path, name, side, *keys, cells) for side, keys in zip(SIDES, (("X1", "Y1"), ("X2", "Y2")))]
    return Row(name, (closed[0], closed[1]), (spurs[0], spurs[1]))


def label(path: Path, name: str, key: str, text: str) -> bool:
    value = number(path, name, key, text)
    if value not in (0, 1):
        raise InvalidImage(path.name, f"0 (open) or 1 (closed) in {key} of {name}", repr(text), "correct the label")
    return value == 1


def spur(path: Path, name: str, side: str, first: str, second: str, cells: dict[str, str]) -> Point | None:
    x, y = (number(path, name, key, cells[key]) for key in (first, second))
    if (x == -1) != (y == -1):
        remedy = "give both coordinates, or -1 for both where the spur cannot be determined"
        raise InvalidImage(path.name, f"the {side} spur of {name} in {first} and {second}", f"{x:g}, {y:g}", remedy)
    return None if x == y == -1 else (x, y)


def number(path: Path, name: str, key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidImage(path.name, f"a number in {key} of {name}", repr(text), "correct the cell")
    return value
