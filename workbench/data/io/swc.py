"""Traced neurons as SWC files: read and checked line by line, resampled to even steps, written back with alerts.

A row is `id type x y z radius parent`, parent -1 for a root. Blanks, tabs, commas or semicolons part the cells; `#`
begins a comment, anywhere; a line of column names, a byte-order mark and further columns are taken as they come.
"""

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from workbench.data.io.guard import guard
from workbench.data.io.tables import read_labels
from workbench.errors import InvalidImage

NAMES = (
    {"id", "n", "no", "index", "node", "sample"}, {"type", "structure", "t", "label"}, {"x"}, {"y"}, {"z"},
    {"r", "radius"}, {"parent", "pid", "parent_id", "parentid", "p"},
)  # fmt: skip
ROOT = -1  # the parent of a root, in files and in trees
ALERT_TYPE = 14  # of alerted nodes where the type column tells them; types from 5 on are free
ALERT_NOTE = "# alert: the last column, 1 where the tracing may be wrong"
SHOWN = 3  # lines named in one message
REMEDY = "correct these lines, or export the trace again"


@dataclass(frozen=True, eq=False)
class Tree:
    """A traced forest, every parent before its children.

    `points` (N, 3) float64 are x, y, z and `radius` (N,) as the file has them; `kind` (N,) the type column; `parent`
    (N,) the place of each parent in these arrays, -1 for a root; `ids` (N,) and `lines` (N,) those of the file; `extra`
    the text of further columns of each node. `remarks` name what is odd and yet legal.
    """

    points: np.ndarray
    parent: np.ndarray
    radius: np.ndarray
    kind: np.ndarray
    ids: np.ndarray
    lines: np.ndarray
    extra: tuple[tuple[str, ...], ...] = ()
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.parent)


def tree_of(points: np.ndarray, parent: np.ndarray, radius: float = 1.0, kind: int = 3) -> Tree:
    """A tree of points (N, 3) whose parents come before their children."""
    count = len(points)
    ids = np.arange(1, count + 1)
    return Tree(
        np.asarray(points, float),
        np.asarray(parent, int),
        np.full(count, float(radius)),
        np.full(count, kind),
        ids,
        ids,
    )


def child_counts(parent: np.ndarray) -> np.ndarray:
    return np.bincount(parent[parent >= 0], minlength=len(parent))


# ---------------------------------------------------------------- reading


@dataclass(frozen=True)
class Row:
    line: int
    id: int
    kind: int
    numbers: tuple[float, float, float, float]
    parent: int
    extra: tuple[str, ...]


def read_swc(path: str | os.PathLike) -> Tree:
    """The nodes of an SWC file, reordered so that parents come first; ids, types and further columns are kept.

    A radius of 0, several roots and nodes on the place of their parent are legal and noted in `remarks`.

    Raises:
        InvalidImage: no SWC text, a row of other cells, an id used twice, a parent that is not there, a cycle, no root,
        a
            negative radius or numbers that are not finite: each with its line.
    """
    path = Path(path)
    rows = list(read_rows(path))
    if wrong := faults(rows):
        more = f", and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise InvalidImage(path.name, "one forest of traced nodes", "; ".join(wrong[:SHOWN]) + more, REMEDY)
    return ordered(rows)


def check_swc(path: str | os.PathLike) -> list[str]:
    """Everything that is wrong or odd in a file, each with its line; none for a file without fault.

    Raises:
        InvalidImage: no SWC text, or a row of other cells.
    """
    rows = list(read_rows(Path(path)))
    return faults(rows) or list(ordered(rows).remarks)


