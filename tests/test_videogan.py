"""VideoGAN and its rivals: the X, who is paired with whom, every term, the one judge for all, the scores."""

import functools
import math

import pytest
import torch
from conftest import FLOAT32, small_data, small_method
from torch import nn

from workbench import compare, fit, method
from workbench.baselines import histmatch, reinhard, unit
from workbench.errors import InvalidImage, InvalidParameter
from workbench.fit import Budget
from workbench.losses.histogram import histogram, wasserstein
from workbench.method import Stream
from workbench.methods import videogan
from workbench.methods.videogan import XGenerator, paired
from workbench.models import videos
from workbench.models.cycle import Framewise, recolored

ADAPTERS = ("videogan", "cyclegan_frames", "unit")
ARMS = (*ADAPTERS, "direct", "histmatch", "reinhard")
TERMS = {"adv", "cycle", "hist", "identity"}


def make(name="videogan", epoch=1, **changes):
    model = small_method(name, **changes)
    model.epoch, model.stream = epoch, Stream(0)
    return model


def batch_of(count=4):
    return small_data("endoscopy").train.__getitems__(range(count))


def bodies(model, batch=None, seed=0):
    """All updates of one batch without a step of any optimizer, by side: (loss, logs)."""
    model.stream = Stream(seed)
    return {side: (loss, logs) for side, loss, logs in model.updates(batch or batch_of())}


def trained(name, steps=2, batch=None, **changes):
    model = make(name, **changes)
    optimizers = model.optimizers()
    for step in range(steps):
        fit.step(model, optimizers, [batch or batch_of()], step, FLOAT32, bf16=False)
    return model


def weights_of(module):
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


class Spy(nn.Module):
    """A generator or critic that keeps what it is shown."""

    def __init__(self, net):
        super().__init__()
        self.net, self.seen = net, []

    def forward(self, frames):
        self.seen.append(frames.detach().clone())
        return self.net(frames)


class Brighter(nn.Module):
    """A generator that adds to each frame a share of what its partner is brighter."""

    def forward(self, frames):
        return frames + 0.1 * (frames.flip(1) - frames)


def marked(count=4):
    """A batch in which a frame's brightness tells its clip (tenths) and its time (hundredths)."""
    batch = dict(batch_of(count))
    times = torch.arange(batch["image"].shape[2]).view(1, 1, -1, 1, 1) / 100
    for key, first in (("image", 0), ("target", 4)):
        clips = (first + torch.arange(count)).view(-1, 1, 1, 1, 1) / 10
        batch[key] = (clips + times).expand_as(batch[key]).contiguous()
        stranger = "stranger" if key == "image" else "target_stranger"
        batch[stranger] = batch[key].roll(1, 0)
    return batch


