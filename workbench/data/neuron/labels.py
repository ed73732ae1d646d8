"""What is wrong with a trace: the kinds of error, and the label of every node in both readings of the paper."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from workbench.data.io.swc import child_counts
from workbench.data.neuron.drawing import samples
from workbench.models.tracing import KINDS


@dataclass(frozen=True, eq=False)
class Event:
    """One error: the number of its kind in KINDS, from 1, and the point (3,) x, y, z where wrong tracing begins."""

    kind: int
    at: np.ndarray


@dataclass(frozen=True, eq=False)
class Draft:
    """A trace with its errors: points (N, 3), parent (N,), wrong (N,) the number of the event whose wrong branch a node
    is on, from 1, or 0; and the events in that order.
    """

    points: np.ndarray
    parent: np.ndarray
    wrong: np.ndarray
    events: tuple[Event, ...] = ()


def spread(chosen: np.ndarray, parent: np.ndarray, hops: int) -> np.ndarray:
    """The nodes (N,) bool that are at most so many steps along the tree from a chosen one."""
    inner = parent >= 0
    for _ in range(hops):
        wider = chosen.copy()
        wider[inner] |= chosen[parent[inner]]
        np.logical_or.at(wider, parent[inner], chosen[inner])
        chosen = wider
    return chosen


def firsts(draft: Draft) -> list[int]:
    """The node where each event begins: the first of its wrong branch, or the nearest right one to what is missed.

    -1 for an event of which no node is left.
    """
    found = []
    for number, event in enumerate(draft.events, 1):
        own = np.flatnonzero(draft.wrong == number)
        if KINDS[event.kind - 1] == "missed":
            own = np.flatnonzero(draft.wrong == 0)
            own = own[np.linalg.norm(draft.points[own] - event.at, axis=1).argsort(kind="stable")]
        found.append(int(own[0]) if len(own) else -1)
    return found


def labelled(draft: Draft, near: int, band: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Labels (N,) float32 of both readings, 1 wrong, 0 right, -1 to be left out, and the first node of each event.

    onset: 1 within `near` steps along the tree of where an event begins; left out are the next `band` steps and the
    rest of a wrong branch, which is neither right nor a beginning. branch: 1 on all of a wrong branch, and within
    `near` steps of a missed one; left out are the `band` right nodes beside them.
    """
    first = firsts(draft)
    begun, missed = np.zeros(len(draft.parent), bool), np.zeros(len(draft.parent), bool)
    for node, event in zip(first, draft.events):
        if node >= 0:
            begun[node] = True
            missed[node] |= KINDS[event.kind - 1] == "missed"
    wrong = draft.wrong > 0
    onset = graded(spread(begun, draft.parent, near), spread(begun, draft.parent, near + band) | wrong)
    branch = wrong | spread(missed, draft.parent, near)
    return onset, graded(branch, spread(branch, draft.parent, band)), first


def graded(positive: np.ndarray, aside: np.ndarray) -> np.ndarray:
    return np.where(positive, 1.0, np.where(aside, -1.0, 0.0)).astype(np.float32)


def compared(
    points: np.ndarray, parent: np.ndarray, gold: np.ndarray, gold_parent: np.ndarray, apart: float, least: float
) -> Draft:
    """A trace against its gold standard, both points (N, 3) in finest voxels: the errors that were really made.

    Wrong is a path that gets further than `apart` from the gold standard and stays so for `least` voxels, from where it
    leaves it. It is spurious where the trace goes on beside it, a jump where it does not and the gold standard goes on
    elsewhere, else an overshoot. Missed is what of the gold standard lies further than `apart` from the trace for
    `least` voxels, where no jump accounts for it.
    """
    away, unseen = off(points, gold, gold_parent), off(gold, points, parent) > apart
    lost = [run for run in stretches(gold_parent, unseen) if extent(gold, gold_parent, run) >= least]
    begins = [gold[max(gold_parent[run[0]], 0)] for run in lost]
    wrong, events, used = np.zeros(len(points), int), [], np.zeros(len(lost), bool)
    for run in stretches(parent, away > apart):
        if extent(points, parent, run) < least or parent[run[0]] < 0:
            continue
        leaving, beside = left_at(points, parent, away, int(run[0]), apart)
        close = np.array([np.linalg.norm(points[parent[leaving[0]]] - at) <= 2 * apart for at in begins], bool)
        kind = "spurious" if beside else "jump" if close.any() else "overshoot"
        used |= close & (kind == "jump")
        events.append(Event(KINDS.index(kind) + 1, points[leaving[0]]))
        wrong[[*leaving, *run]] = len(events)
    missed = KINDS.index("missed") + 1
    events += [Event(missed, at) for at, known in zip(begins, used) if not known]
    return Draft(points, parent, wrong, tuple(events))


def left_at(
    points: np.ndarray, parent: np.ndarray, away: np.ndarray, node: int, apart: float
) -> tuple[list[int], bool]:
    """The nodes from where a path leaves the gold standard, a third of `apart` off it, to its first wrong node; and
    whether the trace branches there.
    """
    counts, way, total = child_counts(parent), [node], 0.0
    while total <= 2 * apart:
        above = int(parent[way[0]])
        if counts[above] > 1:
            return way, True
        if away[above] <= apart / 3 or parent[above] < 0:
            break
        total += np.linalg.norm(points[way[0]] - points[above])
        way.insert(0, above)
    above = int(parent[way[0]])  # a branch point may lie a little before
    for _ in range(2):
        above = int(parent[above]) if parent[above] >= 0 and counts[above] == 1 else above
    return way, bool(counts[above] > 1 and np.linalg.norm(points[way[0]] - points[above]) <= apart)


def off(points: np.ndarray, other: np.ndarray, other_parent: np.ndarray) -> np.ndarray:
    """How far each node (N,) is from the nearest edge of the other tree."""
    return cKDTree(samples(other, other_parent)[0]).query(points)[0]


def stretches(parent: np.ndarray, chosen: np.ndarray) -> list[np.ndarray]:
    """The connected groups of chosen nodes, each in the tree's order."""
    group, count = np.zeros(len(parent), int), 0
    for node in np.flatnonzero(chosen).tolist():
        above = group[parent[node]] if parent[node] >= 0 else 0
        count += not above
        group[node] = above or count
    order = np.argsort(group, kind="stable")
    return [part for part in np.split(order, np.searchsorted(group[order], np.arange(1, count + 1)))[1:]]


def extent(points: np.ndarray, parent: np.ndarray, run: Sequence[int]) -> float:
    """The length of all edges that lead to these nodes, roots left out."""
    inner = np.array([node for node in run if parent[node] >= 0], int)
    return float(np.linalg.norm(points[inner] - points[parent[inner]], axis=1).sum())
