"""Pixel classifiers that look at a patch: where to place patches, how to cut them, and how to classify every pixel.

A patch of h x w around the pixel (y, x) holds rows y - h//2 to y - h//2 + h - 1 and columns likewise, so patches of any
two shapes share their centre pixel. Beyond the border the image is mirrored without repeating the border pixel.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from skimage.morphology import disk
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.errors import InvalidParameter

Layer = tuple[int, int, int]  # kernel along the long axis, along the short axis, channels out
POOL: Layer = (2, 2, 0)  # max-pooling that halves both axes
Classify = Callable[[Tensor], Tensor]


class Plan(NamedTuple):
    """A patch classifier: its patch in pixels, the layers up to the compared features, and the layers after them.

    Of the features' rows, `overlap` (first, end) are those about the crossing of two patches, and `ends` so many at
    either end see nothing of it.
    """

    shape: tuple[int, int]
    stem: tuple[Layer, ...]
    tail: tuple[Layer, ...]
    overlap: tuple[int, int] = (0, 0)
    ends: int = 0


BARS = {
    40: Plan((40, 8), ((5, 3, 8), (5, 3, 16), POOL, (3, 2, 32)), ((7, 1, 32), (8, 1, 64)), (6, 8), 2),
    100: Plan(
        (100, 20),
        ((5, 3, 16), (5, 3, 36), POOL, (5, 3, 64), POOL, (3, 3, 64)),
        ((7, 1, 64), (7, 1, 64), (7, 1, 500)),
        (7, 11),
        3,
    ),
    340: Plan(
        (340, 68),
        ((5, 5, 16), (5, 5, 36), POOL, (5, 5, 64), (6, 6, 64), POOL, *[(3, 3, 64)] * 3, POOL, (2, 2, 64)),
        (*[(8, 1, 64)] * 4, (7, 1, 500)),
        (14, 21),
        5,
    ),
}  # by the longer side; Crossover-Net's code, 40 and the rows of 340 inferred


# ---------------------------------------------------------------- the network


class PatchClassifier(nn.Module):
    """Logits of the pixels of an image from the patches around them, one patch for every entry of `turned`.

    A turned patch lies across and is transposed, so that all go through the same convolutions. No padding, no
    normalisation, ReLU after every convolution but the last; the descriptors are put side by side before the head.
    """

    def __init__(self, channels: int, plan: Plan, turned: tuple[bool, ...] = (False,), outputs: int = 2) -> None:
        super().__init__()
        self.shape, self.turned = plan.shape, turned
        inner = next(out for _, _, out in reversed(plan.stem) if out)
        self.stem = nn.Sequential(*layers(channels, plan.stem))
        self.tail = nn.Sequential(*layers(inner, plan.tail)[:-1])
        self.head = nn.Linear(len(turned) * plan.tail[-1][2], outputs)

    def patches(self, image: Tensor, points: Tensor) -> Tensor:
        """Patches (V, B P, C, h, w) of image (B, C, H, W) around points (B, P, 2), all of the plan's shape."""
        ways = [
            crops(image, points, self.shape[::-1]).mT if t else crops(image, points, self.shape) for t in self.turned
        ]
        return torch.stack(ways)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, K) and features (V, N, F, rows, columns) of patches (V, N, C, h, w)."""
        features = self.stem(patches.flatten(0, 1))
        described = self.tail(features).flatten(1).unflatten(0, patches.shape[:2])
        return self.head(torch.cat([*described], 1).relu()), features.unflatten(0, patches.shape[:2])

    def every_pixel(self, image: Tensor, tile: int) -> Tensor:
        """Logits (B, K, H, W) by `dense`, item by item in blocks of tile x tile pixels: memory is that of one block."""
        items = [
            in_tiles(one.shape[-2:], tile, lambda rows, columns, one=one: self.dense(one, rows, columns))
            for one in image.split(1)
        ]
        return torch.cat(items)

    def dense(self, image: Tensor, rows: range, columns: range) -> Tensor:
        """Logits (B, K, rows, columns) of a block of pixels: what `forward` says of every patch, all at once."""
        blocks = [
            self.described(image.mT, columns, rows).mT if turn else self.described(image, rows, columns)
            for turn in self.turned
        ]
        return self.head(torch.cat(blocks, 1).relu().movedim(1, -1)).movedim(-1, 1)

    def patchwise(self, image: Tensor, rows: range, mean: Tensor | float = 0.0) -> Tensor:
        """Logits (B, K, rows, W) patch by patch, at most 64 at a time, less a mean patch (C, h, w).

        What is taken off depends on the place in the patch, which `dense` cannot do.
        """
        width = image.shape[-1]
        y, x = torch.meshgrid(torch.tensor(rows), torch.arange(width), indexing="ij")
        some = torch.stack([y, x], -1).view(1, -1, 2).to(image.device).split(64, 1)
        items = [
            torch.cat([self(self.patches(one, points) - mean)[0] for points in some]).view(len(rows), width, -1)
            for one in image.split(1)
        ]
        return torch.stack(items).movedim(-1, 1)

    def described(self, image: Tensor, rows: range, columns: range) -> Tensor:
        """The descriptors (B, D, rows, columns) of upright patches."""
        seen = surrounded(image, rows, columns, self.shape).contiguous(memory_format=torch.channels_last)
        return dilated((*self.stem, *self.tail), seen)[..., : len(rows), : len(columns)]


def layers(channels: int, plan: Iterable[Layer]) -> list[nn.Module]:
    """Convolutions with their ReLU, and poolings, in the plan's order."""
    made: list[nn.Module] = []
    for high, wide, out in plan:
        made += [nn.Conv2d(channels, out, (high, wide)), nn.ReLU()] if out else [nn.MaxPool2d((high, wide))]
        channels = out or channels
    return made


