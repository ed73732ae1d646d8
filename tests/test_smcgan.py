"""SMCGAN against its source: the mask, its temperature and its noise, both critics, every term, every ablation."""

import itertools
import math

import pytest
import torch
from conftest import FLOAT32, small_data, small_method
from torch import nn
from torch.nn import functional as F

from workbench import fit
from workbench.method import Stream
from workbench.methods import smcgan
from workbench.methods.smcgan import MaskedGenerator, soft_mask, straight_through, supervision
from workbench.models.colorizer import Generator, PatchCritic

TERMS = {"color", "gan1", "gan2", "mask"}
QUIET = {"gumbel": False, "mask_weight": 0.0, "color_weight": 0.0, "gan1_weight": 0.0}  # gan2 alone, without noise


def make(**changes):
    return small_method("smcgan", **changes)


def batch_of(count=4):
    return small_data("anatomy").train.__getitems__(range(count))


def bodies(model, batch=None, seed=0):
    """All updates of one batch without a step of any optimizer: (side, loss, logs)."""
    model.stream = Stream(seed)
    return list(model.updates(batch or batch_of()))


def terms_of(model, batch=None, seed=0):
    """The generator's loss and its logs."""
    side, loss, logs = bodies(model, batch, seed)[-1]
    assert side == "generator"
    return loss.item(), {key: float(value) for key, value in logs.items()}


def drive(model, batch, seed=0):
    """One batch as the loop does it; yields the side after its step and before the body resumes."""
    optimizers, model.stream = model.optimizers(), Stream(seed)
    for side, loss, _ in model.updates(batch):
        optimizers[side].zero_grad()
        weights = [p for group in optimizers[side].param_groups for p in group["params"]]
        torch.autograd.backward(loss, inputs=weights)
        optimizers[side].step()
        yield side


def weights_of(module):
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def touched(module):
    return any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


class Spy(nn.Module):
    """A critic that keeps what it is shown."""

    def __init__(self, critic):
        super().__init__()
        self.critic, self.seen = critic, []

    def forward(self, image):
        self.seen.append(image.detach())
        return self.critic(image)


class Fixed(nn.Module):
    """A generator that gives these colours and logits."""

    def __init__(self, color, logits):
        super().__init__()
        self.color, self.logits = nn.Parameter(color), nn.Parameter(logits)

    def forward(self, image):
        return self.color, self.logits


def spied(**changes):
    model = make(**changes)
    model.critic1, model.critic2 = Spy(model.critic1), Spy(model.critic2)
    return model


def draws(model, count, probability=0.5, seed=0):
    """Training masks of `count` x 32 x 32 pixels whose logits have this softmax probability of foreground."""
    model.stream = Stream(seed)
    logits = torch.tensor([0.3, 0.3 + math.log(probability / (1 - probability))])
    return model.training_mask(logits.view(1, 2, 1, 1).expand(count, 2, 32, 32))


# ---------------------------------------------------------------- temperature and noise


@pytest.mark.parametrize(("epoch", "tau"), [(1, 1.0), (5, 1 - 4 / 13.3), (9, 0.4), (50, 0.4)])
def test_tau_follows_the_epoch(epoch, tau):
    model = make()
    model.epoch = epoch
    assert model.tau == pytest.approx(tau)


@pytest.mark.parametrize(("epoch", "tau"), [(1, 1.0), (84, 0.5), (200, 0.4)])
def test_tau_at_paper_scale(epoch, tau):
    model = make(tau_epochs=smcgan.PAPER["tau_epochs"])
    model.epoch = epoch
    assert model.tau == pytest.approx(tau)


def test_the_loop_moves_tau():
    model, seen = make(tau_epochs=4.0), []
    budget = fit.Budget(**{**vars(FLOAT32), "epochs": 4, "batch": 8})
    fit.fit(model, small_data("anatomy").train, budget, watch=lambda told: seen.append(model.tau))
    assert seen == pytest.approx([1.0, 0.75, 0.5, 0.4])


