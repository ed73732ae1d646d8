"""The adversarial losses against hand-made numbers, closed forms and torch's own functions."""

import math

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from workbench.losses.adversarial import clip_weights, critic_loss, generator_loss, gradient_penalty

REAL, FAKE = torch.tensor([2.0, 0.0]), torch.tensor([[1.0], [-2.0]])
SHAPE = (2, 3, 4, 5)


def draws(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def penalty_of(score, dtype=torch.float32):
    real, fake = draws(*SHAPE, seed=1, dtype=dtype), draws(*SHAPE, seed=2, dtype=dtype)
    return gradient_penalty(score, real, fake, torch.tensor([0.2, 0.7], dtype=dtype))


def smooth(x, weight):
    """A critic of patches with a curvature everywhere, so that all orders of derivatives are seen."""
    return F.conv2d(x, weight).tanh() + F.conv2d(x.square(), weight.flip(0)).mean(1, keepdim=True)


# ---------------------------------------------------------------- losses by hand


def test_wasserstein_by_hand():
    assert critic_loss(REAL, FAKE).item() == pytest.approx(-0.5 - 1.0)
    assert generator_loss(FAKE).item() == pytest.approx(0.5)


def test_lsgan_by_hand():
    assert critic_loss(REAL, FAKE, "lsgan").item() == pytest.approx(((1 + 1) / 2 + (1 + 4) / 2) / 2)
    assert generator_loss(FAKE, "lsgan").item() == pytest.approx((0 + 9) / 2)


def test_bce_by_hand():
    sides = (math.log1p(math.exp(-2)) + math.log(2)) / 2, (math.log1p(math.e) + math.log1p(math.exp(-2))) / 2
    assert critic_loss(REAL, FAKE, "bce").item() == pytest.approx(sum(sides) / 2)
    assert generator_loss(FAKE, "bce").item() == pytest.approx((math.log1p(math.exp(-1)) + math.log1p(math.exp(2))) / 2)


def test_bce_is_that_of_torch():
    real, fake = 30 * draws(2, 1, 5, 5), 30 * draws(2, 1, 5, 5, seed=1)
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    both = F.binary_cross_entropy_with_logits(real, ones) + F.binary_cross_entropy_with_logits(fake, zeros)
    torch.testing.assert_close(critic_loss(real, fake, "bce"), both / 2)
    torch.testing.assert_close(generator_loss(fake, "bce"), F.binary_cross_entropy_with_logits(fake, ones))


@pytest.mark.parametrize("kind", ["wasserstein", "lsgan", "bce"])
def test_bf16_scores_are_averaged_in_float32(kind):
    scores = torch.full((3000,), 1 + 2**-7, dtype=torch.bfloat16)
    for bf16, whole in (
        (critic_loss(scores, -scores, kind), critic_loss(scores.float(), -scores.float(), kind)),
        (generator_loss(scores, kind), generator_loss(scores.float(), kind)),
    ):
        assert bf16.dtype == torch.float32
        torch.testing.assert_close(bf16, whole)


@pytest.mark.parametrize("kind", ["wasserstein", "lsgan", "bce"])
def test_losses_pull_the_sides_apart(kind):
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    critic_loss(real - 1.5, fake + 1.5, kind).backward()
    assert real.grad.sum() < 0 < fake.grad.sum()
    fooled = FAKE.clone().requires_grad_()
    generator_loss(fooled, kind).backward()
    assert fooled.grad.sum() < 0


@pytest.mark.parametrize("kind", ["wasserstein", "lsgan", "bce"])
def test_losses_gradcheck(kind):
    real, fake = draws(3, dtype=torch.float64).requires_grad_(), draws(4, seed=1, dtype=torch.float64).requires_grad_()
    assert gradcheck(lambda r, f: critic_loss(r, f, kind), (real, fake))
    assert gradcheck(lambda f: generator_loss(f, kind), (fake,))


# ---------------------------------------------------------------- gradient penalty


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_penalty_of_a_linear_critic_is_closed(scale):
    weight = draws(*SHAPE[1:])
    weight = scale * weight / weight.norm()
    found = penalty_of(lambda x: (x * weight).flatten(1).sum(1))
    assert found.item() == pytest.approx((scale - 1) ** 2, abs=1e-6)


def test_penalty_averages_the_patches_of_an_item():
    weight = torch.tensor([3.0, -4.0, 12.0])  # norm 13
    found = penalty_of(lambda x: F.conv2d(x, weight.view(1, 3, 1, 1)))
    assert found.item() == pytest.approx((13 / math.sqrt(4 * 5) - 1) ** 2, rel=1e-5)


def test_penalty_is_taken_between_real_and_fake_item_by_item():
    seen = []
    real, fake = torch.ones(SHAPE), torch.zeros(SHAPE)
    gradient_penalty(lambda x: seen.append(x) or x.flatten(1).sum(1), real, fake, torch.tensor([0.25, 1.0]))
    assert torch.equal(seen[0], torch.tensor([0.25, 1.0]).view(2, 1, 1, 1).expand(SHAPE))


def test_penalty_of_a_quadratic_critic_depends_on_the_place():
    real, fake = torch.full(SHAPE, 2.0), torch.zeros(SHAPE)  # D = |x|^2 / 2 has the gradient x
    found = gradient_penalty(lambda x: x.square().flatten(1).sum(1) / 2, real, fake, torch.tensor([0.5, 1.0]))
    norms = [math.sqrt(60) * 1.0, math.sqrt(60) * 2.0]
    assert found.item() == pytest.approx(sum((n - 1) ** 2 for n in norms) / 2, rel=1e-5)


def test_penalty_trains_the_critic_by_its_closed_derivative():
    weight = draws(*SHAPE[1:]).requires_grad_()
    penalty_of(lambda x: (x * weight).flatten(1).sum(1)).backward()
    norm = weight.detach().norm()
    torch.testing.assert_close(weight.grad, 2 * (norm - 1) * weight.detach() / norm)


def test_penalty_gradcheck():
    weight = (0.5 * draws(2, 3, 2, 2, dtype=torch.float64)).requires_grad_()
    make = lambda w: penalty_of(lambda x: smooth(x, w), torch.float64)  # noqa: E731
    assert make(weight).dtype == torch.float64
    assert gradcheck(make, (weight,))
    assert gradgradcheck(make, (weight,))


def test_penalty_leaves_real_and_fake_alone():
    real, fake = draws(*SHAPE).requires_grad_(), draws(*SHAPE, seed=1).requires_grad_()
    weight = draws(2, 3, 2, 2).requires_grad_()
    gradient_penalty(lambda x: smooth(x, weight), real, fake, torch.tensor([0.2, 0.7])).backward()
    assert real.grad is None and fake.grad is None
    assert weight.grad.abs().sum() > 0


def test_penalty_under_bf16_is_in_float32():
    critic = nn.Conv2d(3, 1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        low = penalty_of(critic)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, penalty_of(critic), rtol=0.02, atol=0.02)


# ---------------------------------------------------------------- clipping


def test_clip_weights():
    critic = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 1))
    torch.nn.init.constant_(critic[0].weight, -0.5)
    torch.nn.init.constant_(critic[0].bias, 0.004)
    torch.nn.init.constant_(critic[1].weight, 0.5)
    clip_weights(critic, 0.01)
    assert torch.all(critic[0].weight == -0.01) and torch.all(critic[1].weight == 0.01)
    assert torch.all(critic[0].bias == 0.004)
    assert all(p.requires_grad for p in critic.parameters())
