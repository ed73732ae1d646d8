"""The rivals and floors of colorization: each is the function its source describes, and no two are the same."""

import copy
import dataclasses
import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from kornia.color import lab_to_rgb, rgb_to_lab
from torch import nn

from workbench import method, metrics
from workbench.baselines import chromagan, colortable, cyclegan, dcgan
from workbench.data import anatomy
from workbench.errors import InvalidParameter
from workbench.fit import Budget, fit
from workbench.losses.adversarial import critic_loss
from workbench.models.lab import lightness, to_lab, to_rgb

LUMA = torch.tensor([0.299, 0.587, 0.114])
NARROW = {"base": 4, "critic_base": 4}
RIVALS = {
    "gan": ("gan", {}),
    "dcgan": ("dcgan", {"depth": 3}),
    "nazeri": ("dcgan", dcgan.ABLATIONS["nazeri"]),
    "chromagan": ("chromagan", {"vector": 8, "color_weight": 1.0}),
    "wgan": ("wgan", {"blocks": 1, "color_weight": 100.0}),
    "wgan_no_color": ("wgan", {"blocks": 1, "color_weight": 0.0}),
    "wgan_gp": ("wgan_gp", {"blocks": 1, "color_weight": 100.0}),
    "wgan_gp_no_color": ("wgan_gp", {"blocks": 1, "color_weight": 0.0}),
    "cyclegan": ("cyclegan", {"blocks": 1, "pool": 3, "cycle_weight": 10.0}),
}
every = pytest.mark.parametrize("rival", RIVALS)


@cache
def items():
    return anatomy.phantom(anatomy.Options(size=32, train=8, test=2, valid=2)).train


def batch_of(*numbers):
    return items().__getitems__(numbers)


def make(rival, **changes):
    name, settings = RIVALS[rival]
    cls = method.method_class(name)
    torch.manual_seed(0)
    return cls(cls.Config(**{**settings, **NARROW, **changes})).train()


