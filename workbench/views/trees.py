"""Traced neurons as a reviewer judged them: the tree with its scores, alerts and true errors, slices of the stack.

Arrays of a run are along z, y, x; here all is x, y, z in the unit of the run, from the corner of the kept stack.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench import views
from workbench.errors import InvalidRun, unknown
from workbench.views.turntable import CHOSEN, TRUTH, palette
from workbench.views.volumes import Plane

if TYPE_CHECKING:
    from workbench.runs import Run

NEEDS = {"volume": 4, "kind": 2, "spacing": 2, "block": 2, "origin": 2, "tolerance": 1}
NODES = ("parent", "onset", "branch", "score")  # (N, V, M), of which the first version is the trace to judge
KINDS = ("jump", "overshoot", "missing branch", "spurious branch")  # numbered from 1
UNSEEN = "unseen "
PLANES = {"XY": Plane("XY", 2, 0, 1), "YZ": Plane("YZ", 0, 2, 1), "XZ": Plane("XZ", 1, 0, 2)}
SLAB = 2.0  # voxels of the kept stack to either side of a slice within which the trace is drawn on it
Stroke = tuple[np.ndarray, str, float, str]


@dataclass(frozen=True)
class Neuron:
    """One trace as one run judged it; N nodes, their points (N, 3) from the corner of the stack.

    `sides` (3,) are those of the stack and `voxel` (3,) those of one of its kept voxels; a point plus `corner` (3,) is
    what its file tells. `errors` are the numbers of the nodes where an error begins, each with its kind.
    """

    points: np.ndarray
    parent: np.ndarray
    score: np.ndarray
    alert: np.ndarray
    onset: np.ndarray
    branch: np.ndarray
    errors: list[tuple[int, str]]
    tolerance: float
    sides: np.ndarray
    voxel: np.ndarray
    corner: np.ndarray
    unit: str

    @cached_property
    def files(self) -> np.ndarray:
        """(N, 3) the coordinates of the file."""
        return self.points + self.corner

    @cached_property
    def truths(self) -> list[str]:
        """What is true of each node."""
        ranked = [self.onset == 1, self.branch == 1, self.onset == 0]
        words = ["beside an error", "on a wrong branch", "right"]
        found = np.select(ranked, words, "left out").tolist()
        for node, kind in self.errors:
            found[node] = f"{kind} begins"
        return found

    def tell(self, node: int) -> str:
        """Number, place, score and truth of a node."""
        x, y, z = self.files[node]
        alert = ", alert" if self.alert[node] else ""
        place = f"x {x:.1f}, y {y:.1f}, z {z:.1f} {self.unit}"
        return f"node {node}: {place}; score {self.score[node]:.3f}{alert}; {self.truths[node]}"

    def drawn(self) -> dict:
        """What a tree of a stage shows of it."""
        known = {name: getattr(self, name) for name in ("points", "parent", "score", "alert")}
        errors = [(node, f"{kind} begins at node {node}") for node, kind in self.errors]
        return known | {"wrong": self.branch == 1, "told": self.truths, "errors": errors}


# ---------------------------------------------------------------- reading


def check(run: "Run") -> None:
    """Raises InvalidRun where nodes, errors and stacks do not belong together."""
    samples = run.samples
    nodes = samples.array("nodes")
    count, versions, most = (*nodes.shape, 0, 0, 0)[:3]
    events = samples.array("kind").shape[1]
    shapes = {"nodes": (count, versions, most, 3), "mask": (count, most), "place": (count, events, 3)}
    shapes |= dict.fromkeys(NODES, (count, versions, most)) | dict.fromkeys(("spacing", "block", "origin"), (count, 3))
    for name, shape in shapes.items():
        array = samples.array(name)
        if array.shape != shape or array.dtype != ("uint8" if name == "mask" else "float32"):
            found = f"{array.shape} of {array.dtype}"
            raise InvalidRun(samples.path / f"{name}.npy", f"shape {shape}", found, views.REMEDY)
    for name in ("spacing", "block"):
        values = samples.array(name)
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise InvalidRun(samples.path / f"{name}.npy", "lengths above 0", "other values", views.REMEDY)


def parts(run: "Run", wide: int) -> tuple[dict[str, float], float]:
    """By name, what part of a stack's longest side a slice may show, and the least of at least so many voxels."""
    longest = max(run.samples.array("volume").shape[1:])
    found = {"all" if n == 0 else f"1/{2**n}": 0.5**n for n in range(12) if n == 0 or longest / 2**n >= wide / 3}
    return found, min((part for part in found.values() if part * longest >= wide), default=1.0)


