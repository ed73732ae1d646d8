"""TC-MGAN against its source: networks, every loss term, the stages, and that all arms have the same judge."""

import math

import pytest
import torch
from conftest import FLOAT32, small_data, small_method
from torch import nn
from torch.nn import functional as F

from workbench import compare, fit, method, metrics, study
from workbench.losses.overlap import dice_loss
from workbench.method import Stream
from workbench.methods import tcmgan
from workbench.methods.tcmgan import (
    ABLATIONS,
    CLAIMS,
    FLOORS,
    PAPER,
    RIVALS,
    Config,
    Critic,
    Segmentor,
    modality_loss,
    penalised,
    reconstruction,
    total,
)
from workbench.models.readers import JUDGE, P1, P2, Readers, Stages, mirrored, reading
from workbench.models.synthesis import TARGETS, Generator, contrast, drawn, of_modality, quality, with_planes

ARMS = {
    "tcmgan": ("tcmgan", {}),
    "mgan": ("tcmgan", ABLATIONS["mgan"]),
    "pix2pix": ("pix2pix", {}),
    "acquired-four": ("acquired", {"inputs": "four"}),
}


def make(name="tcmgan", **changes):
    return small_method(name, **changes)


def batch_of(count=4):
    return small_data("brain").train.__getitems__(range(count))


def count_of(module):
    return sum(p.numel() for p in module.parameters())


def stepped(model, batch=None, steps=1, epoch=1):
    """The model after some steps of the loop, and the order in which its optimizers stepped."""
    optimizers, turns = model.optimizers(), []
    for name, optimizer in optimizers.items():
        optimizer.register_step_pre_hook(lambda *_, name=name: turns.append(name))
    model.epoch = epoch
    for seed in range(steps):
        fit.step(model, optimizers, [batch or batch_of()], seed, FLOAT32, bf16=False)
    return turns


def weights(model, part=""):
    return {k: v.clone() for k, v in model.state_dict().items() if k.startswith(part)}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


# ---------------------------------------------------------------- networks


