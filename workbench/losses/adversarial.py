"""Adversarial losses: Wasserstein with gradient penalty, least squares, cross entropy."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Kind = Literal["wasserstein", "lsgan", "bce"]


def full(scores: Tensor) -> Tensor:
    """In float32 at least: the mean of bf16 scores would lose the small differences that critics live on."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def critic_loss(real: Tensor, fake: Tensor, kind: Kind = "wasserstein") -> Tensor:
    """What a critic minimises, a scalar, from its scores of real and generated images (any shape).

    wasserstein: E[D(fake)] - E[D(real)] (arXiv 1701.07875, eq. 2); lsgan: half of E[(D(real) - 1)^2] + E[D(fake)^2]
    (arXiv 1611.04076, eq. 9 with a=0, b=1); bce: cross entropy of the scores as logits (arXiv 1406.2661), halved
    likewise.
    """
    real, fake = full(real), full(fake)
    if kind == "wasserstein":
        return fake.mean() - real.mean()
    if kind == "lsgan":
        return ((real - 1).square().mean() + fake.square().mean()) / 2
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def generator_loss(fake: Tensor, kind: Kind = "wasserstein") -> Tensor:
    """What a generator minimises, a scalar: -E[D(fake)], E[(D(fake) - 1)^2], or the non-saturating cross entropy."""
    fake = full(fake)
    if kind == "wasserstein":
        return -fake.mean()
    return (fake - 1).square().mean() if kind == "lsgan" else F.softplus(-fake).mean()


def gradient_penalty(score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """E[(||grad D(y~)||_2 - 1)^2] at y~ = mix real + (1 - mix) fake (arXiv 1704.00028, eq. 3), differentiable again.

    Args:
        score: maps images (B, C, H, W) to scores with the item first; a patch critic's are averaged an item.
        real, fake: (B, C, H, W); no gradient flows into either.
        mix: (B,) in [0, 1], one number an item.
    """
    mix = mix.view(-1, *[1] * (real.ndim - 1))
    between = (mix * real.detach() + (1 - mix) * fake.detach()).requires_grad_(True)
    scores = full(score(between)).reshape(len(real), -1).mean(1)
    (gradient,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
    return (full(gradient).flatten(1).norm(2, dim=1) - 1).square().mean()


def clip_weights(critic: nn.Module, limit: float) -> None:
    """Clamp every parameter to [-limit, limit] (arXiv 1701.07875, algorithm 1)."""
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-limit, limit)