def told(frames):
    """The (clip, time) of marked frames (B, n, 3, H, W)."""
    value = (100 * frames.mean((2, 3, 4))).round().long()
    return (value // 10).tolist(), (value % 10).tolist()


# ---------------------------------------------------------------- the X


@functools.cache
def generator():
    torch.manual_seed(0)
    return XGenerator(8, 2).eval()


def test_swapping_the_frames_swaps_the_results():
    frames = uniform(3, 2, 3, 32, 32)
    found, swapped = generator()(frames), generator()(frames.flip(1))
    assert found.shape == frames.shape and found.min() >= 0 and found.max() <= 1
    torch.testing.assert_close(swapped, found.flip(1), atol=1e-6, rtol=0)


def test_each_result_depends_on_both_frames():
    frames = uniform(1, 2, 3, 16, 16).requires_grad_()
    for arm in (0, 1):
        (gradient,) = torch.autograd.grad(generator()(frames)[:, arm].sum(), frames)
        assert all((gradient[:, n].abs() > 0).float().mean() > 0.9 for n in (0, 1))


def test_the_second_frame_is_not_ignored():
    """Neither at first nor after some training does the result of a frame hardly depend on its partner."""
    for model in (make(base=8), trained("videogan", steps=8, base=8)):
        batch = batch_of()
        image, stranger = batch["image"][:, :, 0], batch["stranger"][:, :, 0]
        forth = model.cycle.forth.eval()
        with torch.no_grad():
            own, other = (forth(torch.stack([image, partner], 1))[:, 0] for partner in (image, stranger))
        assert (other - own).abs().mean() > 0.01 * (own - image).abs().mean()


def test_the_one_frame_generator_looks_at_one_frame():
    torch.manual_seed(0)
    single, frames = Framewise(8, 2).eval(), uniform(1, 2, 3, 16, 16).requires_grad_()
    (gradient,) = torch.autograd.grad(single(frames)[:, 0].sum(), frames)
    assert gradient[:, 0].abs().sum() > 0 and not gradient[:, 1].any()


def test_two_equal_frames_are_translated_alike():
    one = uniform(2, 1, 3, 16, 16).expand(-1, 2, -1, -1, -1)
    found = generator()(one)
    torch.testing.assert_close(found[:, 0], found[:, 1])


def test_recolouring_by_hand():
    image = uniform(1, 3, 8, 8)
    none = torch.zeros(1, 6, 8, 8)
    torch.testing.assert_close(recolored(image, none), image, atol=0.006, rtol=0)
    change = none.clone()
    change[:, 4] = 0.5  # the green channel's brightness
    found = recolored(torch.full((1, 3, 8, 8), 0.5), change)[0, :, 0, 0]
    assert found.tolist() == pytest.approx([0.5, (1 + math.tanh(0.5)) / 2, 0.5])
    change = none.clone()
    change[:, 0] = 50.0  # the red channel's contrast, at most e times as much
    found = recolored(torch.full((1, 3, 8, 8), 0.6), change)[0, :, 0, 0]
    wanted = (1 + math.tanh(math.e * math.atanh(0.99 * 0.2))) / 2
    assert found[0].item() == pytest.approx(wanted, abs=1e-5) and found[1].item() == pytest.approx(0.6, abs=2e-3)


def test_black_and_white_have_a_finite_gradient():
    extremes = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)]).requires_grad_()
    recolored(extremes, torch.zeros(2, 6, 4, 4)).sum().backward()
    assert torch.isfinite(extremes.grad).all()


def test_arms_have_equally_large_generators():
    """Within 10 %, as the comparison asks; at the sizes of the tiny preset."""
    sizes = {}
    for name in ADAPTERS:
        cls = method.method_class(name)
        model = cls(cls.Config())
        (group,) = model.optimizers()["generator"].param_groups
        sizes[name] = sum(p.numel() for p in group["params"])
    single = method.method_class("videogan")
    model = single(single.Config(shape="single"))
    sizes["one_frame"] = sum(p.numel() for p in model.cycle.generators())
    assert max(sizes.values()) < 1.1 * min(sizes.values()), sizes


# ---------------------------------------------------------------- pairs


def test_a_pair_has_two_different_frames_of_one_video():
    model = make()
    for seed in range(12):
        model.stream = Stream(seed)
        for side, first in (("image", 0), ("target", 4)):
            clips, times = told(model.pair(marked(), side))
            assert clips == [[first + n] * 2 for n in range(4)]
            assert all(one != other for one, other in times)


def test_pairs_stay_within_the_clips_own_frames():
    batch = marked()
    batch["length"], batch["target_length"] = torch.tensor([2, 3, 2, 4]), torch.tensor([2, 2, 2, 2])
    for seed in range(20):
        model = make()
        model.stream = Stream(seed)
        for side, length in (("image", [2, 3, 2, 4]), ("target", [2] * 4)):
            _, times = told(model.pair(batch, side))
            assert all(max(pair) < own for pair, own in zip(times, length, strict=True))


