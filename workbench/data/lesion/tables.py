"""Which class and which lesion each image has, told by tables: ISIC 2018, HAM10000, or plain columns."""

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from workbench.data import io
from workbench.data.io.guard import guard
from workbench.data.io.kind import stem
from workbench.errors import InvalidImage

NAMES = ("image", "image_id", "isic_id", "file", "filename")  # columns that may name the image
LABELS = ("label", "dx", "diagnosis", "class")  # columns that may hold its class
LESIONS = ("lesion_id", "lesion", "patient", "group")  # columns that may say what is shown
CODES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")  # ISIC 2018's classes, a column each; HAM10000's dx
NOTHING = ("", "nan", "na", "n/a", "none", "null", "unknown")  # cells that tell no class
LISTED = 20  # names in one message
ENDINGS = (".csv", ".tab", ".tsv")


@dataclass(frozen=True)
class Row:
    """An image by its name without extension, its class, and what it shows ("" where no table says)."""

    name: str
    label: str
    lesion: str


def listed(words: Iterable[str]) -> str:
    """The first names and how many there are in all.

    >>> listed(["a", "b"])
    '2: a, b'
    """
    words = list(words)
    more = f" and {len(words) - LISTED} more" if len(words) > LISTED else ""
    return f"{len(words)}: {', '.join(words[:LISTED])}{more}"


def named(columns: Iterable[str], known: Iterable[str]) -> str:
    """The column that has one of the known names, whatever its case; "" where none has."""
    lower = {column.strip().lower(): column.strip() for column in columns}
    return next((lower[name] for name in known if name in lower), "")


def header(path: Path) -> list[str]:
    """The columns of a table, in whichever of the usual delimiters yields most; none of a file that is no text."""
    with guard(path, "table"), path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        line = file.readline()
    return max((next(csv.reader([line], delimiter=mark), []) for mark in io.tables.DELIMITERS), key=len)


def tables(root: Path) -> list[Path]:
    """The tables in a folder and the folders in it, and HAM10000_metadata, which has no extension."""
    found = [path for level in ("*", "*/*") for path in sorted(root.glob(level)) if path.is_file()]
    return [path for path in found if path.suffix.lower() in ENDINGS or path.name == "HAM10000_metadata"]


def read_rows(root: Path) -> tuple[list[Row], str] | None:
    """The rows of the one table that gives images a class, with its name; None where there is no table at all.

    A second table with columns for images and lesions, such as ISIC's lesion groupings, says what an image shows.

    Raises:
        InvalidImage: tables without the needed columns, several with classes, images named twice or without a class,
            a lesion with two classes: all are named and counted.
    """
    found = {path: header(path) for path in tables(root)}
    if not found:
        return None
    classes = [path for path, columns in found.items() if named(columns, NAMES) and has_class(columns)]
    if len(classes) != 1:
        told = f"{len(classes)}: {', '.join(path.name for path in classes)}" if classes else seen(found)
        expected = f"one table with a column {' or '.join(NAMES[:2])} and a column {' or '.join(LABELS[:2])}, or ISIC's"
        raise InvalidImage(
            root.name or str(root), expected, told, "name the columns, or give a folder with one such table"
        )
    path = classes[0]
    rows = rows_of(path, grouping(found, path))
    check(path, rows)
    return rows, path.name


def seen(found: dict[Path, list[str]]) -> str:
    return "; ".join(f"{path.name} with {', '.join(columns[:12])}" for path, columns in list(found.items())[:3])


def has_class(columns: list[str]) -> bool:
    return bool(named(columns, LABELS)) or set(CODES) <= {column.strip() for column in columns}


def grouping(found: dict[Path, list[str]], main: Path) -> dict[str, str]:
    """What each image shows, by its name, from tables other than the one with the classes."""
    lesions: dict[str, str] = {}
    for path, columns in found.items():
        image, lesion = named(columns, NAMES), named(columns, LESIONS)
        if path != main and image and lesion:
            lesions |= {key(row[image]): row[lesion] for row in io.read_labels(path, columns=(image, lesion))}
    return lesions


def rows_of(path: Path, lesions: dict[str, str]) -> list[Row]:
    columns = [column.strip() for column in header(path)]
    image, label, lesion = (named(columns, known) for known in (NAMES, LABELS, LESIONS))
    needed = (image, label) if label else (image, *CODES)
    cells = io.read_labels(path, columns=needed)
    if label:
        found = [(row[image], row[label]) for row in cells]
    else:
        found = [(row[image], chosen([row[code] for code in CODES])) for row in cells]
    if label == "dx" or not label:
        found = [(name, text if text.lower() in NOTHING else code(text)) for name, text in found]
    shown = [row.get(lesion, "") or lesions.get(key(row[image]), "") for row in cells]
    return [Row(key(name), text, group) for (name, text), group in zip(found, shown)]


def key(name: str) -> str:
    """A file's name as a table gives it, without folder and extension."""
    return stem(Path(name.replace("\\", "/")))


def chosen(cells: list[str]) -> str:
    """The class whose column holds 1; "" where a cell is no number, none holds 1, or several do."""
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return ""
    sound = all(math.isfinite(value) for value in values) and sorted(values)[-2:] == [0, 1] and min(values) == 0
    return CODES[values.index(1)] if sound else ""


def code(text: str) -> str:
    """HAM10000 writes mel, ISIC MEL: both as MEL; what is not among the seven as it stands, to be named."""
    return text.upper() if text.upper() in CODES else f"?{text}"


def check(path: Path, rows: list[Row]) -> None:
    """Raises InvalidImage for names that come twice, classes that are missing or unknown, lesions of two classes."""
    counts = Counter(row.name for row in rows)
    if double := [name for name, count in counts.items() if count > 1]:
        raise InvalidImage(path.name, "one row an image", f"several for {listed(double)}", "keep one of each")
    if empty := [row.name or "a row without image" for row in rows if row.label.lower() in NOTHING or not row.name]:
        raise InvalidImage(path.name, "a class in every row", f"none for {listed(empty)}", "add it, or delete the rows")
    if strange := [f"{row.label[1:]} of {row.name}" for row in rows if row.label.startswith("?")]:
        known = ", ".join(CODES)
        raise InvalidImage(path.name, f"one of {known}", f"unknown labels in {listed(strange)}", "correct them")
    of_lesion = defaultdict(set)
    for row in rows:
        of_lesion[row.lesion].add(row.label)
    if torn := [
        f"{name} ({', '.join(sorted(of_lesion[name]))})" for name in of_lesion if name and len(of_lesion[name]) > 1
    ]:
        raise InvalidImage(path.name, "one class a lesion", f"two or more for {listed(torn)}", "correct the rows")
