"""Errors put into a correct trace: a jump to another fibre, an overshoot, a missed branch, a spurious branch.

Everything is in finest voxels, and traces are finely sampled, about one node a voxel; they are resampled afterwards as
a whole, so that what is wrong has the same spacing and jitter as what is right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from workbench.data.io.swc import child_counts
from workbench.data.neuron.labels import KINDS, Draft, Event, spread

WANDER = 0.16  # standard deviation of the change of direction a voxel
MARGIN = 3.0  # voxels from the border within which a path turns back
CLOSE = 3.5  # voxels between two fibres that a tracer may confuse
LARGEST = 0.35  # share of the nodes that a jump or a missed branch may cost
SHORTEST = 5  # nodes of a missed branch, and about an event, up to the next branch point or tip
TRIES = 30


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What there is beside the trace: other fibres (points, parent) to jump to, where signal is (Z, Y, X) bool.

    `unit` scales the lengths of wrong paths; `apart` is the least distance between two events; `ratio` (3,) the sides
    of a voxel along z, y, x.
    """

    others: Sequence[tuple[np.ndarray, np.ndarray]]
    occupied: np.ndarray
    unit: float = 1.0
    apart: float = 10.0
    ratio: np.ndarray = field(default_factory=lambda: np.ones(3))

    @property
    def sides(self) -> np.ndarray:
        """The extent (3,) along x, y, z in finest voxels."""
        return (np.array(self.occupied.shape) * self.ratio)[::-1]

    def signal(self, points: np.ndarray) -> np.ndarray:
        """Whether there is signal at points (P, 3) x, y, z; outside there is none."""
        voxel = np.floor(points[:, ::-1] / self.ratio + 0.5).astype(int)
        voxel = voxel.clip(0, np.array(self.occupied.shape) - 1)
        return self.occupied[tuple(voxel.T)]


def injected(rng: np.random.Generator, draft: Draft, around: Surroundings, count: int, turn: int) -> Draft:
    """The trace with up to `count` errors, none near another.

    Traces of successive `turn` take the kinds in turn, so that all are equally frequent; where one finds no place
    another takes it.
    """
    first = turn * count + turn // 2
    kinds = [(first + place) % len(KINDS) for place in range(count)]
    spare = np.concatenate([rng.permutation(len(KINDS)) for _ in range(count)])
    for kind in (*sorted(kinds), *spare):  # a jump is the hardest to place and comes first
        if len(draft.events) == count:
            break
        for _ in range(TRIES):
            made = INJECT[KINDS[kind]](rng, draft, around)
            if made is not None:
                draft = made
                break
    return draft


# ---------------------------------------------------------------- the four kinds


def jump(rng: np.random.Generator, draft: Draft, around: Surroundings) -> Draft | None:
    """At a near-crossing the trace goes on along another fibre, and its own continuation is lost."""
    if not around.others:
        return None
    points, parent = around.others[rng.integers(len(around.others))]
    distance, nearest = cKDTree(points).query(draft.points)
    chosen = pick(rng, draft, around, inside(draft.parent) & (distance <= CLOSE))
    if chosen is None:
        return None
    below = descendants(draft.parent, chosen)
    if not SHORTEST <= below.sum() <= LARGEST * len(below) or draft.wrong[below].any() or holds(draft, below):
        return None
    way = along(rng, points, parent, int(nearest[chosen]), heading(draft, chosen), length(rng, around, 10, 18))
    if len(way) < SHORTEST or np.linalg.norm(way[-1] - draft.points, axis=1).min() < 2 * CLOSE:
        return None
    return extended(kept(draft, ~below), renumbered(~below, chosen), way, "jump")


def overshoot(rng: np.random.Generator, draft: Draft, around: Surroundings) -> Draft | None:
    """Beyond a tip the trace goes on into the background."""
    tips = child_counts(draft.parent) == 0
    chosen = pick(rng, draft, around, tips & (draft.parent >= 0))
    return None if chosen is None else astray(rng, draft, around, chosen, heading(draft, chosen), "overshoot")


def missed(rng: np.random.Generator, draft: Draft, around: Surroundings) -> Draft | None:
    """A branch is not traced; the node where it should begin is where the error is."""
    counts = child_counts(draft.parent)
    branching = np.flatnonzero((draft.parent >= 0) & (counts[draft.parent] > 1))
    candidates = np.zeros(len(counts), bool)
    candidates[branching] = True
    chosen = pick(rng, draft, around, candidates)
    if chosen is None:
        return None
    below = descendants(draft.parent, chosen)
    below[chosen] = True
    if not SHORTEST <= below.sum() <= LARGEST * len(below) or draft.wrong[below].any() or holds(draft, below):
        return None
    event = Event(KINDS.index("missed") + 1, draft.points[draft.parent[chosen]])
    left = kept(draft, ~below)
    return Draft(left.points, left.parent, left.wrong, (*draft.events, event))


def spurious(rng: np.random.Generator, draft: Draft, around: Surroundings) -> Draft | None:
    """A branch is traced where there is no fibre."""
    chosen = pick(rng, draft, around, inside(draft.parent))
    if chosen is None:
        return None
    return astray(rng, draft, around, chosen, aside(rng, heading(draft, chosen), 45, 90), "spurious")