def number(run: "Run", case: tuple[str, str]) -> int:
    keys = [views.key(entry) for entry in run.samples.cases]
    if case not in keys:
        raise unknown("case", " ".join(case).strip(), [" ".join(key).strip() for key in keys])
    return keys.index(case)


def read(run: "Run", case: tuple[str, str]) -> Neuron:
    """The trace of one case with what the run said of it.

    Raises:
        InvalidParameter: the run was not tested on this case.
        InvalidRun: an array cannot be read, or holds no tree.
    """
    place, samples = number(run, case), run.samples
    own = {name: np.array(samples.array(name)[place, 0]) for name in ("nodes", *NODES)}
    own = {name: values[own["parent"] > -2] for name, values in own.items()}
    parent = own["parent"].astype(int)
    if not len(parent) or (parent >= np.arange(len(parent))).any() or not np.isfinite(own["nodes"]).all():
        raise InvalidRun(samples.path / "parent.npy", f"a tree of {case[0]}", "other values", views.REMEDY)
    spacing, block, origin = (np.array(samples.array(name)[place])[::-1] for name in ("spacing", "block", "origin"))
    points = (own["nodes"][:, ::-1] + 0.5) * spacing
    begins = (np.array(samples.array("place")[place])[:, ::-1] + 0.5) * spacing
    kinds = np.array(samples.array("kind")[place]).astype(int)
    errors = [
        (int(np.linalg.norm(points - at, axis=1).argmin()), KINDS[kind - 1])
        for at, kind in zip(begins, kinds)
        if 0 < kind <= len(KINDS)
    ]
    voxel = spacing * block
    return Neuron(
        points, parent, own["score"], np.array(samples.array("mask")[place])[: len(parent)] > 0, own["onset"],
        own["branch"], errors, float(samples.array("tolerance")[place] * spacing.min()),
        np.array(samples.array("volume").shape[:0:-1]) * voxel, voxel, origin - spacing / 2, length(run),
    )  # fmt: skip


def length(run: "Run") -> str:
    """The unit of coordinates: that of the spacing, or voxels where it is not known."""
    unit = views.length([run])
    return "voxels" if unit == "px" else unit


def cut(run: "Run", case: tuple[str, str], plane: Plane, index: int) -> np.ndarray:
    """One slice (H, W) uint8 of the kept stack, the highest coordinate in row 0: nothing else is read."""
    place: list[int | slice] = [number(run, case), slice(None), slice(None), slice(None)]
    place[3 - plane.axis] = index
    found = np.array(run.samples.array("volume")[tuple(place)])
    return (found.T if plane.axis == 0 else found)[::-1]


@lru_cache(maxsize=64)
def _lowest(run: "Run", stamp: int) -> float:
    alert = np.array(run.samples.array("mask")) > 0
    return float(np.array(run.samples.array("score")[:, 0])[alert].min(initial=np.inf))


def lowest(run: "Run") -> float:
    """The lowest score that was an alert in this run; infinite where none was."""
    path = run.samples.path / "score.npy"
    return _lowest(run, path.stat().st_mtime_ns if path.is_file() else 0)


# ---------------------------------------------------------------- alerts


