"""Phantoms: volumes of branching fibres, of which the first neuron is traced, with errors put into the trace."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from workbench.data import Data
from workbench.data.io.swc import resampled, tree_of
from workbench.data.neuron.cases import DEFAULTS, Neuron, Options, assembled
from workbench.data.neuron.drawing import fibres
from workbench.data.neuron.injection import (
    LARGEST,
    Surroundings,
    aside,
    descendants,
    injected,
    inside,
    unit_vector,
    walk,
)
from workbench.data.neuron.labels import Draft, Event

SIDE = 48  # voxels of the volume that lengths are meant for; they grow with it
SECTION = (9.0, 20.0)  # length between branch points, voxels
OPENING = (25.0, 50.0)  # angle of a branch from its parent's direction, degrees
OTHERS = (2, 4)  # further neurons, each passing close by the first
PASSING = (2.0, 3.0)  # voxels between two fibres where they pass
RADIUS = (1.0, 1.5)  # of a fibre, voxels
BRIGHT = (0.55, 0.95)  # of a fibre
DIM = (0.1, 0.35)  # brightness left in a gap
GAP_EVERY, GAP = 45, (4, 7)  # voxels of fibre per gap, and its length
BACKGROUND, TEXTURE, NOISE = 0.12, 0.03, 0.10  # grey: mean, smooth and white standard deviation
SIGNAL = 0.25  # brightness without gaps above which a voxel belongs to a fibre
JITTER = 0.3  # standard deviation of every node of every trace, gold control included, voxels
GOLD_STEP = (0.75, 1.3)  # of the gold control's step over that of the traces
TRIES = 20  # scenes that are drawn until one takes an error


@dataclass(frozen=True, eq=False)
class Scene:
    """Fibres of one volume: trees (points, parent), one node a voxel, the first to be traced; volumes (Z, Y, X).

    `clean` is what is seen without noise, `occupied` where there is a fibre, gaps included.
    """

    trees: list[tuple[np.ndarray, np.ndarray]]
    clean: np.ndarray
    occupied: np.ndarray


def phantom(options: Options = DEFAULTS) -> Data:
    """Volumes of 3 to 5 trees with dimmed gaps and noise; the trace of the first has up to `options.events` errors.

    There are folds * test neurons, or more where training needs them; fold k is the k-th `test` of them. Those after it
    in the round are for validation and training, so the validation neurons belong to the training folds. A voxel is
    taken to be 1 µm wide.
    """
    splits = dealt(options)
    made = {name: [neuron(number, options) for number in numbers] for name, numbers in splits.items()}
    return assembled("phantom", made, options, unit="µm")


def dealt(options: Options) -> dict[str, list[int]]:
    """The numbers of the neurons of each split."""
    total = max(options.folds * options.test, options.train + options.valid + options.test)
    first = options.fold * options.test
    ring = [(first + place) % total for place in range(total)]
    end = options.test + options.valid
    splits = {"test": ring[: options.test], "valid": ring[options.test : end]}
    return splits | {"train": ring[end : end + options.train]}


def neuron(number: int, options: Options) -> Neuron:
    rng = np.random.default_rng([options.data_seed, number])
    for _ in range(TRIES):
        made = scene(rng, options.size)
        gold = Draft(*made.trees[0], np.zeros(len(made.trees[0][0]), int))
        around = Surroundings(made.trees[1:], made.occupied, options.size / SIDE, 2 * options.tolerance)
        draft = injected(rng, gold, around, options.events, number)
        if draft.events:
            break
    control = sampled(rng, gold, options.step * rng.uniform(*GOLD_STEP))
    spacing = np.array([options.thickness, 1.0, 1.0])
    stack, gold_stack = (noisy(rng, made.clean, options.thickness) for _ in range(2))
    name = f"neuron-{number:04d}"
    draft, control = (sunk(one, options.thickness) for one in (sampled(rng, draft, options.step), control))
    return Neuron(stack, draft, spacing, name, name, gold_stack, control)


def sampled(rng: np.random.Generator, draft: Draft, step: float) -> Draft:
    """The trace at even steps, its nodes jittered: right and wrong ones alike."""
    tree, origin = resampled(tree_of(draft.points, draft.parent), step)
    points = tree.points + rng.normal(0, JITTER, tree.points.shape)
    return Draft(points, tree.parent, draft.wrong[origin], draft.events)


def sunk(draft: Draft, thickness: int) -> Draft:
    """The trace where the first slice of so many voxels has its middle at 0."""
    shift = np.array([0, 0, (1 - thickness) / 2])
    events = tuple(Event(event.kind, event.at + shift) for event in draft.events)
    return Draft(draft.points + shift, draft.parent, draft.wrong, events)


def noisy(rng: np.random.Generator, clean: np.ndarray, thickness: int) -> np.ndarray:
    """(Z, Y, X) uint8: what a microscope makes of it, in slices of so many voxels."""
    texture = gaussian_filter(rng.standard_normal(clean.shape), 4)
    seen = BACKGROUND + TEXTURE * texture / texture.std() + clean * (1 - BACKGROUND)
    seen = seen.reshape(-1, thickness, *clean.shape[1:]).mean(1)
    seen += NOISE * rng.standard_normal(seen.shape)
    return np.round(seen.clip(0, 1) * 255).astype(np.uint8)


# ---------------------------------------------------------------- fibres


def scene(rng: np.random.Generator, size: int) -> Scene:
    unit, sides = size / SIDE, np.full(3, size)
    middle = size * rng.uniform(0.38, 0.62, 3)
    out = unit_vector(rng.standard_normal(3))
    trees = [grown(rng, middle, (out, aside(rng, -out, 0, 40)), (2, 2), unit, sides)]
    for _ in range(rng.integers(OTHERS[0], OTHERS[1], endpoint=True)):
        start, way = passing(rng, *trees[0])
        trees.append(grown(rng, start, (way, -way), tuple(rng.integers(0, 2, 2)), unit, sides))
    clean, occupied = np.zeros(sides), np.zeros(sides, bool)
    for points, parent in trees:
        full = rng.uniform(*BRIGHT) * np.exp(0.15 * wavy(rng, len(points)))
        radius = rng.uniform(*RADIUS)
        clean = np.maximum(clean, fibres(points, parent, full * gaps(rng, len(points)), radius, sides))
        occupied |= fibres(points, parent, full, radius, sides) > SIGNAL
    return Scene(trees, clean.clip(0, 1), occupied)


def grown(
    rng: np.random.Generator, start: np.ndarray, ways: tuple, depths: tuple, unit: float, sides: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A tree of stems from a point, each of which branches `depth` times: points (N, 3), parent (N,)."""
    points, parent = [np.array(start, float)], [-1]
    waiting = [(0, way, depth) for way, depth in zip(ways, depths)]
    while waiting:
        node, way, depth = waiting.pop()
        count = max(4, round(unit * rng.uniform(*SECTION)))
        section = walk(rng, points[node], way, count, sides)
        parent += [node, *range(len(points), len(points) + count - 1)]
        points += list(section)
        if depth > 0:
            end, way = len(points) - 1, unit_vector(section[-1] - section[-4])
            first = aside(rng, way, *OPENING)
            second = unit_vector(2 * (first @ way) * way - first)  # to the other side
            waiting += [(end, first, depth - 1), (end, second, depth - 1 - rng.integers(0, 2))]
    return np.array(points), np.array(parent)