def parameters(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


def advance(model, optimizers, batch, step):
    """One batch as the loop does it; yields the name of the side after its step and before the body resumes."""
    model.stream = method.Stream(seed=step)
    for name, loss, logs in model.updates(batch):
        optimizers[name].zero_grad()
        torch.autograd.backward(loss, inputs=parameters(optimizers[name]))
        optimizers[name].step()
        yield name, loss.item(), {key: float(value) for key, value in logs.items()}


def losses(model, batch):
    """Names and losses of one batch without any step."""
    model.stream = method.Stream(seed=7)
    return [(name, loss.item()) for name, loss, _ in model.updates(batch)]


class Constant(nn.Module):
    """A network that answers with one value everywhere."""

    def __init__(self, value, channels=3):
        super().__init__()
        self.value, self.channels = value, channels

    def forward(self, image):
        return torch.full((len(image), self.channels, *image.shape[2:]), self.value)


class Channel(nn.Module):
    """A critic whose scores are one channel of its input, an item's score thus linear in it."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, image):
        return image[:, self.number : self.number + 1]


def flat(image=0.5, target=0.75, count=2):
    region = torch.eye(7)[:1].repeat(count, 1)
    return {
        "image": torch.full((count, 1, 32, 32), image),
        "target": torch.full((count, 3, 32, 32), target),
        "region": region,
    }


def softplus(x):
    return math.log1p(math.exp(x))


PENALTY = 10 * (1 - 1 / 32) ** 2  # the critic's gradient is 1/1024 at each of 1024 pixels: its norm is 1/32


# ---------------------------------------------------------------- the losses, by hand


@pytest.mark.parametrize(
    ("rival", "expected"),
    [
        ("gan", [("critic", (softplus(-0.75) + softplus(0.25)) / 2), ("generator", softplus(-0.25))]),
        ("dcgan", [("critic", (softplus(-0.75) + softplus(0.25)) / 2), ("generator", softplus(-0.25))]),
        ("wgan", [("critic", -0.5), ("generator", -0.25 + 100)]),
        ("wgan_no_color", [("critic", -0.5), ("generator", -0.25)]),
        ("wgan_gp", [("critic", -0.5 + PENALTY), ("generator", -0.25 + 100)]),
        ("wgan_gp_no_color", [("critic", -0.5 + PENALTY), ("generator", -0.25)]),
    ],
)
def test_losses_of_conditional_rivals(rival, expected):
    model = make(rival)
    model.generator, model.critic = Constant(0.25), Channel(1)  # channel 0 is the grey image
    found = losses(model, flat())
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert [loss for _, loss in found] == pytest.approx([loss for _, loss in expected], rel=1e-5)


def test_losses_of_nazeri():
    model = make("nazeri")
    model.generator, model.critic = Constant(0.25), Channel(2)  # a of neutral grey is 0, scaled 0.5
    critic = (0.9 * softplus(-0.5) + 0.1 * softplus(0.5) + softplus(0.25)) / 2
    light = to_lab(torch.full((1, 3, 1, 1), 0.75))[0, 0].item()
    generator = softplus(-0.25) + 100 * 2 * (abs(light - 0.25) + 0.25 + 0.25) / 3
    found = losses(model, flat())
    assert [name for name, _ in found] == ["critic", "generator", "generator"]
    assert [loss for _, loss in found] == pytest.approx([critic, generator, generator], rel=1e-4)


def test_losses_of_chromagan():
    class Branches(nn.Module):
        def forward(self, light):
            return torch.full((len(light), 2, 32, 32), 0.25), torch.zeros(len(light), 7)

    model = make("chromagan")
    model.generator, model.critic = Branches(), Channel(1)
    expected = [-0.25 + PENALTY, 0.25**2 + 0.003 * math.log(7) - 0.1 * 0.25]
    assert [loss for _, loss in losses(model, flat())] == pytest.approx(expected, rel=1e-4)


def test_losses_of_cyclegan():
    model = make("cyclegan")
    model.colorize, model.discolor = Constant(0.25), Constant(0.625)
    model.color_critic, model.grey_critic = Channel(0), Channel(0)
    adversarial = 0.75**2 + 0.375**2
    cycle = 10 * (2 * 0.125 + 2 * 0.5)
    identity = 5 * (2 * 0.5 + 2 * 0.125)
    critic = (0.25**2 + 0.25**2) / 2 + (0.5**2 + 0.625**2) / 2
    found = losses(model, flat())
    assert [name for name, _ in found] == ["generator", "critic"]
    assert [loss for _, loss in found] == pytest.approx([adversarial + cycle + identity, critic], rel=1e-5)


def test_label_smoothing():
    real, fake = torch.tensor([0.3, -1.2]), torch.tensor([0.8, 0.1])
    assert dcgan.smoothed_loss(real, fake, 1.0) == pytest.approx(critic_loss(real, fake, "bce").item())
    logit = torch.tensor(math.log(9), requires_grad=True)  # the optimum for a label of 0.9
    (slope,) = torch.autograd.grad(dcgan.smoothed_loss(logit, fake, 0.9), logit)
    assert slope.item() == pytest.approx(0, abs=1e-6)


def test_class_loss():
    region, logits = torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])
    expected = (0.5 * math.log(2) + 0.5 * math.log(2 / 3) + math.log(2)) / 2
    assert chromagan.class_loss(region, logits).item() == pytest.approx(expected, rel=1e-6)
    assert chromagan.class_loss(torch.ones(3, 1), torch.randn(3, 1)).item() == 0
    assert chromagan.class_loss(region, region.clamp_min(1e-9).log()).item() == pytest.approx(0, abs=1e-6)


# ---------------------------------------------------------------- training


@every
def test_each_side_changes_only_itself(rival):
    model = make(rival)
    optimizers = model.optimizers()
    assert set(optimizers) == {"critic", "generator"}
    owned = {name: parameters(optimizer) for name, optimizer in optimizers.items()}
    assert sum(map(len, owned.values())) == len(list(model.parameters()))
    before = [p.detach().clone() for p in model.parameters()]
    for step in range(2):
        for name, loss, logs in advance(model, optimizers, batch_of(0, 1, 2), step):
            assert math.isfinite(loss) and all(map(math.isfinite, logs.values()))
            named = {id(p) for p in owned[name]}
            changed = [not torch.equal(p, old) for p, old in zip(model.parameters(), before)]
            assert not any(c for p, c in zip(model.parameters(), changed) if id(p) not in named)
            assert sum(changed) > len(named) / 2
            before = [p.detach().clone() for p in model.parameters()]
            if rival in ("wgan", "wgan_no_color") and name == "critic":  # clipped as the body resumes
                critic = [id(p) in named for p in model.parameters()]
                before = [p.clamp(-0.01, 0.01) if own else p for p, own in zip(before, critic)]


@every
def test_rival_draws_only_from_its_stream(rival):
    model, state = make(rival), torch.get_rng_state()
    losses(model, batch_of(0, 1))
    assert torch.equal(torch.get_rng_state(), state)


@every
def test_prediction(rival):
    model, batch = make(rival).eval(), batch_of(0, 1, 2)
    with torch.no_grad():
        prediction = model.predict(batch)
        alone = model.predict(batch_of(1))
    assert set(prediction) == {"color"} and prediction["color"].shape == (3, 3, 32, 32)
    assert prediction["color"].min() >= 0 and prediction["color"].max() <= 1
    assert torch.allclose(prediction["color"][1:2], alone["color"], atol=1e-5)
    scores = model.score(batch, prediction)
    assert scores["psnr"].shape == (3,) and "iou" not in scores


@pytest.mark.parametrize("rival", ["nazeri", "chromagan", "wgan", "wgan_gp"])
def test_color_loss_falls(rival):
    model = make(rival, lr=1e-3)
    optimizers, color = model.optimizers(), []
    for step in range(20):
        logs = {}
        for _, _, found in advance(model, optimizers, batch_of(0, 1, 2, 3), step):
            logs |= found
        color.append(logs["color"])
    assert color[-1] < 0.9 * color[0]


def test_no_two_rivals_are_the_same():
    signatures = {}
    for rival in RIVALS:
        model = make(rival)
        shapes = sorted((name.split(".")[0], tuple(p.shape)) for name, p in model.named_parameters())
        signatures[rival] = (shapes, losses(model, batch_of(0, 1, 2)))
    for one, other in itertools.combinations(RIVALS, 2):
        assert signatures[one] != signatures[other], (one, other)


def test_no_pixel_loss_means_none():
    """The generator's loss does not see whose colours the targets are, unless the rival has a colour loss."""
    other = batch_of(0, 1, 2) | {"target": batch_of(0, 1, 2)["target"].roll(1, 0)}
    for rival, free in {"gan": True, "dcgan": True, "wgan_no_color": True, "wgan": False, "nazeri": False}.items():
        mine, yours = losses(make(rival), batch_of(0, 1, 2)), losses(make(rival), other)
        assert mine[0] != yours[0], rival  # the critic's does
        assert (mine[1] == yours[1]) == free, rival


def test_what_critics_see():
    channels = {"gan": 4, "dcgan": 4, "nazeri": 4, "chromagan": 3, "wgan": 4, "wgan_gp": 4}
    for rival, count in channels.items():
        first = next(p for p in make(rival).critic.parameters())
        assert first.shape[1] == count, rival
    model = make("cyclegan")
    assert [next(side.parameters()).shape[1] for side in (model.color_critic, model.grey_critic)] == [3, 3]


@pytest.mark.parametrize("name", ["gan", "dcgan", "chromagan", "wgan", "wgan_gp", "cyclegan", "grey", "colortable"])
def test_presets_and_ablations_are_valid(name):
    source, cls = method.module(name), method.method_class(name)
    known = {field.name for field in dataclasses.fields(cls.Config)}
    cls.Config(**{key: value for key, value in source.PAPER.items() if key in known})
    assert set(source.PAPER) - known <= {"size", "train", "test", "epochs", "batch", "schedule"}
    for changes in getattr(source, "ABLATIONS", {}).values():
        assert cls.Config(**changes) != cls.Config()


# ---------------------------------------------------------------- what each source asks for


def test_wgan_clips_after_every_critic_step():
    """The body clips as it resumes: what it then yields was computed with weights inside the limit."""
    model = make("wgan", critic_steps=3)
    largest = lambda: max(p.abs().max() for p in model.critic.parameters()).item()  # noqa: E731
    optimizers, sizes = model.optimizers(), [largest()]
    model.stream = method.Stream()
    for name, loss, _ in model.updates(batch_of(0, 1)):
        sizes.append(largest())
        torch.autograd.backward(loss, inputs=parameters(optimizers[name]))
        optimizers[name].step()
        if name == "critic":
            assert largest() > 0.01
    assert sizes[0] > 0.05 and sizes[1] == sizes[0]
    assert len(sizes) == 5 and max(sizes[2:]) == pytest.approx(0.01)


def test_wgan_critic_has_no_sigmoid():
    critic = make("wgan").critic
    assert isinstance(list(critic)[-1], nn.Conv2d)
    scores = critic(100 * torch.randn(2, 4, 32, 32))
    assert scores.min() < 0 or scores.max() > 1


def test_critic_steps_are_counted():
    for rival in ("gan", "wgan", "wgan_gp", "chromagan"):
        assert [name for name, _ in losses(make(rival, critic_steps=2), batch_of(0, 1))] == [
            "critic", "critic", "generator",
        ]  # fmt: skip


def test_dcgan_weights_start_gaussian():
    model = method.method_class("dcgan")(dcgan.Config())
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    joined = torch.cat([weight.detach().flatten() for weight in weights])
    assert joined.std().item() == pytest.approx(0.02, rel=0.02) and abs(joined.mean().item()) < 2e-4
    scales = torch.cat([m.weight.detach() for m in model.modules() if isinstance(m, nn.BatchNorm2d)])
    assert scales.mean().item() == pytest.approx(1, abs=0.005) and scales.std().item() == pytest.approx(0.02, rel=0.2)


def test_dcgan_layers():
    model = make("dcgan")
    kinds = {type(m) for m in model.modules()}
    assert not kinds & {nn.MaxPool2d, nn.Upsample, nn.AvgPool2d} and nn.ConvTranspose2d in kinds
    assert {m.negative_slope for m in model.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize(("rival", "skips"), [("dcgan", False), ("nazeri", True)])
def test_skips(rival, skips):
    """Where the innermost features are blotted out, only skips can still carry the image."""
    model = make(rival).eval()
    inner = model.generator.encoder[-1] if skips else model.generator[model.config.depth - 1]
    inner.register_forward_hook(lambda part, given, out: torch.zeros_like(out))
    one, other = (model.generator(batch_of(n)["image"]) for n in (0, 1))
    assert torch.equal(one, other) != skips


def test_nazeri_rates_and_steps():
    model = make("nazeri")
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in model.optimizers().items()}
    assert rates == pytest.approx({"generator": 3e-4, "critic": 3e-5})
    assert [name for name, _ in losses(model, batch_of(0, 1))] == ["critic", "generator", "generator"]
    target = batch_of(0, 1)["target"]
    model.generator.forward = lambda image: to_lab(target)
    assert torch.allclose(model.predict(batch_of(0, 1))["color"], target, atol=2e-3)


def test_chromagan_keeps_lightness():
    model, batch = make("chromagan").eval(), batch_of(0, 1, 2)
    light = lightness(batch["image"])
    with torch.no_grad():
        ab, _ = model.generator(light)
        color = model.predict(batch)["color"]
    raw = lab_to_rgb(torch.cat([100 * light, 220 * ab - 110], 1), clip=False)
    inside = ((raw >= 0) & (raw <= 1)).all(1)
    assert inside.float().mean() > 0.3
    found = rgb_to_lab(color)[:, 0]
    assert (found - 100 * light[:, 0])[inside].abs().max() < 0.1


def test_chromagan_classes_must_match():
    with pytest.raises(InvalidParameter, match="regions=7"):
        losses(make("chromagan", regions=1), batch_of(0, 1))
    one = batch_of(0, 1) | {"region": torch.ones(2, 1)}
    logs = [logs for _, _, logs in make("chromagan", regions=1).updates(one)]
    assert logs[-1]["class"].item() == 0


def test_chromagan_uses_the_whole_image():
    """The tiled vector carries a change in one corner to the opposite one, further than convolutions reach."""
    model = make("chromagan").eval()
    light = torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(0)).requires_grad_(True)

    def reach():
        (slope,) = torch.autograd.grad(model.generator(light)[0][..., -1, -1].sum(), light)
        return slope[..., :32, :32].abs().sum()

    assert reach() > 0
    model.generator.describe.register_forward_hook(lambda part, given, out: out.detach())
    assert reach() == 0