def test_every_pair_of_frames_is_as_likely():
    grid = (torch.arange(60) + 0.5) / 60
    draws = torch.cartesian_prod(grid, grid)
    pairs = videos.two_frames(torch.full((len(draws),), 4), draws)
    counts = torch.bincount(4 * pairs[:, 0] + pairs[:, 1], minlength=16).view(4, 4)
    assert counts.diagonal().tolist() == [0] * 4
    assert set(counts[~torch.eye(4, dtype=torch.bool)].tolist()) == {300}


def test_the_control_pairs_different_videos():
    model = make(pairing="strangers")
    for side, first in (("image", 0), ("target", 4)):
        clips, _ = told(model.pair(marked(), side))
        assert clips == [[first + n, first + (n - 1) % 4] for n in range(4)]


def test_only_the_control_sees_strangers():
    batch = batch_of()
    other = batch | {key: torch.rand_like(batch[key]) for key in ("stranger", "target_stranger")}
    for changes, same in (({}, True), ({"pairing": "strangers"}, False)):
        one, another = (trained("videogan", batch=part, **changes) for part in (batch, other))
        assert torch.equal(weights_of(one.cycle), weights_of(another.cycle)) == same
        colors = [one.eval().predict(part)["color"] for part in (batch, other)]
        assert torch.equal(*colors) == same


def test_partners_go_around_the_end_of_the_clip():
    length = torch.tensor([5, 5, 2])
    assert videos.partners(length, 0, 2).tolist() == [[2, 3], [2, 3], [1, 1]]
    assert videos.partners(length, 4, 2).tolist()[:2] == [[1, 2], [1, 2]]
    assert videos.partners(torch.tensor([8]), 6, 2).tolist() == [[0, 4]]


def test_results_of_a_frame_are_averaged():
    video = (torch.arange(5.0) / 10).view(1, 1, 5, 1, 1).expand(1, 3, 5, 4, 4)
    found = videos.translated(Brighter(), video, video, torch.tensor([5]), 2)[0, 0, :, 0, 0]
    for time in range(5):
        others = [((time + step) % 5) / 10 for step in (2, -2)]
        wanted = sum(time / 10 + 0.1 * (other - time / 10) for other in others) / 2
        assert found[time].item() == pytest.approx(wanted, abs=1e-6)


def test_that_is_every_pair_translated_once_with_both_its_results():
    video, length = uniform(2, 3, 5, 16, 16), torch.tensor([5, 5])
    found = videos.translated(generator(), video, video, length, 2)
    sums = torch.zeros_like(video)
    for time in range(5):
        pair = generator()(video[:, :, [time, (time + 2) % 5]].transpose(1, 2))
        sums[:, :, time] += pair[:, 0]
        sums[:, :, (time + 2) % 5] += pair[:, 1]
    torch.testing.assert_close(found, sums / 2, atol=1e-5, rtol=0)


def test_a_video_is_translated_as_frame_by_frame_at_half_of_the_cost():
    video, length, calls = uniform(5, 3, 6, 16, 16), torch.tensor([6, 5, 3, 2, 1]), []
    forth = generator()
    forth.register_forward_hook(lambda *_: calls.append(1))
    found, wanted = paired(forth, video, length, 2), videos.translated(forth, video, video, length, 2)
    assert len(calls) == 6 + 12
    for one, other, count in zip(found, wanted, length.tolist(), strict=True):
        torch.testing.assert_close(one[:, :count], other[:, :count], atol=1e-6, rtol=0)
        assert torch.equal(one[:, count:], one[:, count - 1 : count].expand_as(one[:, count:]))


def test_padding_does_not_change_a_translation():
    model, batch = make().eval(), dict(batch_of(2))
    batch["length"] = torch.tensor([5, 5])
    found = model.predict(batch)["color"][:, :, :5]
    batch["image"] = batch["image"].clone()
    batch["image"][:, :, 5:] = 0.5
    torch.testing.assert_close(model.predict(batch)["color"][:, :, :5], found)