def read_rows(path: Path) -> Iterator[Row]:
    with guard(path, "SWC file"):
        text = path.read_bytes().decode("utf-8-sig", errors="replace")  # comments may be of any encoding
    if "\0" in text:
        raise InvalidImage(path.name, "an SWC file, plain text", "binary data or UTF-16", "export it as plain text")
    found = False
    for number, line in enumerate(text.splitlines(), 1):
        if line := line.partition("#")[0].strip():
            cells = cells_of(path, number, line)
            if found or not is_header(path, number, cells):
                yield row_of(path, number, cells)
            found = True
    if not found:
        raise InvalidImage(path.name, "an SWC file with nodes", "none", "export the trace again")


def cells_of(path: Path, number: int, line: str) -> list[str]:
    """The cells of a line; a decimal comma cannot be told from a separator and is refused."""
    cells = [cell.strip(",") for cell in re.split(r"[\s;]+", line)]
    if len(cells) < 7:
        return re.split(r"\s*[,;]\s*|\s+", line.strip(",; "))
    if any("," in cell for cell in cells[:7]):
        remedy = "write decimal points and blanks between the cells"
        raise InvalidImage(path.name, "numbers with decimal points", f"line {number}: decimal commas", remedy)
    return [cell for cell in cells if cell]


def is_header(path: Path, number: int, cells: Sequence[str]) -> bool:
    if not re.match(r"[A-Za-z_]", cells[0]) or cells[0].lower() in ("nan", "inf"):
        return False
    if len(cells) >= 7 and all(cell.lower() in known for cell, known in zip(cells, NAMES)):
        return True
    remedy = "name them so, or leave the line out"
    found = f"line {number}: {' '.join(cells)[:60]}"
    raise InvalidImage(path.name, "the columns id type x y z radius parent", found, remedy)


def row_of(path: Path, number: int, cells: Sequence[str]) -> Row:
    if len(cells) < 7:
        found = f"line {number}: {len(cells)} cells"
        raise InvalidImage(path.name, "rows of id type x y z radius parent", found, REMEDY)
    try:
        values = [float(cell) for cell in cells[:7]]
        whole = [int(values[place]) for place in (0, 1, 6)]
    except (ValueError, OverflowError):
        values, whole = [np.nan], []
    if not np.isfinite(values).all() or [values[place] for place in (0, 1, 6)] != whole:
        expected = "finite numbers, whole ones for id, type and parent"
        raise InvalidImage(path.name, expected, f"line {number}: {' '.join(cells)[:60]}", REMEDY)
    return Row(number, whole[0], whole[1], tuple(values[2:6]), whole[2], tuple(cells[7:]))


def faults(rows: Sequence[Row]) -> list[str]:
    """What makes the rows no forest, each with its line; cycles are looked for where all else is sound."""
    first, found = {}, []
    for row in rows:
        if row.id in first:
            found.append(f"line {row.line}: id {row.id} again, first in line {first[row.id].line}")
        first.setdefault(row.id, row)
        if row.id < 0:
            found.append(f"line {row.line}: id {row.id}")
    for row in rows:
        if row.parent != ROOT and row.parent not in first:
            found.append(f"line {row.line}: parent {row.parent} is no node")
        if row.numbers[3] < 0:
            found.append(f"line {row.line}: radius {row.numbers[3]:g}")
    if not any(row.parent == ROOT for row in rows):
        found.append("no root: no line with parent -1")
    return found or cycles(rows)


def cycles(rows: Sequence[Row]) -> list[str]:
    """One message a cycle."""
    by_id, state, found = {row.id: row for row in rows}, {}, []
    for start in rows:
        row, way = start, []
        while row is not None and row.id not in state:
            state[row.id] = start.id
            way.append(row)
            row = by_id.get(row.parent)
        if row is not None and state[row.id] == start.id:
            ring = [one.id for one in way[way.index(row) :]]
            chain = " -> ".join(map(str, [*ring[:4], *(["..."] if len(ring) > 4 else []), ring[0]]))
            found.append(f"line {row.line}: a cycle {chain}")
    return found