def test_generator_of_the_paper():
    with torch.device("meta"):
        net = Generator(4, 64, 128)
    convs = [m for block in net.down for m in block if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [64, 128, 256, 512, 512, 512, 512]
    assert all((c.kernel_size, c.stride) == ((4, 4), (2, 2)) for c in convs) and convs[0].in_channels == 4
    ups = [m for block in net.up for m in block if isinstance(m, nn.ConvTranspose2d)]
    assert [(u.in_channels, u.out_channels) for u in ups] == [
        (512, 512), (1024, 512), (1024, 512), (1024, 256), (512, 128), (256, 64), (128, 1),
    ]  # fmt: skip
    norms = [m for m in net.modules() if isinstance(m, nn.InstanceNorm2d)]
    assert len(norms) == 5 + 6 and not any(norm.affine for norm in norms)
    assert not any(isinstance(m, nn.Dropout | nn.BatchNorm2d) for m in net.modules())


def test_generator_reaches_one_pixel_and_starts_with_small_weights():
    torch.manual_seed(0)
    net, seen = Generator(4, 16, 64), []
    for block in net.down:
        block.register_forward_hook(lambda module, given, made: seen.append((*made.shape[1:],)))
    net(torch.rand(1, 4, 64, 64))
    assert seen == [(16, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4), (128, 2, 2), (128, 1, 1)]
    stds = [m.weight.std().item() for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert all(std == pytest.approx(0.02, rel=0.15) for std in stds)


@pytest.mark.parametrize("size", [32, 48, 64, 96])
def test_output_has_the_shape_and_range_of_an_image(size):
    made = Generator(4, 4, size)(100 * torch.randn(2, 4, size, size))
    assert made.shape == (2, 1, size, size) and made.abs().max() <= 1


def test_critic_of_the_paper():
    with torch.device("meta"):
        net = Critic(64, 128)
        real, kind = net(torch.empty(2, 1, 128, 128), torch.empty(2, 1, 128, 128))
    convs = [m for m in net.body if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [64, 128, 256, 512, 1024] and convs[0].in_channels == 2
    assert all(m.negative_slope == 0.01 for m in net.body if isinstance(m, nn.LeakyReLU))
    assert net.real.kernel_size == (3, 3) and net.kind.kernel_size == (4, 4)
    assert real.shape == (2, 1, 4, 4) and kind.shape == (2, 3)
    assert not any("Norm" in type(m).__name__ for m in net.modules())


def test_critic_looks_at_t2():
    torch.manual_seed(0)
    net, image = Critic(4, 32), torch.randn(1, 1, 32, 32)
    one, other = (net(image, t2)[0] for t2 in (image, -image))
    assert not torch.allclose(one, other)


def test_segmentor_of_the_paper():
    net = Segmentor(64, 4)
    convs = [m for block in net.down for m in block if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [64, 128, 256, 512] and convs[0].in_channels == 4
    assert all((c.kernel_size, c.stride) == ((3, 3), (2, 2)) for c in convs)
    assert sum(isinstance(m, nn.ConvTranspose2d) for m in net.modules()) == 4
    assert sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) == 7
    assert net(torch.rand(2, 1, 32, 32), torch.tensor([0, 2])).shape == (2, 1, 32, 32)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_segmentor_of_any_depth_returns_the_size_of_its_image(levels):
    assert Segmentor(4, levels)(torch.rand(2, 1, 32, 32), torch.tensor([0, 1])).shape == (2, 1, 32, 32)


def test_planes_are_the_one_hot_code_of_each_item():
    given = with_planes(torch.full((3, 1, 2, 2), 7.0), torch.tensor([2, 0, 1]))
    assert given.shape == (3, 4, 2, 2) and (given[:, 0] == 7).all()
    assert given[:, 1:, 0, 0].tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert (given == given[..., :1, :1]).all()


def test_modality_order_is_that_of_the_code():
    assert TARGETS == ("flair", "t1ce", "t1")
    images = torch.arange(6.0).reshape(2, 3, 1, 1)
    assert of_modality(images, torch.tensor([2, 0])).flatten().tolist() == [2, 3]
    assert drawn(torch.tensor([0.0, 0.33, 0.34, 0.66, 0.67, 0.999999])).tolist() == [0, 0, 1, 1, 2, 2]


def test_another_one_hot_gives_another_image():
    model = make().eval()
    t2 = torch.rand(1, 1, 32, 32)
    made = [model.make(t2, torch.tensor([n])) for n in range(3)]
    assert all((made[a] - made[b]).abs().max() > 1e-4 for a, b in ((0, 1), (0, 2), (1, 2)))
    color = model.predict({"image": (t2 + 1) / 2})["color"]
    assert torch.allclose(2 * color - 1, torch.cat(made, 1), atol=1e-6), "the channels of color are in this order"


# ---------------------------------------------------------------- losses


def test_score_is_the_sum_over_the_map():
    assert total(torch.ones(2, 1, 4, 4, dtype=torch.bfloat16)).tolist() == [16, 16]


def test_modality_loss_sums_over_logits_and_averages_over_items():
    logits, modality = torch.zeros(5, 3), torch.tensor([0, 1, 2, 0, 1])
    assert modality_loss(logits, modality).item() == pytest.approx(3 * math.log(2))
    sure = torch.tensor([[9.0, -9.0, -9.0]])
    assert modality_loss(sure, torch.tensor([0])) < 1e-3 < 17 < modality_loss(sure, torch.tensor([1]))


@pytest.mark.parametrize("size", [32, 64, 128])
def test_reconstruction_weighs_the_mean_alike_at_every_size(size):
    made, real = torch.zeros(2, 1, size, size), torch.full((2, 1, size, size), 0.5)
    assert 0.1 * reconstruction(made, real).item() == pytest.approx(1638.4 * 0.5)
    if size == 128:
        assert reconstruction(made, real).item() == pytest.approx((real - made).abs().sum((1, 2, 3)).mean().item())


def test_dice_loss_is_that_of_the_code():
    p, y = torch.tensor([0.5, 1.0, 0.0, 0.25]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    expected = 1 - (2 * 1.5 + 1) / (1.75 + 2 + 1)
    assert dice_loss(p.view(1, 1, 2, 2), y.view(1, 1, 2, 2)).item() == pytest.approx(expected)
    empty = torch.zeros(1, 1, 2, 2)
    assert dice_loss(empty, empty) == 0
    both = dice_loss(torch.stack([p, 0 * p]).view(2, 1, 2, 2), torch.stack([y, 0 * y]).view(2, 1, 2, 2))
    assert both.item() == pytest.approx(expected / 2), "a mean over items, not over a batch's pixels"


class Linear(nn.Module):
    """A critic whose map is linear in the candidate."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, candidate, t2):
        return (self.weight * candidate + t2).unsqueeze(1), None


def test_penalty_of_a_linear_critic_is_its_closed_form():
    torch.manual_seed(0)
    critic = Linear(torch.randn(1, 1, 8, 8, dtype=torch.float64))
    t2, real, made = torch.randn(3, 4, 1, 8, 8, dtype=torch.float64)
    value = penalised(critic, t2, real, made, torch.rand(4, dtype=torch.float64))
    norm = critic.weight.detach().norm()
    assert value.item() == pytest.approx((norm - 1).square().item()), "the gradient is that of the summed map"
    (gradient,) = torch.autograd.grad(value, critic.weight)
    assert torch.allclose(gradient, 2 * (norm - 1) * critic.weight.detach() / norm)


def test_penalty_can_be_differentiated_twice():
    torch.manual_seed(0)
    critic = Critic(2, 16).double()
    t2, real, made = torch.randn(3, 2, 1, 16, 16, dtype=torch.float64)
    weight = critic.body[0].weight

    def value(w):
        return torch.func.functional_call(Penalty(critic), {"critic.body.0.weight": w}, (t2, real, made))

    assert torch.autograd.gradcheck(value, (weight.detach().clone().requires_grad_(),), atol=1e-6, nondet_tol=1e-9)


class Penalty(nn.Module):
    def __init__(self, critic):
        super().__init__()
        self.critic = critic

    def forward(self, t2, real, made):
        return penalised(self.critic, t2, real, made, torch.tensor([0.3, 0.6], dtype=torch.float64))


def test_only_the_real_image_teaches_the_critic_its_modality():
    model, batch = make(), batch_of()
    model.stream = Stream(3)
    modality = torch.tensor([0, 1, 2, 0])
    t2, real = 2 * batch["image"] - 1, 2 * of_modality(batch["target"], modality) - 1
    terms = model.critic_terms(t2, real, modality)
    expected = 10 * modality_loss(model.critic(real, t2)[1], modality)
    assert terms["cls"].item() == pytest.approx(expected.item())
    own = torch.autograd.grad(sum(terms.values()), model.critic.kind.weight)[0]
    assert torch.allclose(own, torch.autograd.grad(expected, model.critic.kind.weight)[0], atol=1e-5)


def test_terms_are_weighted_as_the_settings_say():
    batch, modality = batch_of(), torch.tensor([0, 1, 2, 0])
    t2, real = 2 * batch["image"] - 1, 2 * of_modality(batch["target"], modality) - 1
    weighted = {"cls_weight": 2.0, "rec_weight": 3.0, "seg_weight": 5.0, "penalty": 7.0}
    terms = []
    for changes in (weighted, dict.fromkeys(weighted, 1.0)):
        model = make(**changes)
        model.stream = Stream(1)
        one = {f"d_{k}": v for k, v in model.critic_terms(t2, real, modality).items()}
        terms.append(one | model.generator_terms(t2, real, modality, batch["label"].float()))
    ratios = {key: (terms[0][key] / terms[1][key]).item() for key in terms[0]}
    assert ratios == pytest.approx({"d_gan": 1, "d_cls": 2, "d_penalty": 7, "gan": 1, "cls": 2, "rec": 3, "seg": 5})


def test_published_weights_are_the_defaults():
    c = Config()
    assert (c.rec_weight, c.cls_weight, c.seg_weight, c.penalty, c.mixture) == (0.1, 10, 50, 100, 0.7)
    contrast = Config(**ABLATIONS["stargan_weights"])
    assert (contrast.cls_weight, contrast.penalty) == (1, 10) and 128**2 * contrast.rec_weight == pytest.approx(10)


def test_segmentor_learns_from_synthetic_and_real_images_at_seven_to_three():
    model, batch = make(), batch_of()
    model.stream = Stream(5)
    losses = {}
    body = model.updates(batch)
    for name, loss, _ in body:  # nothing steps between, so weights stay as they are
        losses[name] = loss
        if name == "segmentor":
            break
    modality = drawn(Stream(5).rand(4, 2, device=torch.device("cpu"))[:, 0])
    t2, real = 2 * batch["image"] - 1, 2 * of_modality(batch["target"], modality) - 1
    with torch.no_grad():
        made = model.make(t2, modality)
    parts = [dice_loss(model.segmentor(x, modality).sigmoid(), batch["label"].float()) for x in (made, real)]
    assert losses["segmentor"].item() == pytest.approx((0.7 * parts[0] + 0.3 * parts[1]).item(), abs=1e-6)


# ---------------------------------------------------------------- MGAN is the same without the tumour


def plain_mgan(model, batch, steps):
    """MGAN written out by itself, on the networks of `model`."""
    generator, critic = model.generator, model.critic
    sides = {name: torch.optim.Adam(net.parameters(), 1e-3) for name, net in (("g", generator), ("d", critic))}
    for seed in range(steps):
        stream = Stream(seed, total=4)
        modality = (3 * stream.rand(4, 2, device=torch.device("cpu"))[:, 0]).long()
        code = F.one_hot(modality, 3).float()
        mix = stream.rand(4, device=torch.device("cpu"))[:, None, None, None]
        t2, x = 2 * batch["image"] - 1, 2 * batch["target"][range(4), modality][:, None] - 1
        given = torch.cat([t2, code[:, :, None, None].expand(-1, -1, 32, 32)], 1)
        made = generator(given).detach()
        between = (mix * x + (1 - mix) * made).requires_grad_()
        (slope,) = torch.autograd.grad(critic(between, t2)[0].sum(), between, create_graph=True)
        (real, kind), fake = critic(x, t2), critic(made, t2)[0]
        loss = fake.sum() / 4 - real.sum() / 4
        loss = loss + 10 * F.binary_cross_entropy_with_logits(kind, code, reduction="sum") / 4
        loss = loss + 100 * (slope.flatten(1).norm(dim=1) - 1).square().mean()
        sides["d"].zero_grad()
        loss.backward()
        sides["d"].step()
        made = generator(given)
        real, kind = critic(made, t2)
        loss = -real.sum() / 4 + 10 * F.binary_cross_entropy_with_logits(kind, code, reduction="sum") / 4
        loss = loss + 0.1 * 16 * (x - made).abs().sum() / 4
        sides["g"].zero_grad()
        loss.backward()
        sides["g"].step()


def test_without_the_tumour_it_is_mgan_step_for_step():
    lr = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999}
    one, other, batch = make(seg_weight=0.0, **lr), make(seg_weight=0.0, **lr), batch_of()
    stepped(one, batch, steps=3)
    plain_mgan(other, batch, steps=3)
    for part in ("generator", "critic"):
        mine, theirs = weights(one, part), weights(other, part)
        for key in mine:
            torch.testing.assert_close(mine[key], theirs[key], atol=2e-5, rtol=1e-4)
        assert not same(mine, weights(make(seg_weight=0.0), part)), "they learnt"


def test_mgan_and_tcmgan_begin_alike_and_draw_alike():
    one, other = make(), make(**ABLATIONS["mgan"])
    for part in ("generator", "critic", "readers"):
        assert same(weights(one, part), weights(other, part))
    assert not weights(other, "segmentor")
    losses = []
    for model in (one, other):
        model.stream = Stream(9)
        losses.append(next(loss for name, loss, _ in model.updates(batch_of()) if name == "critic"))
    assert losses[0].item() == losses[1].item(), "modalities, mixtures and weights are the same in the first step"


def test_consistency_changes_what_the_generator_learns():
    one, other = make(), make(**ABLATIONS["mgan"])
    for model in (one, other):
        stepped(model)
    assert same(weights(one, "critic"), weights(other, "critic"))
    assert not same(weights(one, "generator"), weights(other, "generator"))


# ---------------------------------------------------------------- stages


@pytest.mark.parametrize(
    ("epoch", "turns"),
    [
        (1, [JUDGE, "segmentor"]),
        (2, [JUDGE, "segmentor"]),
        (3, ["critic", "generator", "segmentor"]),
        (5, ["critic", "generator", "segmentor"]),
        (6, [P1, P2]),
        (99, [P1, P2]),
    ],
)
def test_each_stage_trains_its_own_networks(epoch, turns):
    model = make(pretrain=2, gan_epochs=3, judge_epochs=2, segment_from=6)
    assert stepped(model, epoch=epoch) == turns


def test_each_stage_leaves_the_other_networks_alone():
    model = make(pretrain=2, gan_epochs=3, judge_epochs=2, segment_from=6)
    parts = {"judge": f"readers.nets.{JUDGE}", "p1": f"readers.nets.{P1}", "p2": f"readers.nets.{P2}"}
    parts |= {name: name for name in ("generator", "critic", "segmentor")}
    moved = {}
    for epoch in (1, 3, 6):
        before = {name: weights(model, part) for name, part in parts.items()}
        stepped(model, epoch=epoch)
        moved[epoch] = {name for name, part in parts.items() if not same(before[name], weights(model, part))}
    assert moved == {1: {"judge", "segmentor"}, 3: {"generator", "critic", "segmentor"}, 6: {"p1", "p2"}}


def test_frozen_segmentor_learns_in_pre_training_only():
    model = make(pretrain=2, gan_epochs=3, judge_epochs=2, segment_from=6, cotrain=False)
    assert stepped(model, epoch=1) == [JUDGE, "segmentor"]
    assert stepped(model, epoch=3) == ["critic", "generator"]


def test_rates_fall_at_the_published_epochs_of_synthesis():
    model = make(drops=True, lr=2e-4, pretrain=30, gan_epochs=100, segment_from=131)
    optimizers = model.optimizers()
    rates = {}
    for done in (1, 29, 30, 59, 60, 89, 90, 100):
        model.epoch = 30 + done
        fit.set_rates(optimizers, FLOAT32, 0.0)
        for name in ("critic", "generator", "segmentor"):
            next(iter(optimizers[name].param_groups[0]["params"])).grad = torch.zeros(1).expand_as(
                next(iter(optimizers[name].param_groups[0]["params"]))
            )
            optimizers[name].step()
        rates[done] = {round(optimizers[name].param_groups[0]["lr"], 9) for name in ("critic", "generator")}
    assert rates == {1: {2e-4}, 29: {2e-4}, 30: {1e-4}, 59: {1e-4}, 60: {5e-5}, 89: {5e-5}, 90: {1e-5}, 100: {1e-5}}


def test_paper_preset_has_the_stages_of_the_paper():
    fields = Config.__dataclass_fields__
    c = Config(**{key: value for key, value in PAPER.items() if key in fields})
    assert (c.pretrain, c.gan_epochs, c.segment_from, PAPER["epochs"]) == (30, 100, 131, 160)
    assert (c.base, c.critic_base, c.seg_base, c.seg_levels, c.size) == (64, 64, 64, 4, 128)
    assert PAPER["batch"] == 64 and (c.lr, c.seg_lr, c.reader_lr) == (2e-4, 1e-4, 1e-3)
    for name in RIVALS:
        theirs = method.preset(name, "paper")
        shared = Stages.__dataclass_fields__.keys() | {"epochs", "batch", "train", "test", "segmentation", "valid"}
        assert {k: v for k, v in theirs.items() if k in shared} == {k: v for k, v in PAPER.items() if k in shared}


def test_presets_give_all_arms_the_same_data_and_steps():
    for which in ("tiny", "demo"):
        assert all(method.preset(name, which) == method.preset("tcmgan", which) for name in RIVALS)
    shared = Stages.__dataclass_fields__
    defaults = [method.method_class(name).Config() for name in ("tcmgan", *RIVALS)]
    assert len({tuple(getattr(c, key) for key in shared) for c in defaults}) == 1


# ---------------------------------------------------------------- the judge is alike in every arm, and no part of any


def trained(name, **options):
    kind, changes = ARMS[name]
    model = make(kind, **changes)
    return fit.fit(model, small_data("brain").train, FLOAT32, seed=3)


def test_every_arm_has_the_same_judge_and_the_same_reader_of_acquired_images():
    models = {name: trained(name) for name in ARMS}
    judges = [weights(model, f"readers.nets.{JUDGE}") for model in models.values()]
    assert all(same(judges[0], one) for one in judges[1:])
    assert not same(judges[0], weights(make(), f"readers.nets.{JUDGE}")), "it learnt"
    readers = [weights(models[name], f"readers.nets.{P1}") for name in ("tcmgan", "mgan", "pix2pix")]
    assert same(*readers[:2]) and same(*readers[1:])
    adapted = [weights(models[name], f"readers.nets.{P2}") for name in ("tcmgan", "mgan", "pix2pix")]
    assert not same(*adapted[:2]) and not same(*adapted[1:]), "that of P2 learns from what its arm makes"


@pytest.mark.parametrize("name", ["tcmgan", "pix2pix"])
def test_segmentation_split_reaches_no_generator_and_the_gan_split_no_judge(name):
    batch = batch_of()
    spoilt = {key: torch.rand_like(value.float()).round().to(value.dtype) for key, value in batch.items()}
    parts = {"seg": ("generator", "critic", "segmentor"), "gan": (f"readers.nets.{JUDGE}", f"readers.nets.{P1}")}
    for side, kept in parts.items():
        changed = {k: spoilt[k] if k.startswith("seg_") == (side == "seg") else v for k, v in batch.items()}
        one, other = make(name), make(name)
        stepped(one, batch)
        stepped(other, changed)
        assert all(same(weights(one, part), weights(other, part)) for part in kept)
        assert not same(weights(one), weights(other)), "the change was seen by the others"


@pytest.mark.parametrize("name", ["tcmgan", "pix2pix"])
def test_prediction_looks_at_t2_alone(name):
    model, batch = make(name).eval(), small_data("brain").test.__getitems__(range(3))
    blind = batch | {key: 1 - batch[key] for key in ("target", "label", "foreground")}
    one, other = model.predict(batch), model.predict(blind)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert all(torch.equal(value, model.predict({"image": batch["image"]})[key]) for key, value in one.items())
    assert not torch.equal(one["color"], model.predict({"image": 1 - batch["image"]})["color"])


def test_t2_alone_is_all_that_the_lower_bound_sees():
    model, batch = make("acquired").eval(), small_data("brain").test.__getitems__(range(3))
    assert torch.equal(model.predict(batch)["mask"], model.predict(batch | {"target": 1 - batch["target"]})["mask"])
    upper = make("acquired", inputs="four").eval()
    nets = [count_of(net) for net in (model.net, upper.net, make().readers.nets[P2])]
    assert nets[1] == nets[2] and abs(nets[0] / nets[1] - 1) < 0.1


def test_bounds_learn_as_often_as_the_readers():
    settings = {"pretrain": 2, "gan_epochs": 3, "judge_epochs": 2, "segment_from": 6}
    for inputs, early in (("t2", []), ("four", [JUDGE])):
        model = make("acquired", inputs=inputs, **settings)
        assert [stepped(model, epoch=e) for e in (1, 3, 6)] == [early, [], ["net"]]


# ---------------------------------------------------------------- what is measured


def shapes(tumour):
    """A batch of one with a brain of 6 x 6 in 8 x 8 pixels and perhaps a tumour of 2 x 2 in it."""
    brain, label = torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16, dtype=torch.int16)
    brain[..., 2:14, 2:14] = 1
    if tumour:
        label[..., 4:8, 4:8] = 1
    return {"label": label, "foreground": brain.to(torch.int16)}


def test_contrast_by_hand():
    batch = shapes(tumour=True)
    image = torch.where(torch.arange(16) % 2 == 0, 0.4, 0.6).expand(1, 2, 16, 16).clone()
    image[..., 4:8, 4:8] = 0.9
    image[:, 1] = 1 - image[:, 1]
    found = contrast(image, batch["label"].float(), batch["foreground"].float())
    assert found[0].tolist() == pytest.approx([4, -4], rel=0.01), "signed: (0.9 - 0.5) / 0.1"
    assert contrast(image, *[shapes(False)[k].float() for k in ("label", "foreground")]).isnan().all()


def test_quality_by_hand():
    batch = shapes(tumour=True) | {"target": torch.full((1, 3, 16, 16), 0.5)}
    color = batch["target"].clone()
    color[:, 0] += 0.1
    color[:, 2, 4:8, 4:8] += 0.3
    found = {key: value.item() for key, value in quality(color, batch).items()}
    assert found["psnr_flair"] == pytest.approx(20, abs=1e-3) and found["psnr_t1ce"] == metrics.PSNR_CAP
    assert found["mae"] == pytest.approx((0.1 + 0.3 * 16 / 256) / 3, abs=1e-5)
    assert found["fg_mae"] == pytest.approx((0.1 + 0.3 * 16 / 144) / 3, abs=1e-5)
    assert found["mae_tumour"] == pytest.approx(0.4 / 3, abs=1e-5)
    assert found["psnr"] == pytest.approx(sum(found[f"psnr_{name}"] for name in TARGETS) / 3)
    assert math.isnan(quality(color, shapes(False) | {"target": batch["target"]})["mae_tumour"].item())


def test_reading_is_dice_of_the_sick_and_false_area_of_the_healthy():
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:8, 4:10] = 1
    sick, healthy = (reading(mask, shapes(tumour)) for tumour in (True, False))
    assert sick["dice"].item() == pytest.approx(2 * 16 / (16 + 24)) and sick["false_area"].isnan()
    assert healthy["false_area"].item() == pytest.approx(24 / 144) and healthy["dice"].isnan()
    assert reading(torch.zeros_like(mask), shapes(False))["false_area"].item() == 0


def test_networks_that_learnt_nothing_say_nothing():
    batch = small_data("brain").test.__getitems__(range(3))
    for name in ("tcmgan", "pix2pix"):
        model = make(name, pretrain=0, gan_epochs=3, judge_epochs=1, segment_from=5).eval()
        before = model.score(batch, model.predict(batch))
        assert all(before[key].isnan().all() for key in ("dice", "false_area", "dice_p1", "dice_p2", "dice_t1"))
        stepped(model, epoch=1)
        between = model.eval().score(batch, model.predict(batch))
        assert between["dice"].isfinite().any() and between["dice_p1"].isnan().all()
        stepped(model, epoch=5)
        after = model.eval().score(batch, model.predict(batch))
        assert after["dice_p1"].isfinite().any() and after["dice_p2"].isfinite().any()
    bound = make("acquired", segment_from=5).eval()
    assert bound.score(batch, bound.predict(batch))["dice_p1"].isnan().all()


def test_judge_is_shown_one_modality_at_a_time():
    readers, batch = Readers(Stages(size=32, reader_base=4)), small_data("brain").test.__getitems__(range(3))
    readers.trained += 1
    color = batch["target"].clone()
    one = readers.readings(batch["image"], color, batch)
    color[:, 1] = torch.rand_like(color[:, 1])
    other = readers.readings(batch["image"], color, batch)
    for key in ("dice_flair", "dice_t1"):
        torch.testing.assert_close(one[key], other[key], equal_nan=True)
    blind = readers.readings(torch.rand_like(batch["image"]), batch["target"], batch)
    torch.testing.assert_close(one["dice"], blind["dice"], equal_nan=True)


def test_mirroring_keeps_image_and_mask_together():
    draw, images = torch.tensor([0.2, 0.7]), torch.rand(2, 3, 4, 4)
    turned = mirrored(images, draw)
    assert torch.equal(turned[0], images[0].flip(2)) and torch.equal(turned[1], images[1])


def test_readers_learn_to_find_what_is_there():
    torch.manual_seed(0)
    readers, batch = Readers(Stages(size=32, reader_base=4, judge_epochs=9, segment_from=1)), batch_of(8)
    optimizers, first, last = readers.optimizers(), {}, {}
    for step in range(30):
        draw = Stream(step).rand(8, 2, device=torch.device("cpu"))
        for name, loss, _ in readers.updates(batch, 1, draw, lambda image: image.expand(-1, 3, -1, -1)):
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()
            first.setdefault(name, loss.item())
            last[name] = loss.item()
    assert set(last) == {JUDGE, P1, P2} and all(last[name] < 0.8 * first[name] for name in last)


# ---------------------------------------------------------------- rivals, arms and claims


def test_pix2pix_has_three_generators_like_the_one():
    one, three = make(base=8), make("pix2pix", base=8)
    shares = [count_of(net) / count_of(one.generator) for net in three.generators]
    assert len(shares) == 3 and all(abs(share - 1) < 0.1 for share in shares)
    assert three.generators[0].down[0][0].in_channels == 1


def test_pix2pix_makes_each_modality_from_its_own_network():
    model, image = make("pix2pix").eval(), torch.rand(2, 1, 32, 32)
    before = model.color(image)
    with torch.no_grad():
        model.generators[1].up[-1][1].bias += 1
    moved = (model.color(image) - before).abs().flatten(2).amax((0, 2))
    assert moved[0] == 0 and moved[1] > 0 and moved[2] == 0


@pytest.mark.parametrize("share", [False, True])
def test_pix2pix_of_shared_images_learns_from_each_once(share):
    model, batch = make("pix2pix", share=share), batch_of()
    sizes = []
    for net in model.generators:
        net.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    model.stream = Stream(0)
    names = [name for name, *_ in model.updates(batch) if name in ("critic", "generator")]
    made = sizes[3:]  # the reader of P2 asks for the segmentation split's first
    assert names == ["critic", "generator"] and sum(made) == (8 if share else 24)
    drawn_sizes = drawn(Stream(0).rand(4, 2, device=torch.device("cpu"))[:, 0]).bincount(minlength=3)
    assert not share or made[: len(made) // 2] == [n for n in drawn_sizes.tolist() if n]


def test_arms_of_the_comparison():
    arms = study.arms_of("tcmgan", ("rivals", "ablations", "variants"))
    assert set(arms) == {"tcmgan", *RIVALS, *ABLATIONS, "pix2pix-share", "acquired-four"} and FLOORS == ()
    assert arms["mgan"].config["seg_weight"] == 0
    named = {claim.other for claim in CLAIMS} | {claim.arm for claim in CLAIMS}
    assert named - {None} <= set(arms)


def test_claims_are_about_what_is_measured():
    batch = small_data("brain").test.__getitems__(range(3))
    known = {}
    for name in ("tcmgan", "mgan", "pix2pix", "acquired-four"):
        kind, changes = ARMS[name]
        model = make(kind, **changes).eval()
        known[name] = set(model.score(batch, model.predict(batch)))
    assert {claim.metric for claim in CLAIMS} | {metric for _, metric in tcmgan.TABLE} <= known["tcmgan"]
    assert "dice_inloop" in known["tcmgan"] and "dice_inloop" not in known["mgan"]
    assert {claim.metric for claim in CLAIMS if claim.other == "acquired"} <= known["acquired-four"]
    assert [claim.other for claim in CLAIMS if claim.kind == "must"] == ["mgan"]
    for metric, sign in (
        ("mae_tumour", -1),
        ("cnr_error", -1),
        ("false_area", -1),
        ("false_area_p1", -1),
        ("dice_p1", 1),
    ):
        assert compare.better(metric) == sign