# ---------------------------------------------------------------- terms


def test_every_term_has_its_name_and_sums_to_the_loss():
    loss, logs = bodies(make(identity_weight=5.0))["generator"]
    assert set(logs) == TERMS
    assert loss.item() == pytest.approx(sum(float(value) for value in logs.values()), rel=1e-5)


def still():
    """A model whose generators leave frames as they are."""
    model = make(identity_weight=5.0)
    model.cycle.forth, model.cycle.back = nn.Identity(), nn.Identity()
    return model


def test_terms_of_generators_that_change_nothing():
    model, batch = still(), batch_of()
    _, logs = bodies(model, batch)["generator"]
    assert logs["cycle"] == 0 and logs["identity"] == 0
    model.stream = Stream(0)
    model.rand(4, model.config.judge_frames)
    real = {side: model.pair(batch, side) for side in ("image", "target")}
    apart = []
    for frame in range(2):
        for other, side in (("target", "image"), ("image", "target")):
            wanted = histogram(real[other].transpose(1, 2), model.config.bins)
            apart.append(wasserstein(histogram(real[side][:, frame], model.config.bins), wanted).mean())
    both = (sum(apart) / 2).item()  # the mean over two frames, the sum over two directions
    assert float(logs["hist"]) == pytest.approx(model.config.hist_weight * both, rel=1e-5)
    sides = (("target", "image"), ("image", "target"))
    judged = [model.cycle.critic(side)(real[other].flatten(0, 1)) for side, other in sides]
    wanted = sum(2 * (score - 1).square().mean() for score in judged)
    assert float(logs["adv"]) == pytest.approx(wanted.item(), rel=1e-5)


def test_cycle_by_hand():
    """There 0.1 is added, back 0.3 is taken away: 0.2 of [0, 1] is 0.4 of [-1, 1], twice, for two frames."""
    model = make()

    class Add(nn.Module):
        def __init__(self, step):
            super().__init__()
            self.step = step

        def forward(self, frames):
            return frames + self.step

    model.cycle.forth, model.cycle.back = Add(0.1), Add(-0.3)
    _, logs = bodies(model)["generator"]
    assert float(logs["cycle"]) == pytest.approx(2 * 10 * (0.4 + 0.4), rel=1e-4)


def test_histogram_term_is_the_cards_formula():
    """(1/6) sum over frames, channels and bins of |H(made) - H(ref)| / bins, H cumulative."""
    model = make()
    made, wanted = uniform(1, 2, 3, 8, 8), histogram(uniform(1, 3, 2, 8, 8, seed=1), 32)
    total = 0.0
    for frame in range(2):
        sums = histogram(made[:, frame], 32).cumsum(-1) - wanted.cumsum(-1)
        total += sums.abs()[..., :-1].sum().item() / 31
    assert model.colors(made, wanted).item() == pytest.approx(total / 6, rel=1e-5)


@pytest.mark.parametrize(("changes", "terms"), [
    ({}, {"adv", "cycle", "hist"}), ({"hist_weight": 0.0}, {"adv", "cycle"}), ({"identity_weight": 1.0}, TERMS),
])  # fmt: skip
def test_a_term_without_weight_is_left_out(changes, terms):
    assert set(bodies(make(**changes))["generator"][1]) == terms


def test_the_reference_of_the_domain_is_the_mean_of_what_was_seen():
    model = make(reference="domain", bins=16)
    batches = [uniform(2, 2, 3, 8, 8, seed=seed) for seed in range(3)]
    own = [histogram(real.transpose(1, 2), 16) for real in batches]
    for number, real in enumerate(batches):
        wanted = model.wanted(real, "target")
        torch.testing.assert_close(wanted, torch.cat(own[: number + 1]).mean(0).expand(2, -1, -1))
    assert torch.equal(model.wanted(batches[0], "image"), own[0].mean(0).expand(2, -1, -1)), "each side has its own"