def ordered(rows: Sequence[Row]) -> Tree:
    """The tree of sound rows in their order, but a parent that comes after its child moves ahead of it."""
    place, order, by_id = {}, [], {row.id: row for row in rows}
    for row in rows:
        way = []
        while row is not None and row.id not in place:
            way.append(row)
            row = by_id.get(row.parent)
        for one in way[::-1]:
            place[one.id] = len(order)
            order.append(one)
    numbers = np.array([row.numbers for row in order])
    parent = np.array([place.get(row.parent, ROOT) if row.parent != ROOT else ROOT for row in order])
    kind, ids, lines = (np.array([getattr(row, name) for row in order]) for name in ("kind", "id", "line"))
    tree = Tree(numbers[:, :3], parent, numbers[:, 3], kind, ids, lines, tuple(row.extra for row in order))
    return replace(tree, remarks=remarks(tree))


def remarks(tree: Tree) -> tuple[str, ...]:
    """What is odd: several roots, no extent, nodes on their parent's place."""
    roots, inner = tree.parent < 0, tree.parent >= 0
    still = np.zeros(len(tree), bool)
    still[inner] = (tree.points[inner] == tree.points[tree.parent[inner]]).all(1)
    told = [(f"{roots.sum()} roots", roots & (roots.sum() > 1)), ("radius 0", tree.radius == 0)]
    told.append(("on the place of its parent", still))
    return tuple(f"{named(tree.lines[where])}: {words}" for words, where in told if where.any())


def named(lines: np.ndarray) -> str:
    """The numbers of lines in a message.

    >>> named(np.array([9, 3]))
    'lines 3, 9'
    """
    lines = sorted(lines.tolist())
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return f"line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines[:SHOWN]))}{more}"


def check_inside(path: Path, tree: Tree, voxels: np.ndarray, sides: Sequence[int]) -> None:
    """Refuse nodes that lie, at `voxels` (N, 3), more than half a voxel outside a stack of these sides.

    Raises:
        InvalidImage: with their lines.
    """
    outside = ((voxels < -0.5) | (voxels > np.array(sides) - 0.5)).any(1)
    if outside.any():
        expected = f"nodes inside the volume of {' x '.join(map(str, sides))} voxels (z, y, x)"
        found = f"{named(tree.lines[outside])} outside"
        raise InvalidImage(path.name, expected, found, "check units and axes of the trace (coordinates=, spacing=)")


# ---------------------------------------------------------------- resampling


def resampled(tree: Tree, step: float) -> tuple[Tree, np.ndarray]:
    """The tree with even steps of about `step` between nodes, and (M,) the nearest original node of each new one.

    Roots, branch points and tips stay where they are; every section between two of them is cut into equal parts.
    """
    ends = (tree.parent < 0) | (child_counts(tree.parent) != 1)
    place, points, parent, radius, origin = {}, [], [], [], []
    for end in np.flatnonzero(ends).tolist():
        section = section_of(tree.parent, ends, end)
        along, near = even(tree.points[section], step)
        first = len(origin)
        points += [np.stack([np.interp(along, near, tree.points[section, axis]) for axis in range(3)], 1)]
        radius += [np.interp(along, near, tree.radius[section])]
        origin += [section[k] for k in np.abs(along[:, None] - near).argmin(1)] if len(section) > 1 else [end]
        parent += [place.get(section[0], ROOT), *range(first, len(origin) - 1)]
        place[end] = len(origin) - 1
    origin = np.array(origin)
    made = Tree(
        np.concatenate(points), np.array(parent), np.concatenate(radius), tree.kind[origin],
        np.arange(1, len(origin) + 1), tree.lines[origin],
    )  # fmt: skip
    return made, origin


def section_of(parent: np.ndarray, ends: np.ndarray, end: int) -> list[int]:
    """The nodes from the end before to this one; a root alone."""
    way = [end]
    while parent[way[-1]] >= 0 and (len(way) == 1 or not ends[way[-1]]):
        way.append(int(parent[way[-1]]))
    return way[::-1]