def test_tau_scales_the_noise_of_training():
    model = make()
    warm = draws(model, 16).logit()
    assert warm.std().item() == pytest.approx(math.pi / math.sqrt(3), rel=0.03)  # a difference of Gumbels is logistic
    model.epoch = 50
    cold = draws(model, 16)
    inner = (cold > 1e-4) & (cold < 1 - 1e-4)  # beyond, float32 has too few digits for the logit
    torch.testing.assert_close(cold.logit()[inner], warm[inner] / 0.4, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.75])
@pytest.mark.parametrize("epoch", [1, 9])
def test_hard_draws_have_the_probability_of_the_softmax(probability, epoch):
    model = make(mask="straight-through")
    model.epoch = epoch
    assert draws(model, 32, probability).mean().item() == pytest.approx(probability, abs=0.01)


def test_noise_is_new_in_every_draw_and_belongs_to_the_item():
    model = make()
    model.stream = Stream(0)
    logits = torch.zeros(4, 2, 8, 8)
    first, second = model.training_mask(logits), model.training_mask(logits)
    assert not torch.equal(first, second)
    model.stream = Stream(0, first=2, total=4)
    assert torch.equal(model.training_mask(logits[:2]), first[2:])


@pytest.mark.parametrize("kind", ["soft", "straight-through"])
def test_mask_stays_in_range_and_finite(kind):
    model = make(mask=kind, tau_floor=0.01)
    model.epoch = 1000
    logits = torch.tensor([-1e4, -50.0, 0.0, 50.0, 1e4]).view(1, 1, 5, 1)
    logits = torch.cat([logits, -logits.flip(2)], 1).requires_grad_()
    for noise in (0.0, 0.5, 1 - 2**-24):
        mask = soft_mask(logits, torch.full((1, 2, 5, 1), noise), model.tau)
        mask = straight_through(mask) if kind == "straight-through" else mask
        (gradient,) = torch.autograd.grad(mask.sum(), logits)
        assert mask.min() >= 0 and mask.max() <= 1
        assert torch.isfinite(gradient).all()


def test_mask_by_hand():
    logits = torch.tensor([0.0, math.log(3.0)]).view(1, 2, 1, 1)
    assert soft_mask(logits, None, 1.0).item() == pytest.approx(0.75)
    assert soft_mask(logits, None, 0.5).item() == pytest.approx(0.9)
    noise = torch.tensor([math.exp(-1), math.exp(-math.e)]).view(1, 2, 1, 1)  # Gumbel 0 and -1
    assert soft_mask(logits, noise, 1.0).item() == pytest.approx(3 / (3 + math.e), rel=1e-5)


def test_mask_is_float32_under_bf16():
    model = make()
    with torch.autocast("cpu", torch.bfloat16):
        _, logits = model.generator(batch_of()["image"])
        assert logits.dtype == torch.bfloat16
        assert model.training_mask(logits).dtype == torch.float32
    torch.testing.assert_close(soft_mask(logits, None, 0.7), soft_mask(logits.float(), None, 0.7))


# ---------------------------------------------------------------- mask at test, straight through, threshold


def test_mask_of_a_prediction_has_no_noise():
    model, batch = make().eval(), batch_of()
    model.stream = Stream(1)
    first = model.predict(batch)["mask"]
    assert model.stream.draws == 0
    model.stream, model.epoch = Stream(2), 50
    assert torch.equal(first, model.predict(batch)["mask"])
    assert torch.equal(first, model.generator(batch["image"])[1].argmax(1, keepdim=True).float())
    assert set(first.unique().tolist()) <= {0.0, 1.0}


def test_straight_through_is_hard_ahead_and_soft_behind():
    logits, noise = torch.randn(2, 2, 8, 8, requires_grad=True), torch.rand(2, 2, 8, 8)
    weight = torch.randn(2, 1, 8, 8)
    soft = soft_mask(logits, noise, 0.7)
    hard = straight_through(soft)
    torch.testing.assert_close(hard, (soft > 0.5).float(), atol=1e-6, rtol=0)
    gradients = [torch.autograd.grad((mask * weight).sum(), logits, retain_graph=True)[0] for mask in (soft, hard)]
    assert torch.equal(*gradients) and gradients[0].abs().min() > 0