def test_colors_pull_at_the_generator():
    for distance in ("wasserstein", "l2"):
        model = make(distance=distance, cycle_weight=0.0)
        loss = bodies(model)["generator"][0]
        loss.backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.cycle.generators())


def test_critics_learn_after_the_generator_and_get_frames_alone():
    model = make()
    model.cycle.critic_target = Spy(model.cycle.critic_target)
    sides = list(bodies(model))
    assert sides == ["judge", "generator", "critic_target", "critic_image"]
    assert {tuple(seen.shape) for seen in model.cycle.critic_target.seen} == {(8, 3, 32, 32)}
    assert len(model.cycle.pool_target.images) == model.config.pool


def test_ablations_change_what_they_say():
    shapes = {name: videogan.Config(**change) for name, change in videogan.ABLATIONS.items()}
    assert shapes["no_hist"].hist_weight == 0 and shapes["one_frame"].shape == "single"
    assert shapes["strangers"].pairing == "strangers" and shapes["l2_hist"].distance == "l2"
    assert isinstance(make(shape="single").cycle.forth, Framewise) and isinstance(make().cycle.forth, XGenerator)


def test_one_frame_without_the_histogram_loss_is_cyclegan():
    one, other = trained("videogan", shape="single", hist_weight=0.0), trained("cyclegan_frames")
    for part in ("judge", "cycle"):
        assert torch.equal(weights_of(getattr(one, part)), weights_of(getattr(other, part)))


# ---------------------------------------------------------------- the judge


def test_all_arms_have_the_same_judge():
    """The same weights after training, bit by bit, so that only what is shown to it differs."""
    judges = {name: weights_of(trained(name).judge) for name in (*ARMS, "oracle")}
    for name in ARMS:
        assert torch.equal(judges[name], judges["direct"]), name
    assert not torch.equal(judges["oracle"], judges["direct"])
    for change in videogan.ABLATIONS.values():
        assert torch.equal(weights_of(trained("videogan", **change).judge), judges["direct"])


@pytest.mark.parametrize("name", ARMS)
def test_no_arm_but_the_oracle_reads_labels_of_the_translated_centre(name):
    batch = batch_of()
    blind = batch | {"label": torch.full_like(batch["label"], -1)}
    one, other = (trained(name, batch=part) for part in (batch, blind))
    assert torch.equal(weights_of(one), weights_of(other))