def runs(alert: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """The number, from 1, of the connected run along the tree that each alert (N,) bool is in; 0 for no alert.

    >>> runs(np.array([True, True, False, True]), np.array([-1, 0, 1, 2])).tolist()
    [1, 1, 0, 2]
    """
    found, count = np.zeros(len(parent), int), 0
    for node in np.flatnonzero(alert).tolist():
        above = found[parent[node]] if parent[node] >= 0 else 0
        count += not above
        found[node] = above or count
    return found


def alerts(neuron: Neuron) -> pd.DataFrame:
    """A row a connected run of alerts, at its highest score, and a row an error that none is near: highest score first.

    node, x, y, z: as in the file. nodes: of the run. kind: the error within the tolerance of the run, `wrong branch`
    or `left out` where it lies on one or on nodes without label, else `false alert`; at the end errors that are
    `unseen`.
    """
    group, rows, seen = runs(neuron.alert, neuron.parent), [], set()
    for one in range(1, group.max(initial=0) + 1):
        own = np.flatnonzero(group == one)
        near = [number for number, (at, _) in enumerate(neuron.errors) if reaches(neuron, own, at)]
        seen |= set(near)
        best = own[neuron.score[own].argmax()]
        rows.append((best, len(own), ", ".join(neuron.errors[n][1] for n in near) or unnamed(neuron, own)))
    rows.sort(key=lambda row: -neuron.score[row[0]])
    rows += [(at, 0, UNSEEN + kind) for n, (at, kind) in enumerate(neuron.errors) if n not in seen]
    nodes = np.array([row[0] for row in rows], int)
    places = {axis: neuron.files[nodes, number].astype(np.float32) for number, axis in enumerate("xyz")}
    told = {"nodes": [row[1] for row in rows], "kind": [row[2] for row in rows]}
    return pd.DataFrame({"node": nodes, **places, "score": neuron.score[nodes], **told})


def reaches(neuron: Neuron, own: np.ndarray, at: int) -> bool:
    apart = np.linalg.norm(neuron.points[own] - neuron.points[at], axis=1)
    return bool(apart.min() <= neuron.tolerance * (1 + 1e-5))


def unnamed(neuron: Neuron, own: np.ndarray) -> str:
    if (neuron.branch[own] == 1).any():
        return "wrong branch"
    return "left out" if (neuron.onset[own] != 0).any() else "false alert"


# ---------------------------------------------------------------- slices


def voxel_at(neuron: Neuron, point: np.ndarray) -> np.ndarray:
    """(3,) the kept voxel, along x, y, z, in which a point lies."""
    most = np.round(neuron.sides / neuron.voxel).astype(int) - 1
    return np.clip(np.floor(point / neuron.voxel).astype(int), 0, most)


def slab(neuron: Neuron, plane: Plane, point: np.ndarray) -> np.ndarray:
    """Which nodes (N,) are near enough to the slice through a point to be drawn on it."""
    return np.abs(neuron.points[:, plane.axis] - point[plane.axis]) <= SLAB * neuron.voxel[plane.axis]


def strokes(
    neuron: Neuron, plane: Plane, point: np.ndarray, scale: tuple[float, float], field: float, trace: bool = True
) -> list[Stroke]:
    """The trace near a slice through a point, in colours of the score; errors that begin there; a cross at the point.

    Args:
        scale: the scores at the ends of the colours.
        field: the width of what is seen, which sizes the marks.
        trace: whether the trace is drawn, or the cross alone.
    """
    axes, tints = [plane.across, plane.up], palette()
    seen = slab(neuron, plane, point) & trace
    child = np.flatnonzero((neuron.parent >= 0) & seen)
    child = child[seen[neuron.parent[child]]]
    low, high = scale
    level = np.clip((neuron.score - low) / max(high - low, 1e-9), 0, 1)
    made: list[Stroke] = [
        (neuron.points[[neuron.parent[n], n]][:, axes], tints[round(255 * float(level[n]))], 2.0, "solid")
        for n in child
    ]
    turn = np.linspace(0, 2 * np.pi, 5)
    for node in (at for at, _ in neuron.errors if seen[at]):
        made.append((neuron.points[node, axes] + 0.05 * field * np.c_[np.cos(turn), np.sin(turn)], TRUTH, 2.0, "solid"))
    ways = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)], float)
    ends = np.array([[0.035], [0.09]]) * field
    return made + [(point[axes] + way * ends, CHOSEN, 1.5, "solid") for way in ways]


def numbers(run: "Run", case: tuple[str, str]) -> str:
    """The metrics of one neuron in a line."""
    table = views.scores(run)
    row = table.loc[[case]].iloc[0] if case in table.index else {}
    told = (("ap", "AP {:.2f}"), ("detected", "{:.0%} of errors detected"), ("false_alerts", "{:.1%} false alerts"))
    return escape(" · ".join(words.format(row[name]) for name, words in told if np.isfinite(row.get(name, np.nan))))


def start(neuron: Neuron, table: pd.DataFrame) -> int:
    """The node to begin with: the first alert, or the highest score where there is none."""
    return int(table["node"].iloc[0]) if len(table) else int(neuron.score.argmax())


def spread(neurons: Sequence[Neuron]) -> tuple[float, float]:
    """The lowest and the highest score of some trees."""
    both = np.concatenate([one.score[np.isfinite(one.score)] for one in neurons])
    return (float(both.min()), float(both.max())) if len(both) and both.max() > both.min() else (0.0, 1.0)
