"""Errors put into gold standard traces of real stacks, and their gold control."""

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from skimage.graph import route_through_array

from workbench.data.io.swc import Tree, resampled, tree_of
from workbench.data.neuron.drawing import samples
from workbench.data.neuron.injection import CLOSE, Surroundings, injected
from workbench.data.neuron.labels import Draft
from workbench.data.neuron.phantoms import GOLD_STEP, SIDE, sampled

STRAYS, REACH = 24, 16  # places where another fibre is looked for, and how far from the trace, finest voxels
SMOOTH = 1.0  # standard deviation before brightness is compared, voxels


def drafted(points: np.ndarray, parent: np.ndarray) -> Draft:
    """A correct trace of finest voxels, one node a voxel."""
    tree, _ = resampled(tree_of(points, parent), 1.0)
    return Draft(tree.points, tree.parent, np.zeros(len(tree), int))


def perturbed(
    rng: np.random.Generator, stack: np.ndarray, gold: Draft, ratio: np.ndarray, step: float, events: int, turn: int,
    apart: float,
) -> Draft:  # fmt: skip
    """The trace with errors, at even steps; it jumps along the cheapest path to something bright that is not traced."""
    seen = gaussian_filter(stack.astype(np.float32), SMOOTH / ratio)
    level = signal_level(seen, gold, ratio)
    others = strays(rng, seen, level, gold, ratio)
    unit = max(1.0, min(np.array(stack.shape) * ratio) / SIDE) if len(gold.points) > 4 * SIDE else 1.0
    around = Surroundings(others, seen > level, min(unit, 2.0), apart, ratio)
    return sampled(rng, injected(rng, gold, around, events, turn), step)


def control(rng: np.random.Generator, stack: np.ndarray, gold: Draft, step: float) -> tuple[np.ndarray, Draft]:
    """The gold control: as much noise again as the stack has, and the trace at other steps."""
    across = np.diff(stack.astype(np.float32), axis=2)
    deviation = 1.4826 * np.median(np.abs(across - np.median(across))) / np.sqrt(2)
    noisy = stack + max(deviation, 1.0) * rng.standard_normal(stack.shape, np.float32)
    return np.round(noisy.clip(0, 255)).astype(np.uint8), sampled(rng, gold, step * rng.uniform(*GOLD_STEP))


def signal_level(seen: np.ndarray, gold: Draft, ratio: np.ndarray) -> float:
    """Half way between the stack's median and the trace's."""
    return float((np.median(seen) + np.median(values_at(seen, gold.points, ratio))) / 2)


def values_at(stack: np.ndarray, points: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    voxel = np.floor(points[:, ::-1] / ratio + 0.5).astype(int).clip(0, np.array(stack.shape) - 1)
    return stack[tuple(voxel.T)]


def strays(
    rng: np.random.Generator, seen: np.ndarray, level: float, gold: Draft, ratio: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Paths (points, parent) from near the trace to bright voxels off it, each where the image is brightest."""
    own, found = cKDTree(samples(gold.points, gold.parent)[0]), []
    for node in rng.choice(len(gold.points), min(STRAYS, len(gold.points)), replace=False):
        way = stray(rng, seen, level, gold.points[node], own, ratio)
        if way is not None:
            found.append((way, np.arange(-1, len(way) - 1)))
    return found


def stray(
    rng: np.random.Generator, seen: np.ndarray, level: float, start: np.ndarray, own: cKDTree, ratio: np.ndarray
) -> np.ndarray | None:
    """One such path (M, 3) in finest voxels without what is on the trace; none where nothing bright is near."""
    first = np.floor(start[::-1] / ratio + 0.5).astype(int).clip(0, np.array(seen.shape) - 1)
    reach = np.ceil(REACH / ratio).astype(int)
    low = (first - reach).clip(0)
    part = seen[tuple(slice(a, b) for a, b in zip(low, first + reach + 1))]
    bright = np.argwhere(part > level)
    distance = own.query(((bright + low) * ratio)[:, ::-1])[0] if len(bright) else np.zeros(0)
    goals = bright[distance > 2 * CLOSE]
    if not len(goals):
        return None
    cost = 1 / (1 + np.maximum(part - np.median(seen), 0)) + 1e-3
    path, _ = route_through_array(cost, tuple(first - low), tuple(rng.choice(goals)))
    points = ((np.array(path) + low) * ratio)[:, ::-1]
    on = own.query(points)[0] <= CLOSE - 1
    left = points[np.flatnonzero(on).max(initial=0) :]
    return drafted(left, np.arange(-1, len(left) - 1)).points if len(left) > 2 * CLOSE else None


def of_file(tree: Tree, points: np.ndarray, step: float) -> tuple[Tree, np.ndarray]:
    """A trace of a file at even steps, its points in finest voxels, and the SWC types of its nodes."""
    placed = tree_of(points, tree.parent)
    made, origin = resampled(placed, step)
    return made, tree.kind[origin]