def dilated(modules: Iterable[nn.Module], image: Tensor) -> Tensor:
    """What the modules make of a patch, at every place of the image at once: (B, C, H, W) -> (B, D, H', W').

    Pooling moves by one pixel in place of two, and everything after it leaves out every second pixel instead.
    """
    step, maps = 1, image
    for module in modules:
        if isinstance(module, nn.Conv2d):
            maps = F.conv2d(maps, module.weight, module.bias, dilation=step)
        elif isinstance(module, nn.MaxPool2d):
            maps, step = F.max_pool2d(maps, 2, 1, dilation=step), 2 * step
        else:
            maps = module(maps)
    return maps


def in_tiles(size: tuple[int, int], tile: int, classify: Callable[[range, range], Tensor]) -> Tensor:
    """(B, K, H, W) put together from blocks of at most tile x tile pixels."""
    starts = [range(0, side, tile) for side in size]
    blocks = [
        [classify(range(y, min(y + tile, size[0])), range(x, min(x + tile, size[1]))) for x in starts[1]]
        for y in starts[0]
    ]
    return torch.cat([torch.cat(row, -1) for row in blocks], -2)


# ---------------------------------------------------------------- cutting


def mirrored(index: Tensor, size: int) -> Tensor:
    """Any whole numbers folded into 0 ... size - 1, back and forth, the ends not repeated.

    >>> mirrored(torch.arange(-3, 7), 4).tolist()
    [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]
    """
    period = max(2 * (size - 1), 1)
    folded = index.remainder(period)
    return torch.minimum(folded, period - folded)


def surrounded(image: Tensor, rows: range, columns: range, shape: tuple[int, int]) -> Tensor:
    """The part of image (B, C, H, W) that patches of a shape around these pixels see, mirrored beyond the border."""
    for axis, span, side in ((-2, rows, shape[0]), (-1, columns, shape[1])):
        first = span.start - side // 2
        index = torch.arange(first, first + len(span) + side - 1, device=image.device)
        image = image.index_select(axis, mirrored(index, image.shape[axis]))
    return image


def crops(image: Tensor, points: Tensor, shape: tuple[int, int]) -> Tensor:
    """Patches (B P, C, h, w) of image (B, C, H, W) around points (B, P, 2), rows and columns in pixels."""
    index = []
    for axis, side in enumerate(shape):
        around = points[..., axis, None] + torch.arange(side, device=points.device) - side // 2
        index.append(mirrored(around, image.shape[2 + axis]))
    item = torch.arange(len(image), device=image.device)[:, None, None, None]
    cut = image.movedim(1, -1)[item, index[0][..., None], index[1][:, :, None]]
    return cut.movedim(-1, 2).flatten(0, 1)