def test_lab_is_float32_under_autocast():
    target = batch_of(0, 1)["target"]
    with torch.autocast("cpu", torch.bfloat16):
        inside = to_lab(target)
        back = to_rgb(inside)
    assert torch.equal(inside, to_lab(target)) and torch.equal(back, to_rgb(inside))
    assert torch.allclose(back, target, atol=2e-3)
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))[..., None, None]
    assert to_lab(corners).min() >= -1e-5 and to_lab(corners).max() <= 1 + 1e-5


# ---------------------------------------------------------------- CycleGAN


def luma(color):
    return (color.movedim(1, -1) * LUMA).sum(-1)[:, None]


@pytest.mark.parametrize("count", [2, 3, 8])
def test_cyclegan_never_pairs(count):
    model, batch = make("cyclegan"), batch_of(*range(count))
    color = model.unpaired(batch["image"], batch["target"])
    same = (luma(color) - batch["image"]).abs().flatten(1).amax(1)
    assert same.min() > 0.02  # the luma of the own colours is the image, to a 255th
    assert torch.equal(color.sum((0, 2, 3)).round(), batch["target"].sum((0, 2, 3)).round())


def test_cyclegan_with_one_item_takes_the_last_colors():
    model = make("cyclegan")
    seen = []
    model.generator_terms = lambda grey, color, *made: seen.append((grey, color)) or {"gan": made[0].mean()}
    names = [[name for name, _ in losses(model, batch_of(n))] for n in (0, 1, 1, 2)]
    both = ["generator", "critic"]
    assert names == [[], both, [], both]  # nothing to go with the first, nor with the item that comes again
    assert torch.equal(seen[0][1], batch_of(0)["target"]) and torch.equal(seen[1][1], batch_of(1)["target"])
    assert all((luma(color) - grey[:, :1]).abs().max() > 0.02 for grey, color in seen)


