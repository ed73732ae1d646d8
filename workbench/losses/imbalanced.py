"""Losses and samples for two classes of which one is rare."""

import torch
from kornia.losses import binary_focal_loss_with_logits
from torch import Tensor
from torch.nn import functional as F


def weighted_bce(logits: Tensor, label: Tensor, weight: float = 1.0, gamma: float = 0.0) -> Tensor:
    """-(1/N) sum [w y (1 - p)^g log p + (1 - y) p^g log(1 - p)], a scalar in float32, of logits and labels (N,).

    Labels are 1, 0 or -1, which is left out. `gamma` 0 is the weighted cross entropy, above it the focal loss
    (arXiv 1708.02002). 0 where nothing is labelled.
    """
    logits, known = logits.float(), (label >= 0).float()
    yes = label.clamp_min(0).float()
    positive = yes * F.softplus(-logits) * torch.sigmoid(-logits) ** gamma
    negative = (1 - yes) * F.softplus(logits) * torch.sigmoid(logits) ** gamma
    return (known * (weight * positive + negative)).sum() / known.sum().clamp_min(1)


def focal(logits: Tensor, target: Tensor, gamma: float, alpha: float) -> Tensor:
    """Mean focal cross entropy of logits (B,) and labels (B,), a scalar: -a_t (1 - p_t)^gamma log p_t.

    a_t is alpha for the label 1 and 1 - alpha for 0. Source: Lin et al., arXiv 1708.02002, eq. 5.
    """
    return binary_focal_loss_with_logits(logits[:, None], target[:, None], alpha, gamma, ignore_index=None).mean()


def balanced(label: Tensor, draw: Tensor, score: Tensor | None = None, share: float = 0.25) -> Tensor:
    """Places (N,) in a batch of labels (N,), drawn anew so that half of them are positive: some come several times.

    Args:
        draw: (N,) uniform in [0, 1).
        score: (N,), how positive each item looks; with it only the `share` of negatives that look most so are drawn.

    A batch of one class keeps its places, and so does one without labels.
    """
    yes, no = (label == 1).nonzero()[:, 0], (label == 0).nonzero()[:, 0]
    if not len(yes) or not len(no):
        return torch.arange(len(label), device=label.device)
    if score is not None:
        no = no[score[no].argsort(descending=True, stable=True)[: max(1, round(share * len(no)))]]
    half = len(label) // 2
    parts = ((yes, draw[:half]), (no, draw[half:]))
    return torch.cat([places[(part * len(places)).long()] for places, part in parts])
