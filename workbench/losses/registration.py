"""Losses of deformable registration, in two and three dimensions and in float32 at least whatever runs around them."""

import functools
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.errors import InvalidImage

Window = Literal[3, 5, 7, 9, 11, 13]  # odd, so that a voxel lies in the middle
FLAT = 1e-5  # smallest variance in a window; below it (a grey level or less of 256) there is nothing to match


def full(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


@functools.lru_cache(maxsize=16)
def band(side: int, window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(side, side): 1 / window where two places are within half a window of one another."""
    with torch.inference_mode(False):  # made while evaluating, it must serve in training too
        places = torch.arange(side, device=device)
        return ((places[:, None] - places[None]).abs() <= window // 2).to(dtype) / window


def box(image: Tensor, window: int) -> Tensor:
    """Mean over a cube of `window` voxels around each voxel, zeros outside; (B, C, *S) in and out.

    A banded matrix an axis: benchmarks/warp.py finds it faster than pooling, running sums and convolutions.
    """
    shape = image.shape
    for axis in range(2, image.ndim):
        mean = band(shape[axis], window, image.dtype, image.device)
        before = image.reshape(-1, shape[axis], shape[axis + 1 :].numel())
        image = mean @ before if axis < len(shape) - 1 else before.squeeze(-1) @ mean
    return image.reshape(shape)


def local_ncc(moving: Tensor, fixed: Tensor, window: int = 9) -> Tensor:
    """-mean of the squared local correlation of two images (B, C, *S), a scalar from -1 (equal up to gain) to 0.

    Source: VoxelMorph (arXiv 1809.05231); there a small number is added to the product of both variances, here each is
    kept above `FLAT`, so that rounding in flat windows is not mistaken for correlation.
    """
    with torch.autocast(moving.device.type, enabled=False):
        moving, fixed = full(moving), full(fixed)
        mean_m, square_m, product = box(torch.cat([moving, moving.square(), moving * fixed], 1), window).chunk(3, 1)
        mean_f, square_f = box(torch.cat([fixed, fixed.square()], 1), window).chunk(2, 1)
        variances = (square_m - mean_m.square()).clamp_min(FLAT) * (square_f - mean_f.square()).clamp_min(FLAT)
        return -((product - mean_m * mean_f).square() / variances).mean()


def smoothness(field: Tensor) -> Tensor:
    """Mean squared difference of neighbours, averaged over the axes, a scalar; 0 for a constant field (B, C, *S)."""
    field = full(field)
    return sum(field.diff(dim=axis).square().mean() for axis in range(2, field.ndim)) / (field.ndim - 2)


def rho(z: Tensor, epsilon: float = 1e-3, gamma: float = 0.45) -> Tensor:
    """(z^2 + epsilon^2)^gamma, elementwise. Source: UnFlow (arXiv 1711.07837), generalised Charbonnier penalty."""
    return (full(z).square() + epsilon**2).pow(gamma)


def one_hot(label: Tensor, count: int) -> Tensor:
    """(B, count, *S) float32 with a 1 in channel k - 1 where the label map (B, 1, *S) is k; background is all 0."""
    values = torch.arange(1, count + 1, device=label.device, dtype=label.dtype)
    return (label == values.view(1, -1, *[1] * (label.ndim - 2))).float()


def label_map(soft: Tensor) -> Tensor:
    """(B, 1, *S) int16: the largest of soft structures (B, K, *S) and what they leave to the background, 0."""
    background = 1 - soft.sum(1, keepdim=True)
    return torch.cat([background, soft], 1).argmax(1, keepdim=True).to(torch.int16)


def dice_loss(soft: Tensor, target: Tensor) -> Tensor:
    """1 - soft Dice, a scalar: mean over items and structures of (B, K, *S) in [0, 1]; 0 where both are empty."""
    soft, target = full(soft).flatten(2), full(target).flatten(2)
    both, total = (soft * target).sum(2), soft.sum(2) + target.sum(2)
    return 1 - ((2 * both + 1e-5) / (total + 1e-5)).mean()


def segmentation_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross entropy + Dice loss, a scalar, from logits (B, 1 + K, *S) and a label map (B, 1, *S) of 0 to K."""
    logits = full(logits)
    entropy = F.cross_entropy(logits, label[:, 0].long())
    return entropy + dice_loss(logits.softmax(1)[:, 1:], one_hot(label, logits.shape[1] - 1))


def require_labels(arm: str, label: Tensor) -> None:
    """Refuse a batch with subjects that have no label map.

    Raises:
        InvalidImage: a label map (B, 1, *S) of -1.
    """
    missing = int((label < 0).flatten(1).any(1).sum())
    if missing:
        remedy = f"add their label files, or leave {arm} out"
        raise InvalidImage(arm, "a label map for every training subject", f"{missing} of {len(label)} without", remedy)