def test_pool_exchanges_by_the_draws():
    pool = cyclegan.Pool(2)
    images = torch.arange(1.0, 6.0)[:, None, None, None]
    draws = torch.tensor([[0.0, 0.0], [0.9, 0.9], [0.4, 0.9], [0.6, 0.0], [0.1, 0.99]])
    assert pool.exchange(images, draws).flatten().tolist() == [1, 2, 2, 4, 3]
    assert pool.images.flatten().tolist() == [1, 5]
    assert cyclegan.Pool(0).exchange(images, draws).flatten().tolist() == [1, 2, 3, 4, 5]


def test_pool_returns_history_half_the_time():
    pool, stream = cyclegan.Pool(50), method.Stream(seed=3)
    images = torch.arange(2050.0)[:, None, None, None]
    draws = stream.rand(2050, 2, device=torch.device("cpu"))
    shown = pool.exchange(images, draws).flatten()
    assert torch.equal(shown[:50], images[:50].flatten())
    old = (shown != images.flatten())[50:].float().mean().item()
    assert old == pytest.approx(0.5, abs=0.04)
    kept = pool.images.flatten().tolist()
    assert sorted(shown.tolist() + kept) == sorted([*range(50), *range(2050)])  # each is shown once more than kept


def test_pool_detaches():
    pool, image = cyclegan.Pool(2), torch.ones(1, 3, 4, 4, requires_grad=True)
    assert not pool.exchange(2 * image, torch.zeros(1, 2)).requires_grad and not pool.images.requires_grad