def test_the_oracle_asks_for_those_labels():
    batch = batch_of()
    with pytest.raises(InvalidImage, match="oracle: expected a label map") as caught:
        trained("oracle", batch=batch | {"label": torch.full_like(batch["label"], -1)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_translator_reads_no_label_at_all(name):
    batch = batch_of()
    other = batch | {"target_label": 1 - batch["target_label"]}
    one, another = (trained(name, batch=part) for part in (batch, other))
    assert not torch.equal(weights_of(one.judge), weights_of(another.judge))
    for side in ("generator", "critic_target", "critic_image"):
        groups = [model.optimizers()[side].param_groups[0]["params"] for model in (one, another)]
        assert all(torch.equal(p, q) for p, q in zip(*groups, strict=True))


def test_the_judge_is_left_alone_when_its_epochs_are_over():
    model = make(epoch=3, judge_epochs=2)
    assert "judge" not in bodies(model) and "judge" in bodies(make(epoch=2, judge_epochs=2))


def test_no_loss_but_its_own_reaches_the_judge():
    model = make()
    found, weights = bodies(model), list(model.judge.parameters())
    for side in ("generator", "critic_target", "critic_image"):
        gradients = torch.autograd.grad(found[side][0], weights, allow_unused=True, retain_graph=True)
        assert all(gradient is None for gradient in gradients)


def test_the_judge_learns_from_the_clips_own_frames():
    judge, batch = make("direct").judge, marked()
    seen = Spy(judge.net)
    judge.net = seen
    draws = torch.tensor([[0.0, 0.99], [0.34, 0.67], [0.5, 0.5], [0.2, 0.999]])
    judge.loss(batch["image"], batch["label"], torch.tensor([3, 3, 3, 8]), draws)
    _, times = told(seen.seen[0].unflatten(0, (4, 2)))
    assert times == [[0, 2], [1, 2], [1, 1], [1, 7]]


# ---------------------------------------------------------------- rivals


def test_unit_has_one_code_for_both_centres():
    model, frames = make("unit"), uniform(4, 3, 32, 32)
    for part in (model.shared_in, model.shared_out):
        for side in ("image", "target"):
            weight = next(part.parameters())
            (gradient,) = torch.autograd.grad(model.show(model.code(frames, side), side).sum(), weight)
            assert gradient.abs().sum() > 0


def test_unit_terms_by_hand():
    model = make("unit")
    real = {side: uniform(4, 3, 32, 32, seed=seed) for seed, side in enumerate(("image", "target"))}
    model.code = lambda frames, side: frames
    model.show = lambda code, side: code
    model.noisy = lambda code, items: code + 0.1
    terms, made = model.terms(real, 2)
    torch.testing.assert_close(made["target"], real["image"] + 0.1)
    assert terms["recon"].item() == pytest.approx(10 * 2 * 0.2, rel=1e-4), "0.1 of [0, 1] is 0.2 of [-1, 1]"
    assert terms["cycle"].item() == pytest.approx(10 * 2 * 0.4, rel=1e-4)
    codes = [real["image"], real["image"] + 0.1, real["target"], real["target"] + 0.1]
    assert terms["kl"].item() == pytest.approx(0.01 * sum(c.square().mean() for c in codes).item(), rel=1e-4)


def test_unit_draws_from_a_normal_distribution():
    model = make("unit")
    model.stream = Stream(1)
    noise = model.noisy(torch.zeros(8, 40, 8, 8), 4)
    assert noise.shape == (8, 40, 8, 8)
    assert noise.mean().item() == pytest.approx(0, abs=0.03) and noise.std().item() == pytest.approx(1, abs=0.02)
    assert not torch.equal(noise[0], noise[1])


def test_unit_judges_at_three_sizes_and_refuses_frames_too_small_for_it():
    model = make("unit")
    assert len(model.critics["target"]) == 3
    spies = [Spy(critic) for critic in model.critics["target"]]
    model.critics["target"] = nn.ModuleList(spies)
    model.critics["target"].forward = functools.partial(unit.Scaled.forward, model.critics["target"])
    model.critics["target"](uniform(1, 3, 32, 32))
    assert [spy.seen[0].shape[-1] for spy in spies] == [32, 16, 8]
    with pytest.raises(InvalidParameter, match="scales"):
        unit.Config(size=16)


def test_histogram_matching_reaches_the_palette():
    video = 0.2 + 0.3 * uniform(2, 3, 4, 32, 32)
    levels = torch.arange(256) / 255
    palette = torch.exp(-((levels - 0.6) ** 2) / 0.02)
    palette = (palette / palette.sum()).expand(2, 3, -1)
    found = histmatch.matched(video, palette, torch.tensor([4, 4]), "video")
    assert wasserstein(histogram(found, 256), palette).max() < 0.004
    order = [one[0, 0].flatten().argsort() for one in (video.mul(255).round(), found)]
    assert found[0, 0].flatten()[order[0]].diff().min() >= 0, "a brighter pixel stays brighter"


def test_one_table_serves_a_whole_video_and_padding_has_no_say():
    video = 0.2 + 0.3 * uniform(1, 3, 3, 16, 16)
    video[:, :, 1] = video[:, :, 0] + 0.1
    palette = torch.ones(1, 3, 256) / 256
    by_video, by_frame = (histmatch.matched(video, palette, torch.tensor([2]), scope) for scope in ("video", "frame"))
    means = [(one - video).mean((3, 4))[0, :, :2] for one in (by_video, by_frame)]
    torch.testing.assert_close(by_frame.mean((3, 4)), torch.full((1, 3, 3), 0.5), atol=0.01, rtol=0)
    assert means[0].diff(dim=1).abs().max() > 0.05, "the brighter frame stays brighter"
    video[:, :, 2] = 0.9
    again = histmatch.matched(video, palette, torch.tensor([2]), "video")
    torch.testing.assert_close(again[:, :, :2], by_video[:, :, :2])


def test_reinhard_gives_the_video_the_wanted_mean_and_spread():
    from kornia.color import rgb_to_lab

    video = 0.3 + 0.3 * uniform(1, 3, 3, 16, 16)
    tone = torch.tensor([[[60.0, 8.0, 6.0], [4.0, 2.0, 1.5]]])
    for scope, over in (("video", (0, 2, 3)), ("frame", (2, 3))):
        found = reinhard.transferred(video, tone, torch.tensor([3]), scope)
        lab = rgb_to_lab(found[0].transpose(0, 1))
        for part, wanted in ((lab.mean(over), tone[0, 0]), (lab.std(over, unbiased=False), tone[0, 1])):
            torch.testing.assert_close(part, wanted.expand_as(part), atol=0.05, rtol=0)


@pytest.mark.parametrize("name", ["histmatch", "reinhard"])
def test_matching_frame_by_frame_flickers_more(name):
    batch = small_data("endoscopy").test.__getitems__(range(3))
    found = {}
    for scope in ("video", "frame"):
        model = make(name, scope=scope).eval()
        found[scope] = model.score(batch, model.predict(batch))["flicker"].mean()
    assert found["frame"] > 1.2 * found["video"]


# ---------------------------------------------------------------- scores


def test_overlap_by_hand():
    label = torch.zeros(1, 1, 3, 2, 2)
    mask = torch.zeros(1, 1, 3, 2, 2)
    label[0, 0, 0] = torch.tensor([[1, 1], [0, 0]])
    mask[0, 0, 0] = torch.tensor([[1, 0], [1, 0]])
    mask[0, 0, 1, 0, 0] = 1  # found where nothing is; in the third frame nothing is and nothing is found
    dice, iou = videos.overlap(mask, label, torch.tensor([3]), 1)
    assert dice.item() == pytest.approx((0.5 + 0) / 2) and iou.item() == pytest.approx((1 / 3 + 0) / 2)
    dice, _ = videos.overlap(mask, label, torch.tensor([1]), 1)
    assert dice.item() == 0.5


def test_overlap_of_nothing_and_of_the_unknown():
    empty = torch.zeros(2, 1, 2, 4, 4)
    label = torch.stack([torch.zeros(1, 2, 4, 4), torch.full((1, 2, 4, 4), -1.0)])
    dice, iou = videos.overlap(empty, label, torch.tensor([2, 2]), 1)
    assert dice[0] == iou[0] == 1 and dice[1].isnan() and iou[1].isnan()


def test_overlap_averages_over_the_classes_that_are_there():
    label, mask = torch.zeros(1, 1, 1, 2, 2), torch.zeros(1, 1, 1, 2, 2)
    label[0, 0, 0] = torch.tensor([[1, 1], [2, 2]])
    mask[0, 0, 0] = torch.tensor([[1, 1], [2, 0]])
    dice, _ = videos.overlap(mask, label, torch.tensor([1]), 3)
    assert dice.item() == pytest.approx((1 + 2 / 3) / 2)


def test_flicker_is_the_spread_of_the_change():
    video = uniform(1, 3, 4, 8, 8) / 2
    lengths = torch.tensor([4])
    assert videos.flicker(video + 0.2, video, lengths).item() == pytest.approx(0, abs=1e-6)
    steps = torch.tensor([0.1, -0.1, 0.1, -0.1]).view(1, 1, 4, 1, 1)
    assert videos.flicker(video + steps, video, lengths).item() == pytest.approx(0.1, abs=1e-6)
    assert videos.flicker(video + steps, video, torch.tensor([1])).item() == pytest.approx(0, abs=1e-6)


def test_motion_error_is_none_of_what_only_moves():
    wide = uniform(1, 3, 16, 20)
    video = torch.stack([wide[..., t : t + 16] for t in range(4)], 2)  # the scene goes left: what was right comes in
    flow = torch.zeros(1, 2, 3, 16, 16)
    flow[:, 1] = 1
    assert videos.motion_error(video, flow, torch.tensor([4])).item() == pytest.approx(0, abs=1e-6)
    assert videos.motion_error(video, 0 * flow, torch.tensor([4])) > 0.1
    brighter = video + (0.05 * torch.arange(4)).view(1, 1, 4, 1, 1)
    assert videos.motion_error(brighter, flow, torch.tensor([4])).item() == pytest.approx(0.05, abs=1e-6)


def test_edges_by_hand():
    video, length = uniform(2, 3, 3, 16, 16), torch.tensor([3, 3])
    paler = videos.edge_correlation(0.5 * video + 0.1, video, length)
    torch.testing.assert_close(paler, torch.ones(2), atol=1e-3, rtol=0)
    assert videos.edge_correlation(uniform(2, 3, 3, 16, 16, seed=1), video, length).abs().max() < 0.35


def test_color_distance_of_a_shift_is_the_shift():
    video = 0.2 + 0.3 * uniform(1, 3, 2, 16, 16)
    palette = histogram(video[:, :, 0], 256)
    shifted = video[:, :, :1].expand(-1, -1, 2, -1, -1) + 0.1
    assert videos.color_distance(shifted, palette, torch.tensor([2])).item() == pytest.approx(0.1, abs=1e-4)


def test_frames_after_the_clips_own_do_not_count():
    batch = dict(small_data("endoscopy").test.__getitems__(range(2)))
    batch["length"] = batch["target_length"] = torch.tensor([5, 3])
    model = make("direct").eval()
    prediction = {"color": (batch["image"] * 0.8).clone(), "mask": model.judge.mask(batch["image"])}
    found = model.score(batch, prediction)
    for time, item in ((5, 0), (3, 1)):
        prediction["color"][item, :, time:] = 0.123
        prediction["mask"][item, :, time:] = 1
    again = model.score(batch, prediction)
    assert set(found) == {"dice", "iou", "wasserstein", "flicker", "motion", "content", "dice_home"}
    for key in found:
        torch.testing.assert_close(again[key], found[key], msg=key)


def test_lower_is_better_of_what_should_be_small():
    assert [compare.better(name) for name in ("wasserstein", "flicker", "motion")] == [-1] * 3
    assert [compare.better(name) for name in ("dice", "content", "iou")] == [1] * 3


# ---------------------------------------------------------------- training


def test_training_brings_the_colours_nearer():
    """What must hold, in small: with the histogram loss, after some steps, and finite all the way."""
    source = small_data("endoscopy")
    batch = source.test.__getitems__(range(3))
    model = make(hist_weight=10.0, lr=2e-3)
    before = model.eval().score(batch, model.predict(batch))["wasserstein"].mean()
    fit.fit(model, source.train, Budget(epochs=3, batch=4, precision="float32"))
    after = model.eval().score(batch, model.predict(batch))["wasserstein"].mean()
    assert torch.isfinite(weights_of(model)).all() and after < 0.9 * before


def test_all_four_networks_are_compiled(monkeypatch):
    """`Cycle` has no forward, so that compiling it as it stands would compile nothing."""
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(module))
    model = make(base=4)
    fit.Loop(model, small_data("endoscopy").train, Budget(**{**vars(FLOAT32), "compile": True}), 0, None)
    cycle = model.cycle
    assert {*compiled} >= {cycle.forth, cycle.back, cycle.critic_target, cycle.critic_image}
