"""What hand-written rules look at: one row of numbers a node, from the trace and the brightness along it."""

import numpy as np
from scipy import sparse
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from workbench.data.io.swc import child_counts
from workbench.data.neuron.drawing import samples
from workbench.data.neuron.labels import Draft

RULES = (
    "brightness", "darkest", "gap", "turn", "distance", "crossing", "detached", "leap", "branch angle",
    "multifurcation", "type jump",
)  # fmt: skip
AROUND = 3  # steps along the tree within which the darkest place is looked for
APART = 6  # steps along the tree from which on another path begins
FAR = 20.0  # voxels; other paths further off count as that far
NEAREST = 64  # nodes that are looked at for another path
CROSSING = 3.0  # voxels to another path that are a crossing


def measured(stack: np.ndarray, draft: Draft, ratio: np.ndarray, kinds: np.ndarray | None = None) -> np.ndarray:
    """(N, 11) in the order of RULES for the nodes of a trace in a stack (Z, Y, X).

    brightness: mean along the edge that leads to the node, 0 at the stack's median and 1 at the trace's; darkest: the
    least of that within three steps; gap: length of the dark stretch that the node is in, voxels; turn: angle between
    the edges before and after, radians; distance: to the nearest other path of the trace, voxels; crossing: whether
    that is below 3; detached: whether the node's component is not the largest; leap: length of its edge over the median
    one; branch angle: between the first two children, radians, 0 where there are no two; multifurcation: children
    beyond two; type jump: whether the SWC type changes at its edge.

    Args:
        ratio: (3,) sides of a voxel along z, y, x in finest ones.
        kinds: (N,) SWC types; without them no type changes.
    """
    points, parent = draft.points, draft.parent
    bright = brightness(stack, points, parent, ratio)
    edge = lengths(points, parent)
    distance = to_others(points, parent)
    before = np.where(parent >= 0, parent, np.arange(len(parent)))
    columns = (
        bright, darkest(bright, parent), gaps(bright, parent, edge), turns(points, parent), distance,
        distance < CROSSING, detached(parent), edge / max(np.median(edge), 1e-6), branch_angles(points, parent),
        np.maximum(child_counts(parent) - 2, 0), np.zeros(len(parent)) if kinds is None else kinds != kinds[before],
    )  # fmt: skip
    return np.stack(columns, 1).astype(np.float32)


def brightness(stack: np.ndarray, points: np.ndarray, parent: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    at, node = samples(points, parent)
    values = map_coordinates(stack.astype(np.float32), (at[:, ::-1] / ratio).T, order=1, mode="nearest")
    counts = np.maximum(np.bincount(node, minlength=len(points)), 1)
    mean = np.bincount(node, values, minlength=len(points)) / counts
    low = float(np.median(stack))
    return (mean - low) / max(float(np.median(mean)) - low, 1.0)


def lengths(points: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """(N,) of the edge that leads to each node; 0 of a root."""
    return np.where(parent >= 0, np.linalg.norm(points - points[parent], axis=1), 0.0)


def darkest(bright: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """The least brightness within three steps along the tree."""
    inner, least = parent >= 0, bright.copy()
    for _ in range(AROUND):
        wider = least.copy()
        wider[inner] = np.minimum(wider[inner], least[parent[inner]])
        np.minimum.at(wider, parent[inner], least[inner])
        least = wider
    return least


def gaps(bright: np.ndarray, parent: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """The length of the connected dark stretch, brightness below one half, that each node is in."""
    dark, group = bright < 0.5, np.full(len(parent), -1)
    for node in np.flatnonzero(dark).tolist():
        above = parent[node]
        group[node] = group[above] if above >= 0 and dark[above] else node
    total = np.bincount(group[dark], edge[dark], minlength=len(parent))
    return np.where(dark, total[group], 0.0)


def angle(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Between vectors (N, 3), radians; 0 where one has no length."""
    size = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosine = (first * second).sum(1) / np.where(size > 0, size, 1)
    return np.where(size > 0, np.arccos(cosine.clip(-1, 1)), 0.0)


def turns(points: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """The largest angle between the edge to a node and an edge from it."""
    found = np.zeros(len(parent))
    node = np.flatnonzero((parent >= 0) & (parent[parent] >= 0))
    middle = parent[node]
    np.maximum.at(found, middle, angle(points[middle] - points[parent[middle]], points[node] - points[middle]))
    return found


def branch_angles(points: np.ndarray, parent: np.ndarray) -> np.ndarray:
    found, first = np.zeros(len(parent)), {}
    for node in np.flatnonzero(parent >= 0).tolist():
        above = int(parent[node])
        if first.setdefault(above, node) != node and not found[above]:
            pair = points[[first[above], node]] - points[above]
            found[above] = angle(pair[:1], pair[1:])[0]
    return found


def detached(parent: np.ndarray) -> np.ndarray:
    root = np.arange(len(parent))
    for node in np.flatnonzero(parent >= 0).tolist():
        root[node] = root[parent[node]]
    return root != np.bincount(root).argmax()


def to_others(points: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """The distance to the nearest node that is more than six steps away along the tree, at most FAR."""
    count = len(points)
    inner = np.flatnonzero(parent >= 0)
    step = sparse.csr_array((np.ones(len(inner)), (inner, parent[inner])), (count, count))
    step = step + step.T + sparse.eye_array(count, format="csr")
    near = step
    for _ in range(APART - 1):
        near = near @ step
        near.data[:] = 1
    distance, other = cKDTree(points).query(points, min(NEAREST, count), distance_upper_bound=FAR)
    distance, other = distance.reshape(count, -1), other.reshape(count, -1)
    row = np.broadcast_to(np.arange(count)[:, None], other.shape)
    own = (near[row.ravel(), other.clip(max=count - 1).ravel()] > 0).reshape(other.shape)
    return np.where(own | (other == count), FAR, distance).min(1)