# ---------------------------------------------------------------- where to look in training

OFFSETS = (1, 3, 6, 10, 15, 21)  # pixels from the edge: steps of 1, 2, 3, ... added up (Crossbar-Net's code)
SHARES = (0.15, 0.135, 0.12, 0.105, 0.09, 0.075)  # of the edge pixels, at each offset in each of 8 directions
EDGE_SHARE = 0.4  # of the edge pixels themselves
GRID, CORE = 6, 0.6  # pixels between points inside; half side of their square, in shortest distances centre to edge


def edge_of(mask: Tensor) -> Tensor:
    """The pixels of mask (B, 1, H, W) that touch the background at a side; the image's border is none."""
    outside = 1 - mask
    beside = [F.max_pool2d(outside, size, 1, pad) for size, pad in (((3, 1), (1, 0)), ((1, 3), (0, 1)))]
    return mask * torch.maximum(*beside)


def core_grid(mask: Tensor, edge: Tensor) -> Tensor:
    """Points of a grid of 6 pixels in the square about each object's centre: 1 there, (B, 1, H, W)."""
    height, width = mask.shape[-2:]
    y = torch.arange(height, device=mask.device, dtype=mask.dtype)[:, None].expand(height, width)
    x = torch.arange(width, device=mask.device, dtype=mask.dtype).expand(height, width)
    area = mask.sum((-2, -1), keepdim=True).clamp_min(1)
    dy, dx = (axis - ((mask * axis).sum((-2, -1), keepdim=True) / area).round() for axis in (y, x))
    reach = torch.where(edge > 0, dy.hypot(dx), torch.inf).amin((-2, -1), keepdim=True)
    half = (CORE * reach).floor()
    on_grid = ((dy + half) % GRID == 0) & ((dx + half) % GRID == 0)
    return mask * (on_grid & (dy.abs() <= half) & (dx.abs() <= half))


def density(mask: Tensor) -> Tensor:
    """How often Crossbar-Net's sampling is expected to take each pixel, (B, 1, H, W), for mask (B, 1, H, W) 0 or 1.

    A grid inside, 40 % of the edge, and from the edge outwards and inwards in eight directions ever fewer points.
    Source: Crossbar-Net's code; there a pixel is taken at most once, and diagonals run flatter.
    """
    edge = edge_of(mask)
    total = EDGE_SHARE * edge + core_grid(mask, edge)
    height, width = mask.shape[-2:]
    reach = OFFSETS[-1]
    wide = F.pad(edge, (reach,) * 4)
    for offset, share in zip(OFFSETS, SHARES, strict=True):
        steps = (reach - offset, reach, reach + offset)
        for top, left in ((y, x) for y in steps for x in steps if (y, x) != (reach, reach)):
            total = total + share * wide[..., top : top + height, left : left + width]
    return total


def alike(image: Tensor, mask: Tensor, bins: int = 32) -> Tensor:
    """Weights (B, 1, H, W) that give the background of image (B, C, H, W) in [0, 1] the object's grey levels.

    A background pixel weighs as often as its level is in the object over how often it is in the background: drawn by
    these weights, what only looks like the object is as frequent as the object's own levels (inferred).
    """
    level = (image.float().mean(1).flatten(1) * bins).long().clamp(0, bins - 1)
    inside = mask.flatten(1).to(torch.float32)
    empty = inside.new_zeros(len(level), bins)
    own, other = (empty.scatter_add(1, level, part) for part in (inside, 1 - inside))
    return ((own / other.clamp_min(1)).gather(1, level) * (1 - inside)).view_as(mask)


