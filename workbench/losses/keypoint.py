"""Losses of a point that is found as the maximum of a heat map."""

import torch
from kornia.geometry.subpix import spatial_expectation2d
from torch import Tensor
from torch.nn import functional as F


def gaussian(point: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """G, (B, 1, H, W), of peak 1 at points (B, 2), x and y in pixels between the centres too."""
    y, x = (torch.arange(n, device=point.device, dtype=point.dtype) for n in size)
    across = (x - point[:, :1]).square()[:, None, None]
    down = (y - point[:, 1:]).square()[:, None, :, None]
    return torch.exp(-(across + down) / (2 * sigma**2))


def soft_argmax(heat: Tensor, beta: float) -> Tensor:
    """p^ = sum u H^beta / sum H^beta, (B, 2), x and y in pixels, of heat maps (B, 1, H, W) that are nowhere negative.

    H is divided by its maximum first, which cancels: the power of a faint map would vanish.
    """
    peak = heat.detach().amax((2, 3), keepdim=True).clamp_min(1e-12)
    weight = (heat / peak).clamp_min(1e-12) ** beta
    return spatial_expectation2d(weight / weight.sum((2, 3), keepdim=True), normalized_coordinates=False)[:, 0]


def intensity(heat: Tensor, target: Tensor, kappa: float) -> Tensor:
    """L_int = sum w (H - G)^2 / sum w with w = 1 + kappa G, (B,), of maps (B, 1, H, W); kappa 0 is the plain MSE.

    The weight keeps the near-empty background from winning.
    """
    weight = 1 + kappa * target
    return (weight * (heat - target).square()).flatten(1).sum(1) / weight.flatten(1).sum(1)


def location(found: Tensor, point: Tensor, size: tuple[int, int]) -> Tensor:
    """L_loc = SmoothL1(p^ / W - p / W), (B,), of points (B, 2) in pixels of maps of that height and width."""
    sides = torch.tensor([size[1], size[0]], device=point.device)
    return F.smooth_l1_loss(found / sides, point / sides, reduction="none").mean(1)


def decorrelation(heat: Tensor, target: Tensor) -> Tensor:
    """1 - NCC(H, G), (B,) in [0, 2], of maps (B, 1, H, W): blind to the height of the response."""
    heat, target = (one.flatten(1) - one.flatten(1).mean(1, keepdim=True) for one in (heat, target))
    return 1 - (heat * target).sum(1) / (heat.square().sum(1) * target.square().sum(1) + 1e-8).sqrt()


def ramp(done: int, epochs: int) -> float:
    """How much of the location term counts when `done` epochs are over: linearly from 0 to 1 in so many epochs.

    >>> [ramp(done, 4) for done in (0, 1, 4, 9)], ramp(0, 0)
    ([0.0, 0.25, 1.0, 1.0], 1.0)
    """
    return min(done / epochs, 1.0) if epochs else 1.0


def known_mean(losses: Tensor, known: Tensor) -> Tensor:
    """The mean of losses (B,) over the items whose point is known (1), a scalar; 0 where none is.

    What is computed from a masked point is finite, so its gradient is exactly zero.
    """
    return (losses * known).sum() / known.sum().clamp_min(1)