@pytest.mark.parametrize("count", [1, 2])
def test_cyclegan_resumes_bit_equal(count, tmp_path):
    def steps(model, optimizers, first, last):
        found = []
        for step in range(first, last):
            batch = batch_of(*((step * count + n) % 8 for n in range(count)))
            found += [loss for _, loss, _ in advance(model, optimizers, batch, step)]
        return found

    model = make("cyclegan")
    optimizers = model.optimizers()
    steps(model, optimizers, 0, 4)
    state = {"model": model.state_dict(), **{name: o.state_dict() for name, o in optimizers.items()}}
    torch.save(state, tmp_path / "state.pt")
    expected = steps(model, optimizers, 4, 7)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    other = make("cyclegan")
    other.load_state_dict(state["model"])
    assert len(other.color_pool.images) == 3
    again = other.optimizers()
    for name, optimizer in again.items():
        optimizer.load_state_dict(state[name])
    assert steps(other, again, 4, 7) == expected
    assert torch.equal(other.color_pool.images, model.color_pool.images)


def test_empty_pool_loads_over_a_full_one():
    fresh, used = make("cyclegan"), make("cyclegan")
    for _ in advance(used, used.optimizers(), batch_of(0, 1), 0):
        pass
    used.load_state_dict(copy.deepcopy(fresh).state_dict())
    assert len(used.color_pool.images) == 0 and len(used.memory.images) == 0