def passing(rng: np.random.Generator, points: np.ndarray, parent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A point close to the middle of an outer section of a tree, and a direction across it."""
    middle = np.flatnonzero(inside(parent)).tolist() or [len(parent) // 2]
    outer = [node for node in middle if descendants(parent, node).sum() <= LARGEST * len(parent)]
    node = int(rng.choice(outer or middle))
    own = unit_vector(points[node] - points[parent[node]])
    beside = aside(rng, own, 90, 90)
    way = np.cos(angle := rng.uniform(0, 0.8)) * np.cross(own, beside) + np.sin(angle) * own
    return points[node] + rng.uniform(*PASSING) * beside, way


def wavy(rng: np.random.Generator, count: int) -> np.ndarray:
    """(N,) slow changes of unit variance."""
    slow = gaussian_filter(rng.standard_normal(count + 40), 5)[20:-20]
    return slow / max(slow.std(), 1e-6)


def gaps(rng: np.random.Generator, count: int) -> np.ndarray:
    """(N,) factors of brightness: 1, and little in a gap every 45 voxels on average."""
    factor = np.ones(count)
    for _ in range(rng.poisson(count / GAP_EVERY)):
        first = rng.integers(0, count)
        factor[first : first + rng.integers(*GAP, endpoint=True)] = rng.uniform(*DIM)
    return factor
