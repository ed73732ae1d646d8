"""Soft overlap of probabilities with masks."""

from torch import Tensor


def dice_loss(probability: Tensor, target: Tensor) -> Tensor:
    """1 - (2 sum p t + 1) / (sum p + sum t + 1), the mean over items, of (B, 1, H, W) in [0, 1]; a scalar."""
    p, t = probability.flatten(1), target.flatten(1)
    return (1 - (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)).mean()