def test_threshold_mask_is_hard_and_without_gradient():
    model = make(mask="threshold")
    model.stream = Stream(0)
    logits = torch.randn(2, 2, 8, 8, requires_grad=True)
    mask = model.training_mask(logits)
    assert torch.equal(mask, logits.argmax(1, keepdim=True).float())
    assert not mask.requires_grad and model.stream.draws == 0


@pytest.mark.parametrize(("mask", "flows"), [("soft", True), ("straight-through", True), ("threshold", False)])
def test_second_critic_reaches_the_generator_through_the_mask(mask, flows):
    model = make(mask=mask, **QUIET)
    _, loss, _ = bodies(model)[-1]
    loss.backward()
    assert touched(model.generator.segment) is flows
    assert touched(model.generator.color)


# ---------------------------------------------------------------- both critics


@pytest.mark.parametrize("mask", ["soft", "straight-through", "threshold"])
def test_one_mask_on_both_sides_of_the_second_critic(mask):
    model, batch = spied(mask=mask), batch_of()
    fake = model.generator(batch["image"])[0].detach()
    side, _, _ = next(model.updates(batch))
    assert side == "critic"
    real, made, between = model.critic2.seen
    seen = [image[:, :1] for image in (real, made, between)]
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])
    bright = batch["image"] > 0.1
    used = torch.where(bright, seen[0] / batch["image"], 0.0)  # the mask as the condition shows it
    assert 0 < used[bright].mean() < 1 and (used[bright] > 0.99).float().mean() < 1
    for colored, whole in ((real, batch["target"]), (made, fake)):
        torch.testing.assert_close(torch.where(bright, colored[:, 1:], 0.0), used * whole, atol=1e-5, rtol=1e-4)


def test_first_critic_sees_whole_images():
    model, batch = spied(), batch_of()
    fake = model.generator(batch["image"])[0].detach()
    next(model.updates(batch))
    real, made, _ = model.critic1.seen
    assert torch.equal(real, torch.cat([batch["image"], batch["target"]], 1))
    torch.testing.assert_close(made, torch.cat([batch["image"], fake], 1))


@pytest.mark.parametrize("adversary", ["wasserstein", "lsgan"])
@pytest.mark.parametrize("mask", ["soft", "straight-through"])
def test_nothing_flows_into_the_generator_in_the_critics_step(adversary, mask):
    model, batch = make(adversary=adversary, mask=mask), batch_of()
    model.critic_loss(batch["image"], batch["target"]).backward()
    assert all(p.grad is None for p in model.generator.parameters())
    assert touched(model.critic1) and touched(model.critic2)


def test_generator_step_shows_the_masked_fake_alone():
    model, batch = spied(gumbel=False), batch_of()
    next(updates := model.updates(batch))
    model.critic1.seen.clear(), model.critic2.seen.clear()
    next(updates)
    color, logits = model.generator(batch["image"])
    mask = logits.softmax(1)[:, 1:]
    assert len(model.critic1.seen) == len(model.critic2.seen) == 1
    torch.testing.assert_close(model.critic2.seen[0], mask * torch.cat([batch["image"], color], 1))


def test_empty_mask_blinds_the_second_critic():
    model, batch = make(**QUIET), batch_of()
    logits = torch.zeros(4, 2, 32, 32)
    logits[:, 1] = -1e4
    model.generator = Fixed(torch.rand(4, 3, 32, 32), logits)
    loss = model.critic_loss(batch["image"], batch["target"]).item()
    assert loss == pytest.approx(10.0 * (penalty_at_black(model.critic2) - 1) ** 2, rel=1e-4)  # E[D] cancels


