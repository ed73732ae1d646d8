"""A folder of the AGE challenge: scans beside their table, dealt by patient; and scans without a table."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from workbench.data import Data, io
from workbench.data.anatomy.folders import deal, natural
from workbench.data.asoct.halves import DEFAULT, SIDES, Half, Options, Point, Scan, assembled, cut, to_half
from workbench.data.asoct.tables import Row, read_rows
from workbench.data.io.kind import hashed, stem
from workbench.data.io.nifti import free_memory
from workbench.errors import InvalidImage

IMAGES = "ASOCT_Image"
NAME = re.compile(r"(.+)-\d+")  # patient, hyphen, slice: T0056-10
WIDTHS = (2, 3)  # of a scan, least and most, in heights; in the challenge 2130 x 998 (card: unconfirmed)
PIXEL_BYTES = 3  # of a half in memory while a data set is put together

Aside = list[tuple[str, str]]


@dataclass(frozen=True)
class Entry:
    """One file, what the table says of it, and its patient."""

    path: Path
    row: Row
    group: str


@dataclass
class Reading:
    """The halves of each split with their entries, and what was set aside with reasons."""

    splits: dict[str, list[tuple[Entry, Half]]] = field(default_factory=dict)
    aside: Aside = field(default_factory=list)


def load(root: str | Path, options: Options = DEFAULT) -> Data:
    """Scans as the AGE challenge gives them: `ASOCT_Image/T0056-10.jpg` (patient, hyphen, slice) with the table
    `*_Location.xlsx`, or the same as .csv, beside that folder; where both are there, the xlsx.

    Patients are dealt to the splits, so that no scan and no side of one is in two; each split takes a scan of every
    patient, then a second one, until it has the halves asked for. Scans that do not fit their row are set aside: an
    unexpected width, spurs outside the image or their half, left and right swapped, a name that tells no patient.

    Raises:
        InvalidImage: no such layout, a table that cannot be (see tables.read_rows), rows without image (named), fewer
            than three patients, nothing usable for a split, or more halves than fit in memory.
    """
    root = Path(root)
    check_memory(options)
    reading = read(root, options)
    splits = {name: [half for _, half in rows] for name, rows in reading.splits.items()}
    return assembled(root.name, splits, options, aside=reading.aside)


def check_memory(options: Options) -> None:
    """Raises InvalidImage where the halves asked for cannot fit."""
    count = options.train + options.valid + options.test
    need, free = count * options.size**2 * PIXEL_BYTES, free_memory()
    if need > free:
        found = f"{count} of {options.size} x {options.size} pixels with {free >> 20} MB free"
        raise InvalidImage("the folder", "halves that fit in memory", found, "choose a smaller size=, train= or test=")


def read(root: Path, options: Options) -> Reading:
    found, aside = entries(root)
    first = {entry.group: entry for entry in reversed(found)}
    patients = deal(list(first.values()), options, aside)
    reading = Reading(aside=aside)
    for name, chosen in patients.items():
        groups = {entry.group for entry in chosen}
        own = in_turn([entry for entry in found if entry.group in groups])
        reading.splits[name] = fill(name, own, getattr(options, name), root, options.size, reading.aside)
    return reading


def in_turn(found: list[Entry]) -> list[Entry]:
    """The first scan of every patient, then the second of each that has one, and so on."""
    seen: dict[str, int] = defaultdict(int)
    ranks = []
    for entry in found:
        ranks.append(seen[entry.group])
        seen[entry.group] += 1
    return [found[i] for i in np.argsort(ranks, kind="stable")]


def fill(name: str, found: list[Entry], count: int, root: Path, size: int, aside: Aside) -> list[tuple[Entry, Half]]:
    """The first `count` halves of scans that can be used; the others are added to `aside`.

    Raises:
        InvalidImage: not one can be used.
    """
    made, refused = [], []
    for entry in found:
        if len(made) >= count:
            break
        try:
            made += [(entry, half) for half in cut(scan_of(entry, root), size)]
        except InvalidImage as error:
            refused.append((entry.path.name, f"expected {error.expected}, found {error.found}; {error.remedy}"))
    aside += refused
    if not made:
        raise InvalidImage(f"the scans for {name}", "one that can be used", ": ".join(refused[0]), "mend the files")
    return made[:count]


def scan_of(entry: Entry, root: Path) -> Scan:
    """The scan of a file, once its row fits it.

    Raises:
        InvalidImage: no sound image, an unexpected width, spurs outside or swapped.
    """
    image = io.read_image(entry.path, color=False)
    check_width(entry.path.name, image.shape)
    check_spurs(entry.path.name, entry.row.spurs, image.shape)
    case, group = hashed(entry.path.relative_to(root).as_posix()), hashed(entry.group)
    return Scan(image, entry.row.spurs, entry.row.closed, case, group)


# ---------------------------------------------------------------- what fits


def check_width(name: str, shape: tuple[int, ...]) -> None:
    """Raises InvalidImage where the outer squares would overlap or leave out more than a third."""
    height, width = shape
    if not WIDTHS[0] * height <= width <= WIDTHS[1] * height:
        expected = f"a scan of both sides, {WIDTHS[0]} to {WIDTHS[1]} times as wide as high"
        remedy = "export the whole scan, neither cropped nor turned"
        raise InvalidImage(name, expected, f"{width} x {height} pixels (width x height)", remedy)


def check_spurs(name: str, spurs: tuple[Point | None, Point | None], shape: tuple[int, ...]) -> None:
    """Raises InvalidImage where a spur lies outside the image or its half, or both have changed sides."""
    height, width = shape
    for side, point in zip(SIDES, spurs, strict=True):
        if point and not (0 <= point[0] <= width - 1 and 0 <= point[1] <= height - 1):
            expected = f"the {side} spur within {width} x {height} pixels"
            raise InvalidImage(name, expected, f"x={point[0]:g}, y={point[1]:g}", "correct the row, or give -1, -1")
    wrong = [
        (side, point)
        for side, point in zip(SIDES, spurs, strict=True)
        if point and to_half(point, side, width)[0] > height - 1
    ]
    if not wrong:
        return
    side, point = wrong[0]
    if all(point and to_half(point, other, width)[0] <= height - 1 for point, other in zip(spurs, SIDES[::-1])):
        found, remedy = "left and right swapped", "exchange X1, Y1 with X2, Y2 (and see whether the labels are too)"
    else:
        found, remedy = f"x={point[0]:g}", "correct the row, or give -1, -1"
    raise InvalidImage(name, f"the {side} spur in the {side} {height} columns", found, remedy)


# ---------------------------------------------------------------- layout


def find(root: Path) -> tuple[Path, Path]:
    """The folder of scans and the table beside it.

    Raises:
        InvalidImage: none, or several.
    """
    homes = [home for home in (root, *sorted(root.glob("*/"))) if (home / IMAGES).is_dir()]
    if not homes:
        io.list_images(root)  # a folder that is missing or holds no image is told as such
    if len(homes) != 1:
        found = ", ".join(home.name for home in homes) or "images in another layout"
        raise InvalidImage(root.name or str(root), f"one folder with {IMAGES}/", found, "give that folder as root")
    home = homes[0]
    for folder in dict.fromkeys((home, root)):
        for ending in ("xlsx", "csv"):
            tables = sorted(folder.glob(f"*_Location.{ending}"))
            if len(tables) > 1:
                found = ", ".join(path.name for path in tables)
                raise InvalidImage(folder.name, "one table of locations", found, "keep one of them")
            if tables:
                return home / IMAGES, tables[0]
    remedy = "add the challenge's table, or export it as CSV"
    raise InvalidImage(home.name, f"*_Location.xlsx or *_Location.csv beside {IMAGES}/", "neither", remedy)


def entries(root: Path) -> tuple[list[Entry], Aside]:
    """The scans with their rows in natural order, and those that have none or tell no patient.

    Raises:
        InvalidImage: as `find` and `read_rows`; rows without image, or two images of one name.
    """
    folder, table = find(root)
    files: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(io.list_images(folder), key=natural):
        files[stem(path)].append(path)
    if double := [" and ".join(path.name for path in paths) for paths in files.values() if len(paths) > 1]:
        raise InvalidImage(folder.name, "one file for each name", ", ".join(double[:20]), "keep one of each")
    rows = {row.key: row for row in read_rows(table)}
    if lacking := [row.name for key, row in rows.items() if key not in files]:
        found = f"none for {', '.join(lacking[:20])}" + (f" and {len(lacking) - 20} more" if len(lacking) > 20 else "")
        raise InvalidImage(table.name, "an image for every row", found, f"add them to {IMAGES}/ or delete the rows")
    found, aside = [], []
    for key, (path,) in files.items():
        patient = NAME.fullmatch(key)
        if key not in rows:
            aside.append((path.name, f"expected a row in {table.name}, found none; add one or remove the file"))
        elif not patient:
            aside.append((path.name, "expected a name such as T0056-10.jpg, found no patient in it; rename the file"))
        else:
            found.append(Entry(path, rows[key], patient[1]))
    return found, aside


def check(root: str | Path, options: Options = DEFAULT) -> Iterator[str]:
    """What `load` would make of a folder: each half's case id, split and scan, or why a scan is set aside."""
    root = Path(root)
    reading = read(root, options)
    used, titles = set(), {title for title, _ in reading.aside}
    for name, rows in reading.splits.items():
        for entry, half in rows:
            used.add(entry.path)
            spur = "spur" if half.spur else "no spur"
            yield f"{half.case:<16}  {name:<5}  {entry.path.relative_to(root)}  {half.side}, {spur}"
    for entry in entries(root)[0]:
        if entry.path not in used and entry.path.name not in titles:
            yield f"not used: {entry.path.relative_to(root)}: beyond the counts asked for"
    for title, reason in reading.aside:
        yield f"set aside: {title}: {reason}"
    count = sum(map(len, reading.splits.values()))
    yield f"{count} halves of {len(used)} scans can be used, {len(reading.aside)} scans are set aside"
