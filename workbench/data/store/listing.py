"""Which files are packed, in which order, and what a table says of each: a folder, a text list or a CSV table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from workbench.data import io
from workbench.data.io.guard import guard
from workbench.data.io.kind import SUFFIXES
from workbench.data.store.folder import BYTES, MTIME, PATH
from workbench.errors import InvalidImage

FILES = ("file", "image", "image_id", "path", "Path", "Image Index", "filename")  # columns that name the image
TABLES = ("labels.csv",)  # taken where they lie beside the images and no list is given
LABELS = {"0", "1", "-1"}  # words of a line that follow the path


@dataclass(frozen=True)
class Listing:
    """The files to be packed and the index that tells of them, row by row."""

    files: list[Path]
    index: pa.Table


def listed(source: Path, table: Path | None = None) -> Listing:
    """Every image of a folder, sorted, or those that a list names in its order.

    Args:
        source: A folder, or a list whose paths begin beside it (or in `images/` there).
        table: A text list (a path a line, perhaps 0 or 1 a finding after it) or a CSV table with a column that names
            the file; without one, labels.csv in the folder.

    Raises:
        InvalidImage: no such file or folder, no images, a table without such a column, or not one of its files there.
    """
    with guard(source, "folder or list of images"):
        source.stat()
    if source.is_file() and table is None and not source.name.lower().endswith(SUFFIXES):
        source, table = source.parent, source
    if table is None and source.is_dir():
        table = next((source / name for name in TABLES if (source / name).is_file()), None)
    if table is None:
        files = io.list_images(source)
        base = source if source.is_dir() else source.parent
        return Listing(files, indexed([path.relative_to(base).as_posix() for path in files], files, {}))
    names, columns = read_list(table)
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise InvalidImage(table.name, "one row an image", f"{count} for {name}", "keep one of them")
    files = located(source, names)
    if not any(path.is_file() for path in files):
        raise InvalidImage(table.name, f"images of this list below {source.name}", "none", "give the folder above them")
    return Listing(files, indexed([inner(source, path) for path in files], files, columns))


def inner(base: Path, path: Path) -> str:
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()


def read_list(table: Path) -> tuple[list[str], dict[str, list[str]]]:
    """The names in a list, and its columns."""
    if table.suffix.lower() in (".csv", ".tsv"):
        rows = io.read_labels(table, columns=())
        key = next((name for name in FILES if name in rows[0]), None)
        if key is None:
            expected, found = f"a column {', '.join(FILES[:-1])} or {FILES[-1]}", ", ".join(list(rows[0])[:20])
            raise InvalidImage(table.name, expected, found, "name the column that holds the files")
        return [row[key] for row in rows], {name: [row[name] for row in rows] for name in rows[0]}
    with guard(table, "list of images"):
        lines = [line.strip() for line in table.read_text("utf-8-sig").splitlines() if line.strip()]
    words = [line.split() for line in lines]
    counts = {len(one) - 1 if set(one[1:]) <= LABELS else 0 for one in words}
    if not lines:
        raise InvalidImage(table.name, "a path a line", "no line", "write the list anew")
    if counts == {0}:
        return lines, {}
    if len(counts) > 1:
        found = f"{', '.join(map(str, sorted(counts)))} labels"
        raise InvalidImage(table.name, "as many labels in every line", found, "mend the list; paths hold no blanks")
    columns = {f"finding_{n + 1}": [one[n + 1] for one in words] for n in range(counts.pop())}
    return [one[0] for one in words], columns


def located(source: Path, names: Sequence[str]) -> list[Path]:
    """Where the files lie: below the folder, in its `images/`, as a table that names the folder itself says, or
    anywhere below under a name that is there once. A file that is nowhere is listed, to be refused when read."""
    places, homes = {}, [source, source / "images", source.parent]
    for name in names:
        tried = [home / name for home in homes] + [source.joinpath(*Path(name).parts[1:])]
        places[name] = next((path for path in tried if path.is_file()), None)
    if None not in places.values():
        return list(places.values())
    found: dict[str, list[Path]] = {}
    for path in source.rglob("*"):
        found.setdefault(path.name, []).append(path)
    for name, place in places.items():
        if place is None:
            same = found.get(Path(name).name, [])
            places[name] = same[0] if len(same) == 1 else source / name
    return list(places.values())


def stats(files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Bytes and time of change, nanoseconds, of each file; 0 where there is none."""
    made = np.zeros((2, len(files)), np.int64)
    for number, path in enumerate(files):
        try:
            stat = path.stat()
        except OSError:
            continue
        made[:, number] = stat.st_size, stat.st_mtime_ns
    return made[0], made[1]


def indexed(names: list[str], files: Sequence[Path], columns: dict[str, list[str]]) -> pa.Table:
    sizes, times = stats(files)
    return pa.table({PATH: names, BYTES: sizes, MTIME: times, **columns})
