"""Trees drawn into volumes: a trace as a tube, fibres as bright profiles."""

from collections.abc import Iterator, Sequence

import numpy as np

SPACE = 0.5  # between the samples of a path, finest voxels


def samples(points: np.ndarray, parent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 3) at most half a voxel apart along all edges, and the node (P,) that each edge leads to."""
    ends = np.flatnonzero(parent >= 0)
    starts = points[parent[ends]]
    lengths = np.linalg.norm(points[ends] - starts, axis=1)
    counts = np.maximum(1, np.ceil(lengths / SPACE).astype(int))
    node = np.repeat(ends, counts)
    part = (np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts) + 1) / np.repeat(counts, counts)
    found = points[parent[node]] + part[:, None] * (points[node] - points[parent[node]])
    roots = np.flatnonzero(parent < 0)
    return np.concatenate([points[roots], found]), np.concatenate([roots, node])


def stamped(
    at: np.ndarray, sides: Sequence[int], ratio: np.ndarray, reach: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Voxels within `reach` of samples: which samples, flat voxel indices, distances.

    Args:
        at: (P, 3) x, y, z in finest voxels.
        ratio: (3,) sides of a voxel along z, y, x in finest ones.
    """
    place = at[:, ::-1]
    nearest = np.floor(place / ratio + 0.5).astype(int)
    wide = np.ceil(reach / ratio).astype(int)
    for offset in np.stack(np.meshgrid(*[np.arange(-w, w + 1) for w in wide], indexing="ij"), -1).reshape(-1, 3):
        voxel = nearest + offset
        distance = np.linalg.norm(voxel * ratio - place, axis=1)
        kept = np.flatnonzero((distance <= reach) & ((voxel >= 0) & (voxel < sides)).all(1))
        yield kept, np.ravel_multi_index(tuple(voxel[kept].T), tuple(sides)), distance[kept]


def tube(points: np.ndarray, parent: np.ndarray, sides: Sequence[int], ratio: np.ndarray, radius: float) -> np.ndarray:
    """(Z, Y, X) bool: the voxels whose middle is within `radius` of the trace, points (N, 3) in finest voxels."""
    drawn = np.zeros(int(np.prod(sides)), bool)
    at, _ = samples(points, parent)
    for _, voxel, _ in stamped(at, sides, ratio, radius):
        drawn[voxel] = True
    return drawn.reshape(sides)


def fibres(
    points: np.ndarray, parent: np.ndarray, bright: np.ndarray, radius: float, sides: Sequence[int]
) -> np.ndarray:
    """(Z, Y, X) in [0, 1]: a tree of brightness `bright` (N,) with a Gaussian profile that is half at `radius`."""
    drawn = np.zeros(int(np.prod(sides)))
    at, node = samples(points, parent)
    for sample, voxel, distance in stamped(at, sides, np.ones(3), 2 * radius):
        np.maximum.at(drawn, voxel, bright[node[sample]] * 0.5 ** (distance / radius) ** 2)
    return drawn.reshape(sides)
