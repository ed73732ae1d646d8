"""Learning masks from labels of which some are wrong: bounded losses, and the choice of what is believed."""

import torch
from torch import Tensor
from torch.nn import functional as F


def nr_dice(probability: Tensor, target: Tensor, power: float = 1.5, weight: Tensor | None = None) -> Tensor:
    """Noise-robust Dice loss, (B,) in [0, 1]: mean over maps of sum |p - y|^g / (sum (p + y) + eps).

    Args:
        probability, target: (B, C, *S) in [0, 1]; `power` g = 1 is the Dice loss where y is 0 or 1, and g = 2 tends to
            a mean squared error.
        weight: (B, 1, *S), what a pixel counts.

    Source: Wang et al., IEEE TMI 2020, 39(8), with the denominator p + y of a released implementation; the original
    is said to square both (unconfirmed).
    """
    distance, total = (probability - target).abs() ** power, probability + target
    if weight is not None:
        distance, total = weight * distance, weight * total
    distance, total = distance.flatten(2).sum(2), total.flatten(2).sum(2)
    return (distance / (total + 1e-5)).mean(1)


def gce(logits: Tensor, target: Tensor, q: float = 0.7) -> Tensor:
    """Generalised cross entropy of sigmoid maps, in [0, 1/q], of the shape of the logits: (1 - p_y^q) / q.

    q = 0 is its limit, the cross entropy; q = 1 the absolute error. Targets are 0 or 1. Source: Zhang and Sabuncu,
    arXiv 1805.07836, eq. 6, for each map on its own (inferred). Computed from the cross entropy, so no logit overflows.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return -torch.expm1(-q * entropy) / q if q > 0 else entropy


def noise_tolerant(
    logits: Tensor, target: Tensor, power: float, q: float, balance: float, weight: Tensor | None = None
) -> Tensor:
    """L_nt = NR-Dice_g + b GCE_q, one value an image, (B,); at most 1 + b / q.

    g = 1 with q = 0 is Dice and cross entropy. `logits` and `target` are (B, C, *S); `weight` (B, 1, *S) as in
    `nr_dice`. Source: inferred.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    pixels = gce(logits, target, q).mean(1, keepdim=True)
    if weight is None:
        mean = pixels.flatten(1).mean(1)
    else:
        mean = (weight * pixels).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-5)
    return nr_dice(logits.sigmoid(), target, power, weight) + balance * mean


def remembered(done: int, tau: float, ramp: int) -> float:
    """R(e) = 1 - tau min(e / E_k, 1), the share that is kept when `done` = e epochs are over and E_k is `ramp`.

    Source: Han et al., arXiv 1804.06872, algorithm 1; the first epoch keeps everything.

    >>> [round(remembered(done, 0.5, 4), 3) for done in (0, 1, 4, 9)]
    [1.0, 0.875, 0.5, 0.5]
    """
    return 1 - tau * min(done / ramp, 1.0)


def smallest(losses: Tensor, share: float) -> Tensor:
    """The places of the `share` of smallest losses, rounded down and at least one; losses (N,)."""
    count = max(1, int(share * len(losses) + 1e-6))
    return losses.topk(count, largest=False).indices
