"""Colour histograms with a gradient, and how far two of them are apart.

A value between two bins is shared between them in proportion to its nearness, so that the counts change smoothly with
the values and the histogram keeps their mean exactly. Counting into the nearest bin has no gradient at all; a Gaussian
kernel has one, but forms every pair of a value and a bin.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from workbench.errors import InvalidParameter

Distance = Literal["wasserstein", "l2"]


class Shares(torch.autograd.Function):
    """Two-bin histograms (R, bins) of values (R, N), and the slope of what a value adds, back to the value.

    Written out because autograd keeps five arrays of the size of the image where one whole number a value will do.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, bins: int) -> Tensor:
        place = values.clamp(0, 1).mul_(bins - 1)
        lower = place.long().clamp_(0, bins - 2)  # also where a value is not a number: the share then is none either
        upper_share = place.sub_(lower)
        counts = values.new_zeros(len(values), bins)
        below = torch.zeros_like(counts).scatter_add_(1, lower, upper_share)
        counts.scatter_add_(1, lower, torch.ones_like(upper_share)).sub_(below)
        counts[:, 1:] += below[:, :-1]
        inside = (values >= 0) & (values <= 1)
        ctx.save_for_backward(lower, None if bool(inside.all()) else inside)
        ctx.slope = (bins - 1) / values.shape[1]
        return counts.div_(values.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        lower, inside = ctx.saved_tensors
        slopes = gradient.diff(dim=1).mul_(ctx.slope).gather(1, lower)
        return slopes if inside is None else slopes * inside, None


def histogram(image: Tensor, bins: int = 64) -> Tensor:
    """The share of values near each bin, (B, C, bins), of images or videos (B, C, *S) in [0, 1]; rows sum to 1.

    Bin b stands for the value b / (bins - 1); values outside [0, 1] count as the nearest end and have no gradient. In
    float32 or float64, whatever the precision around, and differentiable once.

    >>> histogram(torch.tensor([[[0.0, 0.25, 1.0, 1.0]]]), bins=3)
    tensor([[[0.3750, 0.1250, 0.5000]]])

    Raises:
        InvalidParameter: fewer than two bins, or no axis of values.
    """
    if bins < 2:
        raise InvalidParameter("bins", "at least 2", str(bins), "give for example bins=64")
    if image.ndim < 3 or image.numel() == 0:
        remedy = "give a batch axis, a channel axis and at least one more"
        raise InvalidParameter("image", "values (B, C, *S)", f"a tensor of shape {tuple(image.shape)}", remedy)
    with torch.autocast(image.device.type, enabled=False):
        values = image.to(torch.promote_types(image.dtype, torch.float32)).flatten(2)
        return Shares.apply(values.flatten(0, 1), bins).view(*values.shape[:2], bins)


def wasserstein(one: Tensor, other: Tensor) -> Tensor:
    """Wasserstein-1 distance of histograms (..., bins) over [0, 1], (...): the area between their cumulative sums.

    It is in units of intensity: a shift of all values by d has the distance d, and histograms without a common bin
    still pull at one another.

    >>> wasserstein(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]))
    tensor(1.)
    """
    return (one - other).cumsum(-1)[..., :-1].abs().mean(-1)


def squared(one: Tensor, other: Tensor) -> Tensor:
    """Sum of squared differences bin by bin, (...), of histograms (..., bins); blind to how far apart two bins are."""
    return (one - other).square().sum(-1)


DISTANCES = {"wasserstein": wasserstein, "l2": squared}


def histogram_loss(image: Tensor, reference: Tensor, distance: Distance = "wasserstein") -> Tensor:
    """How far the colours of images are from a reference, (B,): the mean distance over channels.

    Args:
        image: (B, C, *S) in [0, 1].
        reference: (B, C, bins), or what broadcasts to it; nothing flows back into it.

    Source: card of VideoGAN (arXiv 2004.08058 has the loss, not its formula): inferred. Where that proposes a Gaussian
    kernel, values are shared between two bins here.
    """
    return DISTANCES[distance](histogram(image, reference.shape[-1]), reference.detach()).mean(-1)