def balanced_points(weights: tuple[Tensor, Tensor], mask: Tensor, uniform: Tensor) -> Tensor:
    """Pixels (B, P, 2) to classify, half of each item's in the object and half outside, from uniform (B, P) numbers.

    Args:
        weights: of the pixels of the object and of the background, each (B, 1, H, W), relative to others of the class.
        mask: (B, 1, H, W), 0 or 1. An item of one class alone gives all its pixels from that class.
        uniform: in [0, 1); the first half chooses in the object.
    """
    inside, count = mask.flatten(1) > 0.5, uniform.shape[1]
    parts = [shares(weights[0], inside), shares(weights[1], ~inside)]
    parts = [torch.where(part.sum(1, keepdim=True) > 0, part, other) for part, other in zip(parts, parts[::-1])]
    halves = uniform.split([count // 2, count - count // 2], 1)
    flat = torch.cat([pick(part, half) for part, half in zip(parts, halves, strict=True)], 1)
    return torch.stack([flat // mask.shape[-1], flat % mask.shape[-1]], -1)


@dataclass(frozen=True)
class Sampling:
    """Where points come from: the share of background ones with the object's grey, that of both from anywhere.

    The rest are placed as Crossbar-Net places them, about the edge.

    Raises:
        InvalidParameter: shares of a sum above 1.
    """

    alike: float
    anywhere: float

    def __post_init__(self) -> None:
        if self.alike + self.anywhere > 1:
            found = f"{self.alike:g} and {self.anywhere:g}"
            raise InvalidParameter("alike and anywhere", "shares of a sum up to 1", found, "lower one of them")

    def points(self, image: Tensor, label: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Balanced points (B, P, 2) of images (B, C, H, W) with label maps (B, 1, H, W), and 0 or 1 of each: (B P,)."""
        mask = (label > 0).float()
        near, free = density(mask), 1 - self.anywhere
        inner = mixture(mask, (free, near), (self.anywhere, mask))
        outer = mixture(
            1 - mask, (free - self.alike, near), (self.alike, alike(image, mask)), (self.anywhere, 1 - mask)
        )
        points = balanced_points((inner, outer), mask, uniform)
        return points, labels_at(label > 0, points).long()


def mixture(inside: Tensor, *parts: tuple[float, Tensor]) -> Tensor:
    """The sum of share times probability over parts (share, weights), all (B, 1, H, W), within inside, 0 or 1."""
    return sum(share * shares(weight, inside.flatten(1) > 0.5) for share, weight in parts).view_as(inside)


def shares(weight: Tensor, inside: Tensor) -> Tensor:
    """Probabilities (B, N) in proportion to weights (B, 1, H, W) inside; all equal where those are 0; 0 outside."""
    kept = weight.flatten(1) * inside
    kept = torch.where(kept.sum(1, keepdim=True) > 0, kept, inside.to(weight.dtype))
    return kept / kept.sum(1, keepdim=True).clamp_min(1)


def pick(probability: Tensor, uniform: Tensor) -> Tensor:
    """Indices (B, P) by the inverse of the distribution function, never of a pixel with probability 0."""
    steps = probability.cumsum(1)
    total = steps[:, -1:].contiguous()
    last = (steps < total).sum(1, keepdim=True)
    return torch.minimum(torch.searchsorted(steps, uniform * total, right=True), last)


def labels_at(label: Tensor, points: Tensor) -> Tensor:
    """The values of label (B, 1, H, W) at points (B, P, 2), one after the other: (B P,)."""
    item = torch.arange(len(label), device=label.device)[:, None]
    return label[item, 0, points[..., 0], points[..., 1]].flatten()


# ---------------------------------------------------------------- after the classifier


def cleaned(mask: Tensor, closing: int, fill: bool, largest: bool) -> Tensor:
    """Binary mask (B, 1, H, W) closed with a disk, its holes filled, its largest part kept; as floats 0 and 1."""
    items = [tidy(item, closing, fill, largest) for item in mask[:, 0].bool().cpu().numpy()]
    return torch.from_numpy(np.stack(items))[:, None].to(mask.device, torch.float32)


def tidy(mask: np.ndarray, closing: int, fill: bool, largest: bool) -> np.ndarray:
    if closing:  # in a wider frame, so that what lies at the border is not eroded
        mask = ndimage.binary_closing(np.pad(mask, closing), disk(closing))[closing:-closing, closing:-closing]
    if fill:
        mask = ndimage.binary_fill_holes(mask)
    if largest:
        parts, count = ndimage.label(mask)
        mask = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:]) if count else mask
    return mask
