"""Cubes cut from image stacks around points, for many points at once, and what is done to them."""

import torch
from torch import Tensor
from torch.nn import functional as F

PERCENTILES = (0.01, 0.998)  # of a cube's brightness, shown black and white
BLOCK = 32  # cubes that are prepared at once: what a processor's cache holds
AXES = ((2, 3, 4), (2, 4, 3), (3, 2, 4), (3, 4, 2), (4, 2, 3), (4, 3, 2))  # the orders of three axes


def voxels(points: Tensor) -> Tensor:
    """The voxels (..., 3) int64 that points in voxels lie in."""
    return (points + 0.5).floor().long()


def cubes(stack: Tensor, item: Tensor, points: Tensor, spacing: Tensor, side: int) -> Tensor:
    """Cubes (P, 2, side, side, side) of stack (B, 2, Z, Y, X) around points (P, 3), z, y, x in voxels, of items (P,).

    A step in a cube is the shortest side of a voxel along every axis, by `spacing` (B, 3), and takes the nearest voxel:
    nothing is interpolated. The point is at place side // 2. Beyond the stack the image, channel 0, goes on as at its
    border and the trace, channel 1, is 0.
    """
    at, inside = places(stack, item, points, spacing, side)
    depth, height, width = stack.shape[2:]
    z, y, x = at.unbind(1)
    length = min(side, width)  # rows are taken whole, as they lie in memory: many times as fast as voxel by voxel
    first = x.amin(1).clamp(max=width - length)
    image = ((item[:, None, None] * 2 * depth + z[:, :, None]) * height + y[:, None]) * width + first[:, None, None]
    start = torch.stack([image, image + depth * height * width], 1)
    rows = stack.reshape(-1).unfold(0, length, 1).index_select(0, start.flatten())
    made = along_rows(rows.view(*start.shape, length), x - first[:, None])
    beyond = (~inside.flatten(1).all(1)).nonzero()[:, 0]
    z, y, x = inside[beyond].unbind(1)
    made[beyond, 1] *= z[:, :, None, None] & y[:, None, :, None] & x[:, None, None]
    return made


def along_rows(rows: Tensor, place: Tensor) -> Tensor:
    """Rows (P, 2, S, S, L) with their voxels at places (P, S) of each: as they are where that changes nothing."""
    side = place.shape[1]
    plain = torch.arange(side, device=place.device)
    other = (place != plain).any(1).nonzero()[:, 0]
    made = rows if rows.shape[-1] == side else rows.new_empty(*rows.shape[:4], side)
    if len(other):
        made[other] = rows[other].gather(4, place[other, None, None, None].expand(-1, *rows.shape[1:4], -1))
    return made


def places(stack: Tensor, item: Tensor, points: Tensor, spacing: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The voxels (P, 3, S) of cubes along each axis, kept inside the stack, and which were inside, as bool."""
    around = torch.arange(side, device=stack.device) - side // 2
    step = spacing.amin(1, keepdim=True) / spacing
    at = voxels(voxels(points)[..., None] + around * step[item][..., None])
    last = torch.tensor(stack.shape[2:], device=stack.device)[:, None] - 1
    return at.clamp(min=torch.zeros_like(last), max=last), (at >= 0) & (at <= last)


def middle(cube: Tensor, side: int) -> Tensor:
    """The cube of that side about the point of a larger one (P, C, S, S, S)."""
    first = cube.shape[-1] // 2 - side // 2
    kept = slice(first, first + side)
    return cube[..., kept, kept, kept]


def scaled(image: Tensor) -> Tensor:
    """Each image (P, S, S, S) from its 1st to its 99.8th percentile to [0, 1], clipped; 0 where these are equal."""
    low, high = (value[:, None] for value in percentiles(image.flatten(1)))
    return (image.flatten(1) - low).div_((high - low).clamp_min(1e-6)).clamp_(0, 1).view(image.shape)


def percentiles(values: Tensor) -> list[Tensor]:
    """PERCENTILES of each row (P, M), the nearest of its values: (P,) float32 each. Bytes are counted, not sorted."""
    ranks = [round((values.shape[1] - 1) * p) for p in PERCENTILES]
    if values.dtype != torch.uint8:
        return [values.float().kthvalue(1 + rank, 1).values for rank in ranks]
    first = 256 * torch.arange(len(values), dtype=torch.int32, device=values.device)[:, None]
    counts = torch.bincount((values.int() + first).flatten(), minlength=256 * len(values)).view(-1, 256).cumsum(1)
    return [(counts <= rank).sum(1).float() for rank in ranks]


def prepared(cube: Tensor, side: int, scales: int) -> Tensor:
    """Network input (P, 2 scales, side, side, side) in [0, 1] of cubes (P, 2, S, S, S) uint8: image, trace, ...

    The second scale is twice as wide at half the resolution: means of 2^3 voxels, of the trace the greatest.
    """
    made = torch.empty(len(cube), 2 * scales, side, side, side, device=cube.device)
    for first in range(0, len(cube), BLOCK):
        some, block = made[first : first + BLOCK], cube[first : first + BLOCK]
        parts = [middle(block, side)]
        if scales == 2:
            wide = middle(block, 2 * side).float()
            parts.append(torch.cat([F.avg_pool3d(wide[:, :1], 2), F.max_pool3d(wide[:, 1:], 2)], 1))
        for number, part in enumerate(parts):
            some[:, 2 * number] = scaled(part[:, 0])
            some[:, 2 * number + 1].copy_(part[:, 1]).clamp_(max=1)  # of 0 or 255
    return made


def turned(cube: Tensor, draw: Tensor) -> Tensor:
    """Cubes (P, C, S, S, S), each flipped and turned by quarter turns, all channels alike.

    One of the 48 ways that map a cube onto itself, chosen by draw (P,) in [0, 1). Of an even side the point moves by a
    voxel along flipped axes.
    """
    way = (draw * 48).long()
    made = torch.empty_like(cube)
    for number in way.unique().tolist():
        chosen = way == number
        order, flips = AXES[number // 8], [axis for bit, axis in enumerate((2, 3, 4)) if number >> bit & 1]
        made[chosen] = cube[chosen].permute(0, 1, *order).flip(flips)
    return made