def test_pool_is_no_weight():
    """What is published of a run holds tensors only, and must not hold pictures of its training items."""
    model = make("cyclegan")
    for step, numbers in enumerate(((0, 1), (2,))):
        for _ in advance(model, model.optimizers(), batch_of(*numbers), step):
            pass
    tensors = {key for key, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    assert tensors == {name for name, _ in model.named_parameters()}
    assert len(model.color_pool.images) > 0 and len(model.memory.images) == 1


@pytest.mark.parametrize("rival", [*RIVALS, "grey", "colortable"])
def test_the_loop_serves_it_and_averages_it(rival):
    if rival in RIVALS:
        model = make(rival)
    else:
        cls = method.method_class(rival)
        model = cls(cls.Config())
    ema = 0.5 if rival in RIVALS else 0.0  # floors have nothing to average
    budget = Budget(epochs=2, batch=4, ema=ema, precision="float32", device="cpu", valid_every=0)
    fit(model, items(), budget)
    with torch.no_grad():
        color = model.eval().predict(batch_of(0, 1))["color"]
    assert torch.isfinite(color).all() and color.shape == (2, 3, 32, 32)


# ---------------------------------------------------------------- floors


def count_all(model, order=range(8), size=3):
    for start in range(0, len(order), size):
        assert list(model.updates(batch_of(*order[start : start + size]))) == []
    return model


def table_model():
    return colortable.ColorTable(colortable.Config())


def test_color_table_is_the_mean_by_level():
    model = count_all(table_model())
    batch = batch_of(*range(8))
    grey, color = (batch["image"].numpy() * 255).round().astype(int), batch["target"].numpy().astype(float)
    sums, counts = np.zeros((256, 3)), np.zeros(256)
    for item, row, column in np.ndindex(8, 32, 32):
        level = grey[item, 0, row, column]
        sums[level] += color[item, :, row, column]
        counts[level] += 1
    seen = np.flatnonzero(counts)
    assert 0 < len(seen) < 256
    expected = [np.interp(np.arange(256), seen, sums[seen, n] / counts[seen]) for n in range(3)]
    found = colortable.table(model.counts, model.sums)
    assert np.abs(found.numpy() - np.stack(expected, 1)).max() < 1e-9
    assert torch.equal(model.counts, torch.from_numpy(counts))
    predicted = model.predict(batch)["color"]
    assert predicted.shape == (8, 3, 32, 32) and predicted.dtype == torch.float32
    assert torch.allclose(predicted[2, :, 5, 7].double(), found[grey[2, 0, 5, 7]], atol=1e-6)


def test_levels_are_rounded():
    assert colortable.levels(torch.tensor([0.4, 0.6, 127.5, 254.6, 300.0]) / 255).tolist() == [0, 1, 128, 255, 255]


def test_color_table_fills_empty_levels():
    counts, sums = torch.zeros(256, dtype=torch.float64), torch.zeros(256, 3, dtype=torch.float64)
    counts[10], sums[10] = 2, torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    counts[14], sums[14] = 1, torch.tensor([0.0, 0.1, 0.4], dtype=torch.float64)
    found = colortable.table(counts, sums)
    assert found[11].tolist() == pytest.approx([0.75, 0.4, 0.1])
    assert found[0].tolist() == found[10].tolist() == [1.0, 0.5, 0.0]
    assert found[255].tolist() == found[14].tolist() == pytest.approx([0.0, 0.1, 0.4])


def test_color_table_ignores_order_and_repeats():
    once, twice = count_all(table_model()), count_all(count_all(table_model(), size=2), order=range(7, -1, -1), size=5)
    assert torch.equal(twice.counts, 2 * once.counts)
    tables = [colortable.table(model.counts, model.sums) for model in (once, twice)]
    assert torch.allclose(*tables, atol=1e-12)
    assert table_model().optimizers() == {} and once.counts.dtype == torch.float64


def test_color_table_adds_up_processes(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda part: part.mul_(2))
    model = count_all(table_model())
    assert model.counts.sum() == 2 * 8 * 32 * 32


def test_color_table_state_round_trip():
    model, other = count_all(table_model()), table_model()
    assert torch.allclose(other.predict(batch_of(0))["color"], batch_of(0)["image"].expand(-1, 3, -1, -1))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.predict(batch_of(0))["color"], model.predict(batch_of(0))["color"])


def test_color_table_is_the_best_of_all_tables():
    """Least squares: no per-level colours, grey among them, have a smaller error on the counted data."""
    model, batch = count_all(table_model()), batch_of(*range(8))
    error = metrics.mse(model.predict(batch)["color"], batch["target"]).mean()
    grey = metrics.mse(batch["image"].expand(-1, 3, -1, -1), batch["target"]).mean()
    model.sums += 0.01 * model.counts[:, None]
    worse = metrics.mse(model.predict(batch)["color"], batch["target"]).mean()
    assert error < grey and error < worse


def test_grey_floor():
    cls = method.method_class("grey")
    model, batch = cls(cls.Config()), batch_of(0, 1)
    assert list(model.updates(batch)) == [] and model.optimizers() == {} and not model.state_dict()
    color = model.predict(batch)["color"]
    assert all(torch.equal(color[:, n], batch["image"][:, 0]) for n in range(3))
    scores = model.score(batch, {"color": color})
    error = np.mean((color.numpy() - batch["target"].numpy()) ** 2, (1, 2, 3))
    assert scores["psnr"].numpy() == pytest.approx(-10 * np.log10(error), rel=1e-4)
    assert scores["leakage"].max() < 0.1
