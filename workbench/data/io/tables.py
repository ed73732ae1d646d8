"""Label tables from CSV files."""

import csv
import io
import os
from pathlib import Path

from workbench.data.io.guard import guard
from workbench.errors import InvalidImage

DELIMITERS = ",;\t"


def read_labels(path: str | os.PathLike, *, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a CSV file by column name; surrounding blanks are cut, empty lines and a byte-order mark skipped.

    Comma, semicolon and tab are told apart by the header: the mark that yields most of the needed columns.

    Args:
        path: The file.
        columns: The columns it must have; the rows hold all others too.

    Raises:
        InvalidImage: not UTF-8 text, needed columns missing, a column named twice, a row of another length, or no rows.
    """
    path = Path(path)
    with guard(path, "CSV table"):
        text = _text(path)
        headers = {mark: _header(text, mark) for mark in DELIMITERS}
        delimiter = max(headers, key=lambda mark: (len(set(columns) & set(headers[mark])), len(headers[mark])))
        names = headers[delimiter]
        _check_columns(path, names, columns)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        next(reader)
        rows = []
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(names):
                found = f"{len(row)} in line {reader.line_num}"
                raise InvalidImage(path.name, f"{len(names)} cells a row", found, "quote cells that hold the delimiter")
            rows.append({name: cell.strip() for name, cell in zip(names, row, strict=True)})
    if not rows:
        raise InvalidImage(path.name, "a table with rows", "a header alone", "add one row an image")
    return rows


def _text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        remedy = "save it as 'CSV UTF-8' (in Excel: Save As, CSV UTF-8)"
        raise InvalidImage(path.name, "a CSV table in UTF-8", "other text or a spreadsheet", remedy)
    if not text.strip():
        raise InvalidImage(path.name, "a CSV table", "an empty file", "export the table again")
    return text


def _header(text: str, delimiter: str) -> list[str]:
    return [name.strip() for name in next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))]


def _check_columns(path: Path, names: list[str], columns: tuple[str, ...]) -> None:
    if missing := [column for column in columns if column not in names]:
        found = f"no {', '.join(missing)} among {', '.join(names[:40])}"
        raise InvalidImage(path.name, f"the columns {', '.join(columns)}", found, "rename or add the columns")
    if double := sorted({name for name in names if name and names.count(name) > 1}):
        raise InvalidImage(path.name, "each column once", f"{', '.join(double)} twice", "rename one of them")
