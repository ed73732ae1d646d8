"""Volumes taken apart into 2 x 2 x 2 cubes, shuffled, turned and masked, and put together again.

Cubes are numbered with the last axis fastest: cube 4 a + 2 b + c lies in the a-th half of the first axis. A turn by
180 degrees is a flip of two axes; a flip of one would be a mirror image, which no turn gives.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations as all_permutations
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from workbench.errors import InvalidParameter

CUBES = 8
HORIZONTAL, VERTICAL = (1, 2), (0, 1)  # the axes of a cube that a turn flips (third-party code)
Select = Literal["max_min", "max_mean", "random"]


# ---------------------------------------------------------------- permutations


@functools.cache
def every_permutation() -> np.ndarray:
    """(8!, 8) all orders of the cubes."""
    return np.array(list(all_permutations(range(CUBES))), np.int8)


def permutation_set(count: int, seed: int, select: Select = "max_min") -> Tensor:
    """(K, 8) int64, different permutations of the cubes, chosen one by one from all 8!.

    `max_min` takes the one whose nearest chosen one is furthest in places that differ (Hamming distance), `max_mean`
    the one whose mean distance to the chosen ones is greatest; the seed decides ties, the first one and `random`.

    Raises:
        InvalidParameter: more than there are.
    """
    every = every_permutation()
    if count > len(every):
        raise InvalidParameter("permutations", f"at most {len(every)}", str(count), "choose fewer")
    every = every[np.random.default_rng(seed).permutation(len(every))]
    if select == "random":
        return torch.from_numpy(every[:count].astype(np.int64))
    chosen = [0]
    score = (every != every[0]).sum(1)
    for _ in range(count - 1):
        score[chosen] = -1
        chosen.append(int(score.argmax()))
        distance = (every != every[chosen[-1]]).sum(1)
        score = np.minimum(score, distance) if select == "max_min" else score + distance
    return torch.from_numpy(every[chosen].astype(np.int64))


def distances(permutations: Tensor) -> Tensor:
    """Hamming distances (K (K - 1) / 2,) between all pairs of permutations (K, 8).

    >>> distances(torch.tensor([[0, 1, 2], [0, 2, 1], [1, 2, 0]]))
    tensor([2, 3, 2])
    """
    apart = (permutations[:, None] != permutations[None]).sum(2)
    return apart[torch.ones_like(apart, dtype=torch.bool).triu(1)]


# ---------------------------------------------------------------- cubes


def sides_of(volume: Iterable[int], gap: int, jitter: int = 0) -> tuple[int, ...]:
    """The sides of a cube: half of the volume's, less the gap between neighbours.

    Raises:
        InvalidParameter: a volume smaller than the grid of cubes with its gap, or a jitter that leaves the cell.
    """
    volume = tuple(volume)
    sides = tuple(side // 2 - gap for side in volume)
    if min(sides) < 4:
        found = f"{' x '.join(map(str, volume))} voxels with gap={gap}"
        raise InvalidParameter("grid", "cubes of at least 4 voxels a side", found, "give larger volumes or less gap")
    if jitter > gap // 2:
        raise InvalidParameter("jitter", f"at most half of gap={gap}", str(jitter), "choose more gap or less jitter")
    return sides


def taken(volume: Tensor, gap: int, shift: Tensor | None = None) -> Tensor:
    """The eight cubes (B, 8, C, *s) of volumes (B, C, X, Y, Z), each in the middle of its cell, `gap` voxels apart.

    `shift` (B, 8, 3), whole voxels, moves each off the middle.
    """
    cells, sides = [side // 2 for side in volume.shape[2:]], sides_of(volume.shape[2:], gap)
    starts = [[half * cell + gap // 2 for half, cell in zip(halves, cells)] for halves in product((0, 1), repeat=3)]
    if shift is None:
        return torch.stack([volume[(..., *map(slice, at, map(sum, zip(at, sides))))] for at in starts], 1)
    places = (torch.tensor(starts, device=shift.device) + shift).tolist()
    cubes = [
        torch.stack([one[:, x : x + sides[0], y : y + sides[1], z : z + sides[2]] for x, y, z in own])
        for one, own in zip(volume, places)
    ]
    return torch.stack(cubes)


def turned(cubes: Tensor, turn: Tensor) -> Tensor:
    """Cubes (B, 8, C, *s) turned by 180 degrees where `turn` (B, 2, 8) is 1: horizontally, vertically."""
    for axes, flags in zip((HORIZONTAL, VERTICAL), turn.unbind(1)):
        flipped = cubes.flip([axis + 3 for axis in axes])
        cubes = torch.where(flags[..., None, None, None, None] > 0.5, flipped, cubes)
    return cubes


def normalised(values: Tensor) -> Tensor:
    """Each channel of each cube or volume (..., X, Y, Z) from its least to its greatest value, in [-1, 1].

    By itself, so that no bias field tells where it came from. One value everywhere becomes -1.
    """
    low, high = values.amin((-3, -2, -1), keepdim=True), values.amax((-3, -2, -1), keepdim=True)
    return 2 * (values - low) / (high - low).clamp_min(1e-6) - 1


# ---------------------------------------------------------------- the puzzle


@dataclass
class Puzzle:
    """Cubes (B, 8, C, *s) as the network sees them, and what it is to say.

    `order` (B,) is the number of the permutation p: place i shows cube p[i]. `turn` (B, 2, 8) and `masked` (B, 8) are
    1 where the cube at a place was turned horizontally, vertically, and where it was masked.
    """

    cubes: Tensor
    order: Tensor
    turn: Tensor
    masked: Tensor


@dataclass(frozen=True)
class Rules:
    """How volumes are taken apart: gap and jitter in voxels, and which of shuffling, turning and masking there is."""

    gap: int
    jitter: int
    shuffle: bool = True
    turn: bool = True
    mask: bool = False

    def draws(self, sides: Iterable[int]) -> int:
        """The numbers in [0, 1) that one volume takes: permutation, turns, masks, shifts, and the voxels of masks."""
        return 1 + 5 * CUBES + (CUBES * int(np.prod(sides_of(sides, self.gap))) if self.mask else 0)


def targets(draw: Tensor, count: int, rules: Rules) -> tuple[Tensor, Tensor, Tensor]:
    """Permutation number (B,), turns (B, 2, 8), masks (B, 8) that draws (B, n) in [0, 1) decide.

    A cube is turned horizontally, vertically or not at all, with a third each; masked with a half.
    """
    order = (draw[:, 0] * count).long().clamp_max(count - 1)
    pose = (draw[:, 1 : 1 + CUBES] * 3).long()
    turn = torch.stack([pose == 1, pose == 2], 1).float() * rules.turn
    masked = (draw[:, 1 + CUBES : 1 + 2 * CUBES] < 0.5).float() * rules.mask
    return order * rules.shuffle, turn, masked


def puzzle(volume: Tensor, permutations: Tensor, draw: Tensor, rules: Rules, moved: bool) -> Puzzle:
    """Volumes (B, C, X, Y, Z) taken apart: cut, scaled cube by cube, shuffled, turned, masked.

    `draw` (B, rules.draws(sides)) in [0, 1) decides. Where `moved`, every cube lies at a random place of its cell, else
    in the middle. A masked cube is multiplied by a random binary map of its voxels.
    """
    order, turn, masked = targets(draw, len(permutations), rules)
    place = draw[:, 1 + 2 * CUBES : 1 + 5 * CUBES].view(-1, CUBES, 3)
    shift = (place * (2 * rules.jitter + 1)).long() - rules.jitter if moved and rules.jitter else None
    cubes = normalised(taken(volume, rules.gap, shift))
    if rules.shuffle:
        at = permutations[order][(..., *[None] * (cubes.ndim - 2))]
        cubes = cubes.gather(1, at.expand_as(cubes))
    if rules.turn:
        cubes = turned(cubes, turn)
    if rules.mask:
        kept = (draw[:, 1 + 5 * CUBES :].view(len(cubes), CUBES, 1, *cubes.shape[3:]) > 0.5).to(cubes.dtype)
        cubes = torch.where(masked[..., None, None, None, None] > 0.5, cubes * kept, cubes)
    return Puzzle(cubes, order, turn, masked)


def drawn(numbers: Tensor, count: int) -> Tensor:
    """Draws (B, n) in [0, 1) that belong to the cases of these numbers (B,): the same in every batch and every arm."""
    rows = [torch.rand(count, generator=torch.Generator().manual_seed(number)) for number in numbers.tolist()]
    return torch.stack(rows).to(numbers.device)


def restored(cubes: Tensor, permutation: Tensor, turn: Tensor) -> Tensor:
    """Cubes (B, 8, C, *s) at the places and in the poses that they came from: turns (B, 2, 8) and the permutation
    (B, 8) undone."""
    back = permutation.argsort(1)[(..., *[None] * (cubes.ndim - 2))]
    return turned(cubes, turn).gather(1, back.expand_as(cubes))


def assembled(cubes: Tensor) -> Tensor:
    """Cubes (B, 8, C, x, y, z) side by side, (B, C, 2x, 2y, 2z)."""
    count, _, channels, x, y, z = cubes.shape
    grid = cubes.view(count, 2, 2, 2, channels, x, y, z).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return grid.reshape(count, channels, 2 * x, 2 * y, 2 * z)