INJECT: dict[str, Callable[[np.random.Generator, Draft, Surroundings], Draft | None]] = {
    "jump": jump, "overshoot": overshoot, "missed": missed, "spurious": spurious,
}  # fmt: skip


# ---------------------------------------------------------------- paths


def walk(
    rng: np.random.Generator, start: np.ndarray, direction: np.ndarray, count: int, sides: np.ndarray
) -> np.ndarray:
    """(count, 3) points a voxel apart of a persistent random walk that turns back near the border, start left out."""
    way, at = [], np.array(start, float)
    for turn in rng.normal(0, WANDER, (count, 3)):
        push = np.maximum(MARGIN - at, 0) - np.maximum(at - (sides - 1 - MARGIN), 0)
        direction = unit_vector(direction + turn + 0.3 * push)
        at = np.clip(at + direction, 0, sides - 1)
        way.append(at)
    return np.array(way)


def unit_vector(vector: np.ndarray) -> np.ndarray:
    return vector / max(np.linalg.norm(vector), 1e-9)


def aside(rng: np.random.Generator, direction: np.ndarray, low: float, high: float) -> np.ndarray:
    """A direction at an angle between low and high degrees to this one, to any side."""
    across = unit_vector(np.cross(direction, rng.standard_normal(3)))
    angle = np.radians(rng.uniform(low, high))
    return np.cos(angle) * direction + np.sin(angle) * across


def heading(draft: Draft, node: int, back: int = 4) -> np.ndarray:
    """Where the trace is going at a node, from a few nodes before."""
    before = node
    for _ in range(back):
        before = draft.parent[before] if draft.parent[before] >= 0 else before
    return unit_vector(draft.points[node] - draft.points[before])


def length(rng: np.random.Generator, around: Surroundings, low: float, high: float) -> int:
    return max(SHORTEST, round(around.unit * rng.uniform(low, high)))


def along(
    rng: np.random.Generator, points: np.ndarray, parent: np.ndarray, start: int, direction: np.ndarray, count: int
) -> np.ndarray:
    """Up to `count` points of a tree from a node on, the first step where it agrees best with the direction."""
    children = [[] for _ in parent]
    for node, above in enumerate(parent):
        if above >= 0:
            children[above].append(node)
    way, before = [start], -1
    while len(way) < count:
        here = way[-1]
        ahead = [node for node in (*children[here], parent[here]) if node >= 0 and node != before]
        if not ahead:
            break
        if len(way) == 1:
            step = max(ahead, key=lambda node: float((points[node] - points[start]) @ direction))
        else:
            step = ahead[rng.integers(len(ahead))]
        before = here
        way.append(int(step))
    return points[way]


def astray(
    rng: np.random.Generator, draft: Draft, around: Surroundings, start: int, direction: np.ndarray, kind: str
) -> Draft | None:
    """The trace with a path from a node into the background, if there is background that way."""
    way = walk(rng, draft.points[start], direction, length(rng, around, 8, 16), around.sides)
    clear = way[3:]
    distance = cKDTree(draft.points).query(clear)[0]
    if around.signal(clear).mean() > 0.1 or distance.min() < 2 or distance[-1] < CLOSE:
        return None
    return extended(draft, start, way, kind)


# ---------------------------------------------------------------- trees


def inside(parent: np.ndarray) -> np.ndarray:
    """The nodes (N,) bool at least SHORTEST steps from every root, branch point and tip."""
    ends = (child_counts(parent) != 1) | (parent < 0)
    return ~spread(ends, parent, SHORTEST)


def pick(rng: np.random.Generator, draft: Draft, around: Surroundings, allowed: np.ndarray) -> int | None:
    """One of the allowed right nodes that are not near another event."""
    allowed = allowed & (draft.wrong == 0)
    for event in draft.events:
        allowed &= np.linalg.norm(draft.points - event.at, axis=1) >= around.apart
    found = np.flatnonzero(allowed)
    return int(rng.choice(found)) if len(found) else None


def descendants(parent: np.ndarray, node: int) -> np.ndarray:
    """(N,) bool, the node itself left out."""
    below = np.zeros(len(parent), bool)
    below[node] = True
    for one in range(node + 1, len(parent)):
        below[one] = parent[one] >= 0 and below[parent[one]]
    below[node] = False
    return below


def holds(draft: Draft, chosen: np.ndarray) -> bool:
    """Whether an event lies by one of the chosen nodes: it would be lost with them."""
    return any(np.linalg.norm(draft.points[chosen] - event.at, axis=1).min() < 1 for event in draft.events)


def renumbered(left: np.ndarray, node: int) -> int:
    return int(left[:node].sum())


def kept(draft: Draft, left: np.ndarray) -> Draft:
    place = np.append(left.cumsum() - 1, -1)
    return Draft(draft.points[left], place[draft.parent[left]], draft.wrong[left], draft.events)


def extended(draft: Draft, start: int, way: np.ndarray, kind: str) -> Draft:
    """The trace with a wrong path of that kind hung on a node."""
    count, number = len(draft.points), len(draft.events) + 1
    parent = np.concatenate([draft.parent, [start], np.arange(count, count + len(way) - 1)])
    wrong = np.concatenate([draft.wrong, np.full(len(way), number)])
    event = Event(KINDS.index(kind) + 1, way[0])
    return Draft(np.concatenate([draft.points, way]), parent, wrong, (*draft.events, event))
