"""Cubes cut from image stacks around points, for many points at once, and what is done to them."""

import torch
from torch import Tensor
from torch.nn import functional as F

PERCENTILES = (0.01, 0.998)  # of a cube's brightness, shown black and white
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
    at, within = places(stack, item, points, spacing, side)
    z, y, x = at[:, 0, :, None, None], at[:, 1, None, :, None], at[:, 2, None, None]
    flat = (z * stack.shape[3] + y) * stack.shape[4] + x + stack[0, 0].numel() * 2 * item[:, None, None, None]
    values = stack.reshape(-1)
    image, trace = values.take(flat), values.take(flat + stack[0, 0].numel())
    return torch.stack([image, trace * within], 1)


def cut(stack: Tensor, item: Tensor, points: Tensor, spacing: Tensor, side: int) -> Tensor:
    """The same as `cubes`, one after the other: several times as fast for wide cubes on a CPU, slow elsewhere."""
    at, within = places(stack, item, points, spacing, side)
    low, high = at.amin(2, keepdim=True), at.amax(2)
    made = stack.new_empty(len(item), 2, side, side, side)
    for n, (i, (z, y, x), (c, b, a)) in enumerate(zip(item.tolist(), low[..., 0].tolist(), high.tolist())):
        part = stack[i, :, z : c + 1, y : b + 1, x : a + 1]
        for axis, index in enumerate(at[n] - low[n], 1):
            part = part.index_select(axis, index)
        made[n] = part
    made[:, 1] *= within
    return made


def places(stack: Tensor, item: Tensor, points: Tensor, spacing: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The voxels (P, 3, S) of cubes along each axis, kept inside the stack, and what is inside: (P, S, S, S) bool."""
    around = torch.arange(side, device=stack.device) - side // 2
    step = spacing.amin(1, keepdim=True) / spacing
    at = voxels(voxels(points)[..., None] + around * step[item][..., None])
    last = torch.tensor(stack.shape[2:], device=stack.device)[:, None] - 1
    z, y, x = ((at >= 0) & (at <= last)).unbind(1)
    return at.clamp(min=torch.zeros_like(last), max=last), z[:, :, None, None] & y[:, None, :, None] & x[:, None, None]


def middle(cube: Tensor, side: int) -> Tensor:
    """The cube of that side about the point of a larger one (P, C, S, S, S)."""
    first = cube.shape[-1] // 2 - side // 2
    kept = slice(first, first + side)
    return cube[..., kept, kept, kept]


def scaled(image: Tensor) -> Tensor:
    """Each image (P, S, S, S) from its 1st to its 99.8th percentile to [0, 1], clipped; 0 where these are equal."""
    flat = image.flatten(1).float()
    last = flat.shape[1] - 1
    low, high = (flat.kthvalue(1 + round(last * p), 1, keepdim=True).values for p in PERCENTILES)
    return ((flat - low) / (high - low).clamp_min(1e-6)).clamp(0, 1).view(image.shape)


def prepared(cube: Tensor, side: int, scales: int) -> Tensor:
    """Network input (P, 2 scales, side, side, side) in [0, 1] of cubes (P, 2, S, S, S) uint8: image, trace, ...

    The second scale is twice as wide at half the resolution: means of 2^3 voxels, of the trace the greatest.
    """
    parts = [middle(cube, side)]
    if scales == 2:
        wide = middle(cube, 2 * side).float()
        parts.append(torch.cat([F.avg_pool3d(wide[:, :1], 2), F.max_pool3d(wide[:, 1:], 2)], 1))
    made = [torch.stack([scaled(part[:, 0]), (part[:, 1] > 0).float()], 1) for part in parts]
    return torch.cat(made, 1)


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