def even(points: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the new nodes of a section lie along it, its first point left out, and where the old ones do."""
    if len(points) == 1:
        return np.zeros(1), np.zeros(1)
    near = np.concatenate([[0.0], np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()])
    return np.linspace(0, near[-1], max(1, round(near[-1] / step)) + 1)[1:], near


# ---------------------------------------------------------------- writing


def write_swc(path: str | os.PathLike, tree: Tree, alert: np.ndarray | None = None, *, by_type: bool = False) -> None:
    """Write a tree under its ids; `alert` (N,) bool becomes a last column, or with `by_type` the type 14.

    Numbers are written so that reading gives the same ones.
    """
    kind = np.where(alert, ALERT_TYPE, tree.kind) if by_type and alert is not None else tree.kind
    column = alert is not None and not by_type
    lines = [ALERT_NOTE] if column else []
    lines.append("# id type x y z radius parent")
    for node, own in enumerate(tree.ids.tolist()):
        parent = tree.ids[tree.parent[node]] if tree.parent[node] >= 0 else ROOT
        numbers = [repr(float(value)) for value in (*tree.points[node], tree.radius[node])]
        rest = [*(tree.extra[node] if tree.extra else ()), *([str(int(alert[node]))] if column else [])]
        lines.append(" ".join([str(own), str(kind[node]), *numbers, str(parent), *rest]))
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_alerts(path: str | os.PathLike) -> tuple[Tree, np.ndarray]:
    """A tree that was written with alerts, and its alerts (N,) bool, from the last column or else the type 14.

    Raises:
        InvalidImage: as read_swc; an alert that is neither 0 nor 1.
    """
    path = Path(path)
    tree = read_swc(path)
    if ALERT_NOTE not in path.read_text(encoding="utf-8-sig", errors="replace"):
        return tree, tree.kind == ALERT_TYPE
    last = [extra[-1] if extra else "" for extra in tree.extra]
    if wrong := [int(line) for line, value in zip(tree.lines, last) if value not in ("0", "1")]:
        raise InvalidImage(path.name, "alerts of 0 or 1", named(np.array(wrong)), REMEDY)
    return replace(tree, extra=tuple(extra[:-1] for extra in tree.extra)), np.array(last) == "1"


def write_alert_table(path: str | os.PathLike, tree: Tree, score: np.ndarray, run: np.ndarray) -> None:
    """A CSV of the alerted nodes: id, x, y, z, score (N,) and the number of its connected run (N,), 0 for no alert."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["id", "x", "y", "z", "score", "run"])
    for node in np.flatnonzero(run).tolist():
        values = [repr(float(value)) for value in (*tree.points[node], score[node])]
        writer.writerow([int(tree.ids[node]), *values, int(run[node])])
    Path(path).write_text(text.getvalue(), encoding="utf-8")


def read_alert_table(path: str | os.PathLike, tree: Tree) -> tuple[np.ndarray, np.ndarray]:
    """The scores (N,), NaN where there is no alert, and runs (N,) of a tree's nodes as `write_alert_table` wrote them.

    Raises:
        InvalidImage: no such table, or ids that the tree does not have.
    """
    path = Path(path)
    place = {int(own): node for node, own in enumerate(tree.ids)}
    score, run = np.full(len(tree), np.nan), np.zeros(len(tree), int)
    if path.is_file() and len(path.read_text(encoding="utf-8-sig").strip().splitlines()) == 1:
        return score, run  # no alert at all: a header alone
    with guard(path, "table of alerts"):
        for row in read_labels(path, columns=("id", "score", "run")):
            if int(row["id"]) not in place:
                raise InvalidImage(path.name, "ids of the trace", f"id {row['id']}", "give the trace it was made for")
            score[place[int(row["id"])]], run[place[int(row["id"])]] = float(row["score"]), int(row["run"])
    return score, run