def penalty_at_black(critic):
    black = torch.zeros(1, 4, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(critic(black).mean(), black)
    return gradient[:, 1:].norm().item()


@pytest.mark.parametrize("adversary", ["wasserstein", "lsgan"])
def test_penalty_belongs_to_wasserstein(adversary, monkeypatch):
    model, batch, asked = make(adversary=adversary), batch_of(), []
    monkeypatch.setattr(smcgan, "gradient_penalty", lambda *parts: asked.append(parts) or torch.tensor(3.0))
    model.stream = Stream(0)
    found = model.critic_loss(batch["image"], batch["target"]).item()
    penalties = 2 if adversary == "wasserstein" else 0
    assert len(asked) == penalties
    unpenalised = make(adversary=adversary, penalty=0.0)
    unpenalised.stream = Stream(0)
    bare = unpenalised.critic_loss(batch["image"], batch["target"]).item()
    assert found == pytest.approx(bare + 10.0 * 3.0 * penalties, rel=1e-5)


@pytest.mark.parametrize("adversary", ["wasserstein", "lsgan"])
def test_both_adversaries_train(adversary):
    model = make(adversary=adversary)
    before = [weights_of(part) for part in (model.critic1, model.critic2, model.generator)]
    assert list(drive(model, batch_of())) == ["critic", "generator"]
    after = [weights_of(part) for part in (model.critic1, model.critic2, model.generator)]
    assert all(torch.isfinite(a).all() and not torch.equal(a, b) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("steps", [1, 3])
def test_critics_step_as_often_as_asked(steps):
    model = make(critic_steps=steps)
    states, generators = [weights_of(model.critic2)], [weights_of(model.generator)]
    sides = []
    for side in drive(model, batch_of()):
        sides.append(side)
        states.append(weights_of(model.critic2))
        generators.append(weights_of(model.generator))
    assert sides == ["critic"] * steps + ["generator"]
    moved = [not torch.equal(a, b) for a, b in itertools.pairwise(states)]
    assert moved == [True] * steps + [False]
    assert [not torch.equal(a, b) for a, b in itertools.pairwise(generators)] == [False] * steps + [True]


# ---------------------------------------------------------------- the terms


def test_cross_entropy_of_the_mask_by_hand():
    logits = torch.tensor([[0.0, 0.0, 0.0], [math.log(3.0), math.log(3.0), 0.0]]).view(1, 2, 1, 3)
    pseudo = torch.tensor([1.0, 0.0, 1.0]).view(1, 1, 1, 3)
    expected = -(math.log(0.75) + math.log(0.25) + math.log(0.5)) / 3
    found = supervision(logits, torch.rand(1, 1, 1, 3), pseudo, "bce", 0.9)
    assert found.item() == pytest.approx(expected)
    reference = F.binary_cross_entropy_with_logits(logits[:, 1:] - logits[:, :1], pseudo)
    torch.testing.assert_close(found, reference)


def test_density_of_the_mask_by_hand():
    mask = torch.tensor([1.0, 0.0, 0.5, 0.5]).view(1, 1, 2, 2).requires_grad_()
    found = supervision(torch.randn(1, 2, 2, 2), mask, torch.ones(1, 1, 2, 2), "density", 0.35)
    assert found.item() == pytest.approx(0.15**2)
    found.backward()
    torch.testing.assert_close(mask.grad, torch.full((1, 1, 2, 2), 2 * 0.15 / 4))


def test_no_supervision_is_zero_whatever_the_mask():
    logits, mask = torch.randn(1, 2, 2, 2, requires_grad=True), torch.rand(1, 1, 2, 2, requires_grad=True)
    found = supervision(logits, mask, torch.ones(1, 1, 2, 2), "none", 0.35)
    assert found.item() == 0 and not found.requires_grad


def test_colour_term_by_hand():
    model, batch = make(color_weight=7.0), batch_of()
    model.generator = Fixed((batch["target"] - 0.25).clone(), torch.zeros(4, 2, 32, 32))
    assert terms_of(model, batch)[1]["color"] == pytest.approx(7 * 2 * 0.25, rel=1e-5)  # of images in [-1, 1]


def test_adversarial_terms_by_hand():
    model, batch = spied(gan1_weight=3.0, gan2_weight=0.5), batch_of()
    _, logs = terms_of(model, batch)
    for name, critic, weight in (("gan1", model.critic1, 3.0), ("gan2", model.critic2, 0.5)):
        assert logs[name] == pytest.approx(-weight * critic.critic(critic.seen[-1]).mean().item(), rel=1e-4)


@pytest.mark.parametrize("term", ["color", "gan1", "gan2", "mask"])
@pytest.mark.parametrize("adversary", ["wasserstein", "lsgan"])
def test_weights_multiply_their_terms(term, adversary):
    field = f"{term}_weight"
    single, one = terms_of(make(adversary=adversary))
    double, two = terms_of(make(adversary=adversary, **{field: 2 * getattr(make().config, field)}))
    assert two[term] == pytest.approx(2 * one[term], rel=1e-5) and one[term] != 0
    assert all(two[key] == pytest.approx(one[key], rel=1e-5) for key in TERMS - {term})
    assert double - single == pytest.approx(one[term], rel=1e-2, abs=1e-3)


@pytest.mark.parametrize("mask_loss", ["bce", "density", "none"])
def test_loss_is_the_sum_of_its_terms(mask_loss):
    loss, logs = terms_of(make(mask_loss=mask_loss))
    assert set(logs) == TERMS | {"mask_area"}
    assert loss == pytest.approx(sum(logs[key] for key in TERMS), rel=1e-5)
    assert (logs["mask"] == 0) is (mask_loss == "none")
    assert 0 < logs["mask_area"] < 1


@pytest.mark.parametrize(("mask_loss", "reached"), [("bce", True), ("density", True), ("none", False)])
def test_supervision_reaches_the_segmentation(mask_loss, reached):
    model = make(mask_loss=mask_loss, gan1_weight=0.0, gan2_weight=0.0)
    _, loss, _ = bodies(model)[-1]
    loss.backward()
    assert touched(model.generator.segment) is reached


# ---------------------------------------------------------------- ablations


@pytest.mark.parametrize("name", smcgan.ABLATIONS)
def test_ablation_changes_one_setting(name):
    (field,) = smcgan.ABLATIONS[name]
    assert getattr(smcgan.Config(), field) != smcgan.ABLATIONS[name][field]


def test_without_color_only_that_term_is_gone():
    _, whole = terms_of(make())
    loss, logs = terms_of(make(**smcgan.ABLATIONS["no_color"]))
    assert logs.pop("color") == 0 and whole.pop("color") > 0
    assert logs == pytest.approx(whole)
    assert loss == pytest.approx(sum(logs[key] for key in TERMS - {"color"}), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "term", "gone", "left"),
    [("no_gan1", "gan1", "critic1", "critic2"), ("no_gan2", "gan2", "critic2", "critic1")],
)
def test_without_a_critic_its_term_and_its_training_are_gone(name, term, gone, left):
    _, whole = terms_of(make(gumbel=False))
    _, logs = terms_of(make(gumbel=False, **smcgan.ABLATIONS[name]))
    assert set(whole) - set(logs) == {term}
    assert logs == pytest.approx({key: whole[key] for key in logs})
    model = spied(**smcgan.ABLATIONS[name])
    before = weights_of(getattr(model, gone)), weights_of(getattr(model, left))
    assert list(drive(model, batch_of())) == ["critic", "generator"]
    assert getattr(model, gone).seen == [] and getattr(model, left).seen
    assert torch.equal(before[0], weights_of(getattr(model, gone)))
    assert not torch.equal(before[1], weights_of(getattr(model, left)))


def test_without_both_critics_there_is_no_adversary():
    model = make(gan1_weight=0.0, gan2_weight=0.0)
    ((side, _, logs),) = bodies(model)
    assert side == "generator" and set(logs) == {"color", "mask", "mask_area"}


def test_without_gumbel_the_mask_is_the_softmax():
    model, batch = make(**smcgan.ABLATIONS["no_gumbel"]), batch_of()
    model.epoch = 5
    logits = model.generator(batch["image"])[1]
    torch.testing.assert_close(model.training_mask(logits), (logits / model.tau).softmax(1)[:, 1:])
    assert terms_of(model, seed=0) == terms_of(model, seed=1)
    assert terms_of(make(), seed=0) != terms_of(make(), seed=1)


def test_hard_mask_keeps_its_supervision():
    model = make(**smcgan.ABLATIONS["hard_mask"])
    _, loss, logs = bodies(model)[-1]
    loss.backward()
    assert touched(model.generator.segment) and logs["mask"] > 0


# ---------------------------------------------------------------- collapse


@pytest.mark.parametrize("mask_loss", ["bce", "none"])
def test_collapsed_mask_is_told(mask_loss, recwarn):
    model, batch = make(mask_loss=mask_loss).eval(), batch_of()
    bias = model.generator.segment.last.bias
    with torch.no_grad():
        bias.copy_(torch.tensor([-50.0, 50.0]))
        assert model.predict(batch)["mask"].mean() == 1 and not recwarn.list
        bias.copy_(torch.tensor([50.0, -50.0]))
        with pytest.warns(UserWarning, match="mask has collapsed"):
            assert model.predict(batch)["mask"].sum() == 0


def test_supervision_finds_the_foreground():
    model, batch = make(base=8, lr=5e-3), batch_of(8)
    optimizers = model.optimizers()
    for step in range(25):
        fit.step(model, optimizers, [batch], step, FLOAT32, bf16=False)
    model.eval()
    with torch.no_grad():
        scores = model.score(batch, model.predict(batch))
    assert scores["iou"].mean() > 0.6


# ---------------------------------------------------------------- layers


@pytest.mark.parametrize("shape", [(32, 32), (64, 64), (32, 48), (20, 64)])
def test_generator_shapes(shape):
    for train in (True, False):
        color, logits = MaskedGenerator(4, 1).train(train)(torch.rand(2, 1, *shape))
        assert color.shape == (2, 3, *shape) and logits.shape == (2, 2, *shape)
        assert color.min() >= 0 and color.max() <= 1
    assert Generator(1, 2, 4, 1)(torch.rand(2, 1, *shape)).shape == (2, 2, *shape)


def test_branches_share_the_encoder_alone():
    model = make()
    _, logits = model.generator(batch_of()["image"])
    logits.sum().backward()
    assert touched(model.generator.encoder) and touched(model.generator.segment)
    assert not touched(model.generator.color)


def field_of(critic, side=160):
    """Width in pixels of what one score in the middle sees, told by its gradient."""
    image = torch.rand(1, 4, side, side, requires_grad=True)
    scores = critic(image)
    middle = scores.shape[-1] // 2
    scores[0, 0, middle, middle].backward()
    rows = image.grad.abs().sum((0, 1, 3)).nonzero()
    assert rows.min() > 0 and rows.max() < side - 1
    return int(rows.max() - rows.min() + 1)


@pytest.mark.parametrize(("depth", "width"), [(smcgan.PAPER["critic_depth"], 70), (3, 34)])
def test_field_of_the_critic(depth, width):
    assert field_of(PatchCritic(4, 2, depth)) == width


def test_widths_of_the_critic_at_paper_scale():
    critic = PatchCritic(4, smcgan.PAPER["critic_base"], smcgan.PAPER["critic_depth"])
    convs = [layer for layer in critic if isinstance(layer, nn.Conv2d)]
    assert [conv.out_channels for conv in convs] == [64, 128, 256, 512, 1]
    assert {conv.kernel_size for conv in convs} == {(4, 4)}


def test_critics_have_no_norm_and_keep_items_apart():
    model, batch = make(), torch.rand(3, 4, 32, 32)
    for critic in (model.critic1, model.critic2):
        assert {type(layer) for layer in critic} == {nn.Conv2d, nn.LeakyReLU}
        torch.testing.assert_close(critic(batch)[:1], critic(batch[:1]))


def test_critics_are_two():
    model = make()
    first, second = ({id(p) for p in critic.parameters()} for critic in (model.critic1, model.critic2))
    assert not first & second
    assert not torch.equal(weights_of(model.critic1), weights_of(model.critic2))
    sides = model.optimizers()
    critics = {id(p) for group in sides["critic"].param_groups for p in group["params"]}
    assert critics == first | second
    assert sides["critic"].defaults["betas"] == (0.5, 0.9)
